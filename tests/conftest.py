"""Shared fixtures: a host on the pocket model that writes to the test's folder, and writers of small model files.

Libraries that take seconds are imported where they are used, as pytest reads this file in every process that it starts.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fooocus_stages.nodes.comfy import use_host
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.settings import (
    DEFAULT_CLIP_VISION,
    DEFAULT_IMAGE_PROMPT,
    DEFAULT_IP_NEGATIVE,
    INPAINT_HEAD,
    INPAINT_PATCHES,
)
from hypothesis import settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

settings.register_profile("house", deadline=None, derandomize=True)  # no test is timed, none fails by chance
settings.load_profile("house")


@pytest.fixture
def pocket_host(tmp_path: Path) -> Iterator[LocalHost]:
    """A host with the pocket model's folder on the CPU; images are read from and written to the test's folder."""
    host = LocalHost(
        models=[POCKET], output=tmp_path / "output", input=tmp_path, device="cpu", on_notice=lambda _: None
    )
    with use_host(host):
        yield host


@pytest.fixture(scope="session")
def matches() -> Callable[[str, str], bool]:
    """Returns a function that compares a message with a pattern, in which `<…>` stands for any words.

    A message is held to the places, values and remedies that it names; its wording is free.
    """
    return _matches


def _matches(text: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("<…>"))), text, re.DOTALL) is not None


@pytest.fixture(scope="session")
def in_float64() -> Callable[[nn.Module], AbstractContextManager[None]]:
    """A context in which the weights of a network are in float64; float32 holds them exactly afterwards."""
    return _in_float64


@contextmanager
def _in_float64(module: nn.Module) -> Iterator[None]:
    module.double()
    try:
        yield
    finally:
        module.float()


@pytest.fixture(scope="session")
def write_tokenizer() -> Callable[[Path], None]:
    """Returns a function that writes a vocabulary of bytes and four merges as Hugging Face's two files."""
    return _write_tokenizer


def _write_tokenizer(folder: Path) -> None:
    from fooocus_stages.pipelines.text.tokenizer import BYTE_SYMBOLS, END, START

    merges = (("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "t</w>"))
    folder.mkdir(exist_ok=True)
    symbols = list(BYTE_SYMBOLS.values())
    entries = [*symbols, *(s + "</w>" for s in symbols), *("".join(pair) for pair in merges), START, END]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(entries)}), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture(scope="session")
def control_lora_of() -> Callable[[nn.Module], dict[str, Tensor]]:
    """Returns a function that makes a random control-LoRA in the published layout for a UNet."""
    return _control_lora_of


def _control_lora_of(unet: nn.Module, rank: int = 3) -> dict[str, Tensor]:
    import torch
    from fooocus_stages.pipelines.models.weights import key_names

    draw = torch.Generator().manual_seed(1)
    state = unet.state_dict()
    shared = {
        new: state[old] for old, new in key_names.unet_to_ldm(state).items() if not new.startswith(("out", "output"))
    }
    made = {"lora_controlnet": torch.zeros(0)}
    for name, weight in shared.items():
        if weight.ndim > 1:
            tail = (1,) * (weight.ndim - 2)
            layer, (out, *rest) = name.removesuffix(".weight"), weight.shape
            made[f"{layer}.up"] = torch.randn(out, rank, *tail, generator=draw) * 0.1
            made[f"{layer}.down"] = torch.randn(rank, *rest, generator=draw) * 0.1
        else:
            made[name] = weight + torch.randn(weight.shape, generator=draw) * 0.1
    skips = [weight.shape[0] for name, weight in shared.items() if _ends_a_skip(name)]
    shapes = {f"zero_convs.{i}.0": (width, width, 1, 1) for i, width in enumerate([skips[0], *skips])}
    shapes["middle_block_out.0"] = (skips[-1], skips[-1], 1, 1)
    widths = [3, 16, 16, 32, 32, 96, 96, 256, skips[0]]
    shapes |= {f"input_hint_block.{2 * i}": (widths[i + 1], widths[i], 3, 3) for i in range(8)}
    for layer, shape in shapes.items():
        made[f"{layer}.weight"] = torch.randn(shape, generator=draw) * 0.2
        made[f"{layer}.bias"] = torch.randn(shape[0], generator=draw) * 0.2
    return made


@pytest.fixture(scope="session")
def write_image_prompt() -> Callable[[Path, Sequence[int]], None]:
    """Writes a small image prompt adapter for cross-attentions of those widths, the vision encoder for pictures of 28
    pixels and the negative tokens into a models folder, under their published names and of random numbers."""
    return _write_image_prompt


def _write_image_prompt(models: Path, widths: Sequence[int]) -> None:
    import torch
    from fooocus_stages.pipelines.models.hints.ip_adapter import ImageAdapter
    from fooocus_stages.pocket.training.published_names import adapter_state_published
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(6)
    sizes = {"embed": 64, "width": 128, "queries": 4, "depth": 1, "inner": 128, "hidden": 256, "out": 32}
    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=64, projection_dim=16, num_hidden_layers=2, num_attention_heads=1,
        image_size=28, patch_size=14, hidden_act="gelu",
    )  # fmt: skip
    for kind in ("controlnet", "clip_vision"):
        (models / kind).mkdir(parents=True, exist_ok=True)
    adapter = ImageAdapter(sizes, widths)
    adapter.resampler.latents.data.normal_()
    torch.save(adapter_state_published(adapter), models / "controlnet" / DEFAULT_IMAGE_PROMPT)
    save_file(CLIPVisionModelWithProjection(config).state_dict(), models / "clip_vision" / DEFAULT_CLIP_VISION)
    save_file({"data": torch.randn(1, 4, 32)}, models / "controlnet" / DEFAULT_IP_NEGATIVE)


@pytest.fixture(scope="session")
def write_inpaint_engine() -> Callable[[Path, nn.Module], None]:
    """Writes the inpaint head and a patch of two weights for a UNet into a models folder, under the names of engine
    v2.6 and of random numbers."""
    return _write_inpaint_engine


def _write_inpaint_engine(models: Path, unet: nn.Module) -> None:
    import torch
    from fooocus_stages.pipelines.models.weights import key_names

    draw = torch.Generator().manual_seed(8)
    weights = {new: unet.state_dict()[old] for old, new in key_names.unet_to_ldm(unet.state_dict()).items()}
    chosen = ("input_blocks.1.0.in_layers.2.weight", "out.2.weight")
    patch = {f"diffusion_model.{name}": _quantised(weights[name].shape, draw) for name in chosen}
    head = torch.randn(len(weights["input_blocks.0.0.weight"]), 5, 3, 3, generator=draw) * 0.3
    (models / "inpaint").mkdir(parents=True, exist_ok=True)
    torch.save({"head": head}, models / "inpaint" / INPAINT_HEAD)
    torch.save(patch, models / "inpaint" / INPAINT_PATCHES["v2.6"])


def _quantised(shape: torch.Size, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return random changes as bytes, with the values of 0 and 255."""
    import torch

    return torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8), torch.tensor(-0.1), torch.tensor(0.1)


def _ends_a_skip(name: str) -> bool:
    """Return True for the last weight of an input block with a skip connection, in ldm's names."""
    return name.startswith("input_blocks.") and name.endswith((".out_layers.3.weight", ".op.weight"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    if sys.platform != "linux":
        pytest.skip("small disks are made with Linux's means")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
