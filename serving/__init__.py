"""Graphs as data: request, graph, results."""
