"""Fooocus/output: saving images with a description of how they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..pipelines import stages
from ..pipelines.settings import FORMATS, METADATA_SCHEMES
from . import sockets
from .comfy import current_host
from .schema import Combo, Hidden, Input, Int, Schema, String
from .v1 import Node

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipelines.models.handles import Info


class FooocusSaveImage(Node):
    schema = Schema(
        display_name="Fooocus Save Image",
        category="Fooocus/output",
        description="Saves images as PNG, JPEG or WebP, with the workflow and generation parameters in the format of "
        "Fooocus or A1111.",
        search_aliases=("save image", "export image", "metadata", "save png", "save jpeg", "save webp", "a1111"),
        inputs=(
            Input("images", "IMAGE", "Images to save."),
            Input(
                "filename_prefix",
                String("Fooocus"),
                "Start of the file name. May name a sub-folder, as in folder/name, and use placeholders such as "
                "%year%.",
            ),
            Input("format", Combo(FORMATS, "png"), "File format. png is lossless."),
            Input("quality", Int(default=95, min=1, max=100), "Quality of jpeg and webp. Higher means larger files."),
            Input(
                "metadata",
                Combo(METADATA_SCHEMES, "fooocus"),
                "Format of the generation parameters written into the file. none writes only the workflow.",
            ),
            Input("info", sockets.INFO, "Generation parameters, from the sampler.", optional=True),
        ),
        hidden=(Hidden("graph", "PROMPT"), Hidden("extra_pnginfo", "EXTRA_PNGINFO")),
        is_output_node=True,
    )

    def run(
        self,
        images: Tensor,
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
