"""The hosted Fooocus endpoints: their inputs, the workflow of a request, and its output."""
