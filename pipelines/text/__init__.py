"""Prompts before they reach a network: styles, wildcards, emphasis, tokens."""
