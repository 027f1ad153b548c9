"""What the rows of wrong inputs are made of: two small workflows, and files that are not what they should be."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.pocket.training import published_names
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

Graph = dict[str, Any]
Write = Callable[[Path], object]

CHECKPOINT = POCKET / "checkpoints" / "juggernautXL_v8Rundiffusion.safetensors"
LORA = POCKET / "loras" / "sdxl_lcm_lora.safetensors"
UNET_WEIGHT = "model.diffusion_model.input_blocks.1.0.emb_layers.1.weight"
VAE_WEIGHT = "first_stage_model.decoder.conv_in.weight"
TEXT_WEIGHT = "conditioner.embedders.0.transformer.text_model.encoder.layers.0.layer_norm1.weight"


def node(class_type: str, **inputs: Any) -> Graph:
    return {"class_type": class_type, "inputs": inputs}


DRAW: Graph = {
    "load": node("FooocusLoadCheckpoint", ckpt_name="pocket", vae_name="Default (model)", clip_skip=2),
    "lora": node("FooocusLora", lora_name="None", weight=1.0),
    "settings": node(
        "FooocusSamplingSettings",
        guidance_scale=4.0, sharpness=2.0, adaptive_cfg=7.0, adm_positive=1.5, adm_negative=0.8, adm_end=0.3,
        sampler="euler", scheduler="normal",
    ),
    "mode": node(
        "FooocusPerformance", performance="Speed", overwrite_step=1, settings=["settings", 0], loras=["lora", 0]
    ),
    "styles": node("FooocusStyles", **{f"style_{i}": "None" for i in range(1, 7)}),
    "prompt": node(
        "FooocusPrompt", text="a red circle", negative="", seed=0, num_images=1, styles=["styles", 0], loras=["mode", 1]
    ),
    "apply": node("FooocusApplyLoras", model=["load", 0], clip=["load", 1], loras=["prompt", 1]),
    "encode": node("FooocusEncodePrompt", clip=["apply", 1], prompt=["prompt", 0], settings=["mode", 0]),
    "size": node("FooocusAspectRatio", aspect_ratio="custom", width=64, height=64, batch_size=1),
    "sampler": node(
        "FooocusSampler",
        model=["apply", 0], positive=["encode", 0], negative=["encode", 1], latent=["size", 0],
        settings=["mode", 0], seed=["prompt", 2], denoise=1.0,
    ),
    "decode": node("FooocusVaeDecode", latent=["sampler", 0], vae=["load", 2], tiled=False),
    "save": node(
        "FooocusSaveImage",
        images=["decode", 0], filename_prefix="x", format="png", quality=95, metadata="fooocus", info=["sampler", 1],
    ),
}  # fmt: skip
COPY: Graph = {
    "1": node("LoadImage", image="a.png"),
    "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
}
VARY: Graph = {
    **COPY,
    "load": DRAW["load"],
    "encode": node("FooocusVaeEncode", image=["1", 0], vae=["load", 2], seed=0, tiled=False),
    "decode": node("FooocusVaeDecode", latent=["encode", 0], vae=["load", 2], tiled=False),
    "2": node("SaveImage", images=["decode", 0], filename_prefix="x"),
}
READ: Graph = {
    "1": node("FooocusReadInfo", image="a.png"),
    "prompt": node("FooocusPrompt", text=["1", 0], negative="", seed=0, num_images=1),
    "load": DRAW["load"],
    "encode": node("FooocusEncodePrompt", clip=["load", 1], prompt=["prompt", 0]),
    "settings": DRAW["settings"],
    "mode": node("FooocusPerformance", performance="Speed", overwrite_step=1, settings=["settings", 0]),
    "size": DRAW["size"],
    "sampler": {**DRAW["sampler"], "inputs": DRAW["sampler"]["inputs"] | {"model": ["load", 0]}},
    "decode": DRAW["decode"],
    "2": node("SaveImage", images=["decode", 0], filename_prefix="x"),
}


def checkpoint(write: Write) -> Write:
    """Puts what `write` writes among the checkpoints as mine.safetensors, with the pocket's tokenizer beside it."""

    def put(folder: Path) -> None:
        path = folder / "models" / "checkpoints" / "mine.safetensors"
        path.with_suffix(".tokenizer").symlink_to(CHECKPOINT.with_suffix(".tokenizer"))
        write(path)

    return put


def lora(write: Write) -> Write:
    """Puts what `write` writes among the LoRAs as mine.safetensors."""
    return lambda folder: write(folder / "models" / "loras" / "mine.safetensors")


def picture(write: Write) -> Write:
    """Puts what `write` writes in the place of the picture."""
    return lambda folder: write(folder / "a.png")


def content(data: bytes) -> Write:
    return lambda path: path.write_bytes(data)


def part(of: Path, share: float) -> Write:
    return lambda path: path.write_bytes(of.read_bytes()[: int(share * of.stat().st_size)])


def state(of: Path, change: Callable[[dict[str, Tensor]], object]) -> Write:
    """A copy of a file of weights with a change."""

    def write(path: Path) -> None:
        tensors = load_file(of)
        change(tensors)
        save_file(tensors, path)

    return write


def spoil(key: str, value: float) -> Write:
    """The pocket checkpoint with one number of one weight replaced."""
    return state(CHECKPOINT, lambda tensors: tensors[key].view(-1)[0].fill_(value))


class Code:
    """An object whose pickle runs a command when it is opened by a careless reader."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch marker",)


def pickle_with_code(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "x": Code()}, path)


def sd15(path: Path) -> None:
    """A very narrow SD 1.5: its UNet in four levels and without size conditioning, and text encoder L alone."""
    unet = UNet2DConditionModel(block_out_channels=(32,) * 4, layers_per_block=2, cross_attention_dim=64)
    old, new = "conditioner.embedders.0.transformer.", "cond_stage_model.transformer."
    text = {key.replace(old, new): value for key, value in load_file(CHECKPOINT).items() if key.startswith(old)}
    save_file(published_names.unet_state_to_ldm(unet.state_dict()) | text, path)


def half(image: Image.Image, kind: str) -> Write:
    def write(path: Path) -> None:
        image.save(path, kind)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return write


def noise(side: int = 64) -> Image.Image:
    drawn = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(drawn)


def bomb(width: int, height: int) -> Write:
    """A small png that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000)))
    return content(data + chunk(b"IEND", b""))


def text_bomb(path: Path) -> None:
    """A png whose compressed text is far larger than the file."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", "a" * 50_000_000, zip=True)
    Image.new("RGB", (1, 1)).save(path, pnginfo=info)
