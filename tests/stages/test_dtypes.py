"""Images, masks and latents of every float dtype and on every device give what float32 on the CPU gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.upscaler import Upscaler
from fooocus_stages.pipelines.stages import control, image_prompt, inpaint, masks, save, upscale, vae, vary
from fooocus_stages.pipelines.stages.sampling import sample
from fooocus_stages.pipelines.types import SamplingSettings
from torch import Tensor

from .conftest import Pocket

HOST = LocalHost([POCKET], device="cpu")
QUICK = SamplingSettings(steps=1, sampler="euler", scheduler="normal")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
KINDS = [(dtype, d) for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.float32) for d in DEVICES]
Given = Callable[[Tensor], Tensor]


def drawn(*shape: int) -> Tensor:
    """Whole bytes in 0…1."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(3)) / 255


IMAGE, MASK = drawn(1, 48, 64, 3), (drawn(1, 48, 64) > 0.9).float()
LATENT = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4)).bfloat16().float()


def small_upscaler() -> Upscaler:
    torch.manual_seed(1)
    return Upscaler(4, 4, 1, 1).eval()


def inpainted(pocket: Pocket, given: Given) -> Any:
    args = (
        pocket.model,
        pocket.vae,
        QUICK,
        "Inpaint or Outpaint (default)",
        inpaint.InpaintMode("None", 1.0, 0.5, True),
    )
    done = inpaint.inpaint(HOST, given(IMAGE), given(MASK), *args, ["left"])
    return done.latent, done.region, done.filled, inpaint.paste(given(drawn(1, 64, 64, 3)), done.region)


def sampled(pocket: Pocket, given: Given, **beside: Tensor) -> Any:
    latent = {"samples": given(LATENT), **beside}
    return sample.sample(HOST, pocket.model, pocket.positive, pocket.negative, latent, QUICK, 0, 0.5)["samples"]


def seen(given: Given) -> Any:
    names = ("pocket", "pocket", "pocket")
    return image_prompt.prompt(HOST, image_prompt.load(HOST, *names), given(IMAGE))


STAGES: dict[str, Callable[[Pocket, Given], Any]] = {
    "upscale": lambda p, given: upscale.upscale(HOST, small_upscaler(), given(IMAGE), "Upscale (Fast 2x)")[0],
    "enlarge": lambda p, given: upscale.enlarge(HOST, small_upscaler(), given(IMAGE)),
    "vary": lambda p, given: vary.vary(HOST, p.model, p.vae, given(IMAGE), QUICK, "Vary (Subtle)"),
    "vae encode": lambda p, given: vae.encode(HOST, p.vae, given(IMAGE)),
    "vae decode": lambda p, given: vae.decode(HOST, p.vae, {"samples": given(LATENT)}),
    "vae decode in tiles": lambda p, given: vae.decode(HOST, p.vae, {"samples": given(LATENT)}, tiled=True),
    "sample": sampled,
    "sample with a mask": lambda p, given: sampled(p, given, noise_mask=given(MASK)),
    "inpaint": inpainted,
    "fill": lambda p, given: inpaint.fill(given(IMAGE), given(MASK)),
    "pad": lambda p, given: masks.pad_out(given(IMAGE), given(MASK), ["top", "right"]),
    "threshold": lambda p, given: masks.threshold(given(IMAGE), like=given(IMAGE)),
    "grow": lambda p, given: masks.grow(given(MASK), 2),
    "invert": lambda p, given: masks.invert(given(MASK)),
    "combine": lambda p, given: masks.combine(given(MASK), given(MASK), "subtract"),
    "canny": lambda p, given: control.pyra_canny(given(IMAGE), width=64, height=64),
    "cpds": lambda p, given: control.cpds(given(IMAGE)),
    "face": lambda p, given: control.cropped_faces(HOST, given(IMAGE), "20 20 40 20 30 30 22 40 38 40"),
    "image prompt": lambda p, given: seen(given),
    "save": lambda p, given: torch.from_numpy(save.to_uint8(given(IMAGE))),
}


@pytest.mark.parametrize(("dtype", "device"), KINDS, ids=str)
@pytest.mark.parametrize("stage", list(STAGES))
def test_every_dtype_and_device(pocket: Pocket, stage: str, dtype: torch.dtype, device: str) -> None:
    expected = tensors_in(STAGES[stage](pocket, lambda values: values))
    made = tensors_in(STAGES[stage](pocket, lambda values: values.to(device, dtype)))
    assert len(made) == len(expected) > 0
    for one, other in zip(made, expected, strict=True):
        assert one.device == other.device
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested dicts, sequences and values that travel on wires."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for part in value.values() for t in tensors_in(part)]
    if isinstance(value, list | tuple):
        return [t for part in value for t in tensors_in(part)]
    if is_dataclass(value):
        return [t for field in fields(value) for t in tensors_in(getattr(value, field.name))]
    return []
