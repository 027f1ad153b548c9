"""ComfyUI's own MODEL, CLIP and VAE in the place of the pack's. Imported only inside ComfyUI."""
