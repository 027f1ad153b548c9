"""Runs a file of requests to its end, with a manifest by which it goes on after an interruption."""
