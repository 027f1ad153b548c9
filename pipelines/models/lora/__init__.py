"""LoRA files: their formats, and which weights they change."""
