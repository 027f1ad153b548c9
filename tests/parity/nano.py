"""The nano networks as files in published layout, written once per session, and as loaded checkpoints.

from .nano import sdxl

@each_case("text_to_image")
def test_…(case):
    checkpoint = sdxl()     # shared by all tests of this folder: leave it as you found it
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import MissingFile
from fooocus_stages.pipelines.models.checkpoint import Checkpoint, load_checkpoint
from fooocus_stages.pipelines.models.handles import Clip
from fooocus_stages.pipelines.text.tokenizer import find_vocabulary
from fooocus_stages.pocket.training import published_names
from safetensors.torch import save_file

from . import native
from .golden import weights

CLIP_G = "conditioner.embedders.1."


@cache
def folder() -> Path:
    """Where the files of this session lie; it goes when the session ends."""
    made = Path(tempfile.mkdtemp(prefix="fooocus-stages-nano-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def untagged(manifest: str) -> dict[str, torch.Tensor]:
    """A nano network's weights under the keys of a published file: without the tag that seeds their values."""
    return {key.split(":")[-1]: tensor for key, tensor in weights(manifest).items()}


def clip_g_as_published() -> dict[str, torch.Tensor]:
    """CLIP-G in OpenCLIP's layout."""
    state = untagged("nano-clip-g")
    inner = {key.removeprefix(CLIP_G + "transformer."): t for key, t in state.items() if "transformer." in key}
    published = published_names.clip_state_to_openclip(inner, CLIP_G + "model.")
    return {**published, CLIP_G + "model.text_projection": state[CLIP_G + "text_projection"]}


@cache
def sdxl_file() -> Path:
    """A whole SDXL checkpoint: UNet, VAE and both text encoders of full width and three layers (0.8 GB, float32)."""
    state = untagged("nano-sdxl-unet") | untagged("nano-sdxl-vae") | untagged("nano-clip-l") | clip_g_as_published()
    return _written("nano-sdxl.safetensors", state)


@cache
def refiner_file() -> Path:
    """An SDXL refiner's UNet."""
    return _written("nano-refiner.safetensors", untagged("nano-refiner-unet"))


@cache
def sd15_file() -> Path:
    """An SD 1.5 UNet and VAE."""
    return _written("nano-sd15.safetensors", untagged("nano-sd15-unet") | untagged("nano-sd15-vae"))


@cache
def sdxl() -> Checkpoint:
    """The nano SDXL checkpoint in float32, without its text encoders: at full width they are most of its size."""
    loaded = load_checkpoint(sdxl_file(), torch.float32, torch.float32, text=False)
    return native.as_chosen(loaded, untagged("nano-sdxl-unet"))


@cache
def sdxl_clip() -> Clip:
    """The text encoders of the nano SDXL checkpoint, in float32. Skips the test without a tokenizer vocabulary."""
    try:
        find_vocabulary()
    except MissingFile as error:
        pytest.skip(str(error))
    clip = load_checkpoint(sdxl_file(), torch.float32, torch.float32, vae=False).clip
    assert clip is not None
    return native.clip_as_chosen(clip)


@cache
def refiner() -> Checkpoint:
    """The nano refiner, loaded in float32."""
    loaded = load_checkpoint(refiner_file(), torch.float32, torch.float32)
    return native.as_chosen(loaded, untagged("nano-refiner-unet"))


@cache
def sd15() -> Checkpoint:
    """The nano SD 1.5 checkpoint, loaded in float32."""
    return native.as_chosen(load_checkpoint(sd15_file(), torch.float32, torch.float32), untagged("nano-sd15-unet"))


def forget() -> None:
    """Drop the loaded checkpoints: together they hold more than a gigabyte."""
    for load in (sdxl, sdxl_clip, refiner, sd15):
        load.cache_clear()


def _written(name: str, state: dict[str, torch.Tensor]) -> Path:
    path = folder() / name
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path
