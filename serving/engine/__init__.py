"""Runs graphs of nodes: validation, order, cache, results."""
