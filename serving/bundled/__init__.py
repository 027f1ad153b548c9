"""The bundled workflows: requests as graphs, and graphs as files."""
