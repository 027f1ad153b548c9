"""Complete settings of an image: presets, and metadata in image files."""
