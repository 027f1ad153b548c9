"""The stages of Fooocus, usable from a script with no ComfyUI."""
