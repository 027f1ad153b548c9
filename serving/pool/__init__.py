"""Runs graphs in worker processes: jobs in, events and results out."""
