"""Counterparts of the ComfyUI nodes in the bundled workflows, for runs without ComfyUI; never registered in it."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ..pipelines import stages
from ..pipelines.errors import MissingFile, did_you_mean
from ..pipelines.host import POCKET
from ..pipelines.names import match_name
from ..pipelines.picture_files import frames, opened
from .comfy import current_host
from .comfyui_only import COMFYUI_NODES
from .headless_tensors import TENSOR_NODES

if TYPE_CHECKING:
    import torch
    from PIL import Image

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
EXAMPLES = POCKET.parent / "pictures"
LONGEST_NAME = 200
NO_ALPHA = (64, 64)  # the mask that ComfyUI gives for a picture without alpha


class LoadImage:
    DESCRIPTION = "Loads an image with all its frames. The mask is 1 where the image is transparent."
    CATEGORY = "image"
    FUNCTION = "load_image"
    RETURN_TYPES = ("IMAGE", "MASK")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": (picture_names(), {"image_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        return check_picture(image)

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return hashlib.sha256(find_picture(image).read_bytes()).hexdigest()

    def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        notice = current_host().notice
        with opened(find_picture(image), notice) as picture:
            loaded = [(pixels(frame.convert("RGB")), transparency(frame)) for frame in frames(picture, notice)]
        images = torch.stack([image for image, _ in loaded])
        masks = [mask for _, mask in loaded]
        if len({mask.shape for mask in masks}) > 1:  # only some frames have alpha
            masks = [mask if mask.shape == images.shape[1:3] else torch.zeros(images.shape[1:3]) for mask in masks]
        return images, torch.stack(masks)


class LoadImageMask:
    DESCRIPTION = "Loads one channel of an image as a mask; alpha is inverted, so that 1 is transparent."
    CATEGORY = "mask"
    FUNCTION = "load_image"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        channels = ["alpha", "red", "green", "blue"]
        return {"required": {"image": (picture_names(), {"image_upload": True}), "channel": (channels,)}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        return check_picture(image)

    @classmethod
    def IS_CHANGED(cls, image: str, channel: str) -> str:
        return hashlib.sha256(find_picture(image).read_bytes()).hexdigest()

    def load_image(self, image: str, channel: str) -> tuple[torch.Tensor]:
        notice = current_host().notice
        with opened(find_picture(image), notice) as picture:
            band = next(frames(picture, notice)).convert("RGBA").getchannel(channel[0].upper())
        mask = pixels(band)
        return ((1.0 - mask if channel == "alpha" else mask)[None],)


class SaveImage:
    DESCRIPTION = "Saves images as PNG in the output folder, with the workflow embedded."
    CATEGORY = "image"
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    RETURN_TYPES = ()
    folder: Literal["output", "temp"] = "output"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self, images: Any, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        saved = stages.save.save_pictures(
            current_host(),
            images,
            filename_prefix,
            scheme="none",
            prompt=prompt,
            extra_pnginfo=extra_pnginfo,
            folder=self.folder,
        )
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    DESCRIPTION = "Saves images as PNG in the folder for temporary files."
    folder = "temp"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        declared = SaveImage.INPUT_TYPES()
        return {**declared, "required": {"images": ("IMAGE",)}}


HEADLESS_NODES: dict[str, type[Any]] = {
    "LoadImage": LoadImage,
    "LoadImageMask": LoadImageMask,
    "PreviewImage": PreviewImage,
    "SaveImage": SaveImage,
    **TENSOR_NODES,
    **COMFYUI_NODES,
}


def picture_names() -> list[str]:
    """List the image files in the input folder."""
    folder = current_host().folder("input")
    return (
        sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file())
        if folder.is_dir()
        else []
    )


def find_picture(name: str) -> Path:
    """Return the file of a LoadImage value: in the input folder, in the folder named by a suffix such as ' [output]',
    at that path, or among the examples of the pack; spelled as people type names. Raises MissingFile."""
    annotated = re.fullmatch(r"(.+?) ?\[(input|output|temp)\]", name)
    kind = cast(Literal["input", "output", "temp"], annotated[2] if annotated else "input")
    folder = current_host().folder(kind)
    plain = annotated[1] if annotated else name
    for start in (folder, Path(), EXAMPLES):
        with contextlib.suppress(OSError, ValueError):  # raised for an invalid file name
            if plain and (path := _spelled(start, plain)).is_file():
                return path
    near = did_you_mean(plain, picture_names())
    raise MissingFile(f"image {shortened(name)} does not exist{near}; looked in {folder} and for that path")


def _spelled(start: Path, name: str) -> Path:
    """Return the path below `start` that matches `name` in any spelling, see `names`; a missing part is kept."""
    path = start / name
    if path.exists():
        return path
    path = start / name.replace("\\", "/")
    here = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        exists = (here / part).exists() or not here.is_dir()
        here /= part if exists else match_name(part, (entry.name for entry in here.iterdir())) or part
    return here


def shortened(name: str) -> str:
    """Quote a name for a message, cut when it is very long."""
    return repr(name) if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]!r}…"


def check_picture(name: str | None) -> bool | str:
    """Return True for a file that exists, else the message that it is missing."""
    try:
        return name is None or bool(find_picture(name))
    except MissingFile as error:
        return str(error)


def pixels(picture: Image.Image) -> torch.Tensor:
    """Return the bytes of an image as floats 0…1."""
    import numpy as np
    import torch

    return torch.from_numpy(np.array(picture).astype(np.float32) / 255.0)


def transparency(frame: Image.Image) -> torch.Tensor:
    """Return 1 - alpha (H, W); 64×64 zeros for an image without alpha."""
    import torch

    if "A" in frame.getbands():
        return 1.0 - pixels(frame.getchannel("A"))
    if frame.mode == "P" and "transparency" in frame.info:
        return 1.0 - pixels(frame.convert("RGBA").getchannel("A"))
    return torch.zeros(NO_ALPHA)
