"""ComfyUI as the program around a node: the only package that names its modules."""

from .current import current_host, inside_comfy, use_host

__all__ = ["current_host", "inside_comfy", "use_host"]
