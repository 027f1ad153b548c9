"""All settings at once: presets, and the metadata of pictures."""
