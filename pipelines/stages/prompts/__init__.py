"""Prompt stages: composing, expanding and encoding prompts."""
