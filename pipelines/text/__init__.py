"""Prompt text processing: styles, wildcards, emphasis and tokenization."""
