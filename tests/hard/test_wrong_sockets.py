"""Wrong values on the sockets: what a script, or another pack's node, may hand to a stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.handles import Clip, Model, Vae
from fooocus_stages.pipelines.stages import load, save, vae
from fooocus_stages.pipelines.stages.prompts import encode
from fooocus_stages.pipelines.stages.sampling import plan, sample
from fooocus_stages.pipelines.types import Prompt, SamplingSettings

NAN, INF = float("nan"), float("inf")
QUICK = SamplingSettings(steps=1, sampler="euler", scheduler="normal")


@dataclass(frozen=True)
class Parts:
    host: LocalHost
    model: Model
    clip: Clip
    vae: Vae
    positive: Any
    negative: Any

    def sample(self, settings: SamplingSettings = QUICK, **changes: Any) -> Any:
        given: dict[str, Any] = {"model": self.model, "positive": self.positive, "negative": self.negative}
        given |= {"latent": {"samples": torch.zeros(1, 4, 8, 8)}, "seed": 0, "settings": settings}
        return sample.sample(self.host, **(given | changes))

    def decode(self, *shape: int, value: float = 0.0) -> Any:
        return vae.decode(self.host, self.vae, {"samples": torch.full(shape, value)})

    def encode(self, *shape: int) -> Any:
        return vae.encode(self.host, self.vae, torch.zeros(shape))

    def save(self, *shape: int, value: float = 0.0, **options: Any) -> Any:
        return save.save_pictures(self.host, torch.full(shape, value), **options)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    host = LocalHost(models=[POCKET], output=tmp_path_factory.mktemp("output"), device="cpu")
    model, clip, autoencoder = load.checkpoint(host, "pocket")
    prompt = Prompt(("a red circle",), ("",), 1, 1, 0)
    return Parts(host, model, clip, autoencoder, *encode.encode(host, clip, prompt, QUICK))


def latent(*shape: int, value: float = 0.0) -> dict[str, Any]:
    return {"latent": {"samples": torch.full(shape, value)}}


def conditioning(parts: Parts, width: int, value: float = 0.0) -> Any:
    return [[torch.full((1, 77, width), value), dict(parts.positive[0][1])]]


ROWS: dict[str, tuple[Callable[[Parts], Any], str]] = {
    "a latent of 16 channels": (
        lambda p: p.sample(**latent(1, 16, 8, 8)),
        "the latent has the shape (1, 16, 8, 8) … (B, 4, h, w) … Fooocus VAE Encode",
    ),
    "a latent of three axes": (
        lambda p: p.sample(**latent(4, 8, 8)),
        "the latent has the shape (4, 8, 8) … (B, 4, h, w) … Fooocus VAE Encode",
    ),
    "a latent of no picture": (
        lambda p: p.sample(**latent(0, 4, 8, 8)),
        "the latent has the shape (0, 4, 8, 8) … (B, 4, h, w) … Fooocus VAE Encode",
    ),
    "a latent of no size": (
        lambda p: p.sample(**latent(1, 4, 0, 8)),
        "the latent has the shape (1, 4, 0, 8) … (B, 4, h, w) … Fooocus VAE Encode",
    ),
    "a latent of NaN": (
        lambda p: p.sample(**latent(1, 4, 8, 8, value=NAN)),
        "the latent … NaN or infinity … the node that made it",
    ),
    "no conditioning": (
        lambda p: p.sample(positive=[]),
        "the positive conditioning has no entries … Encode Prompt",
    ),
    "conditioning of another width": (
        lambda p: p.sample(positive=conditioning(p, 64)),
        "the positive conditioning is 64 wide … juggernautXL_v8Rundiffusion.safetensors takes 192 … text encoders",
    ),
    "conditioning of NaN": (
        lambda p: p.sample(positive=conditioning(p, p.positive[0][0].shape[-1], NAN)),
        "the sampled latent … NaN or infinity … conditioning … guidance_scale, sharpness or the weights of the LoRAs",
    ),
    "guidance NaN": (
        lambda p: p.sample(replace(QUICK, cfg=NAN)),
        "the sampled latent … NaN or infinity … conditioning … guidance_scale, sharpness or the weights of the LoRAs",
    ),
    "guidance infinite": (
        lambda p: p.sample(replace(QUICK, cfg=INF)),
        "the sampled latent … NaN or infinity … conditioning … guidance_scale, sharpness or the weights of the LoRAs",
    ),
    "sharpness NaN": (
        lambda p: p.sample(replace(QUICK, sharpness=NAN)),
        "the sampled latent … NaN or infinity … conditioning … guidance_scale, sharpness or the weights of the LoRAs",
    ),
    "no steps": (lambda p: p.sample(replace(QUICK, steps=0)), "steps is 0: choose 1 or more"),
    "denoise NaN": (lambda p: p.sample(denoise=NAN), "denoise is nan: choose a value above 0, up to 1"),
    "denoise 2": (lambda p: p.sample(denoise=2.0), "denoise is 2.0: choose a value above 0, up to 1"),
    "sigmas that rise": (
        lambda p: p.sample(sigmas=torch.tensor([1.0, 2.0])),
        "sigmas must be one decreasing row … got [1.0, 2.0] … Fooocus Scheduler",
    ),
    "sigmas of NaN": (
        lambda p: p.sample(sigmas=torch.tensor([NAN, 0.0])),
        "sigmas must be one decreasing row … got [nan, 0.0] … Fooocus Scheduler",
    ),
    "an unknown sampler": (
        lambda p: p.sample(replace(QUICK, sampler="eulr")),
        "unknown sampler 'eulr' (did you mean 'euler'?)",
    ),
    "an unknown scheduler": (
        lambda p: p.sample(replace(QUICK, scheduler="karas")),
        "unknown scheduler 'karas' (did you mean 'karras'?)",
    ),
    "16 channels to decode": (
        lambda p: p.decode(1, 16, 8, 8),
        "the latent has the shape (1, 16, 8, 8), the VAE takes (B, 4, h, w) … SDXL or SD 1.5",
    ),
    "no latent to decode": (
        lambda p: p.decode(0, 4, 8, 8),
        "the latent has the shape (0, 4, 8, 8), the VAE takes (B, 4, h, w) … SDXL or SD 1.5",
    ),
    "NaN to decode": (
        lambda p: p.decode(1, 4, 8, 8, value=NAN),
        "the latent … NaN or infinity … the node that made it",
    ),
    "a mask to encode": (
        lambda p: p.encode(1, 64, 64),
        "an image to encode must be (B, H, W, 3) with sides of 8 or more, got (1, 64, 64)",
    ),
    "channels first to encode": (
        lambda p: p.encode(1, 3, 64, 64),
        "an image to encode must be (B, H, W, 3) with sides of 8 or more, got (1, 3, 64, 64)",
    ),
    "no picture to encode": (
        lambda p: p.encode(0, 64, 64, 3),
        "an image to encode must be (B, H, W, 3) with sides of 8 or more, got (0, 64, 64, 3)",
    ),
    "a mask to save": (lambda p: p.save(1, 64, 64), "images to save should be (B, H, W, 3), not (1, 64, 64)"),
    "no picture to save": (
        lambda p: p.save(0, 64, 64, 3),
        "images to save should be (B, H, W, 3), not (0, 64, 64, 3)",
    ),
    "NaN to save": (
        lambda p: p.save(1, 8, 8, 3, value=NAN),
        "an image to save contains only NaN … the node that made it",
    ),
    "a side longer than jpeg can hold": (
        lambda p: p.save(1, 1, 65536, 3, format="jpeg"),
        "65535 pixels … 65536×1 … choose png",
    ),
    "clip_skip 13": (lambda p: load.with_clip_skip(p.clip, 13), "clip_skip is 13: choose 1 (the last layer) to 12"),
    "a picture of no size": (
        lambda p: plan.empty_latent("custom", 7, 64, 1),
        "7×64 pixels times 1 is too small … choose sides of 64 or more",
    ),
    "an unknown aspect ratio": (
        lambda p: plan.empty_latent("4:3", 0, 0, 1),
        "unknown aspect ratio '4:3'; or choose custom, with a width and a height",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_wrong_value_is_reported(parts: Parts, name: str) -> None:
    act, message = ROWS[name]
    with pytest.raises(UserError) as caught:
        act(parts)
    assert all(part in str(caught.value) for part in message.split(" … "))
    assert list(Path(parts.host.folder("output")).iterdir()) == []
