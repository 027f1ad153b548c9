"""Fooocus/output: saving pictures with how they were made."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.models.handles import Info
from ..pipelines.settings import FORMATS, METADATA_SCHEMES
from . import sockets
from .comfy import current_host


class FooocusSaveImage:
    DESCRIPTION = "Saves pictures as png, jpeg or webp, with Fooocus's or A1111's text and the workflow inside."
    CATEGORY = "Fooocus/output"
    FUNCTION = "run"
    OUTPUT_NODE = True
    RETURN_TYPES = ()
    RETURN_NAMES = ()
    OUTPUT_TOOLTIPS = ()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The pictures to save."}),
                "filename_prefix": (
                    "STRING",
                    {"default": "Fooocus", "tooltip": "Start of the file name; a folder before a slash; %year% etc."},
                ),
                "format": (list(FORMATS), {"default": "png", "tooltip": "png keeps every pixel as it is."}),
                "quality": (
                    "INT",
                    {"default": 95, "min": 1, "max": 100, "tooltip": "Of jpeg and webp; 100 is the largest file."},
                ),
                "metadata": (
                    list(METADATA_SCHEMES),
                    {"default": "fooocus", "tooltip": "Text that says how the picture was made, and in which form."},
                ),
            },
            "optional": {
                "info": (sockets.INFO, {"tooltip": "How the picture was made, from the sampler, for the text."}),
            },
            "hidden": {"graph": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def run(
        self,
        images: Any,
        filename_prefix: str,
        format: str,
        quality: int,
        metadata: str,
        info: Info | None = None,
        graph: dict[str, Any] | None = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        host = current_host()
        about = stages.describe.picture_info(host, images, info)
        saved = stages.save.save_pictures(
            host, images, filename_prefix, format, quality, metadata, about, graph, extra_pnginfo
        )
        return {"ui": {"images": saved}}
