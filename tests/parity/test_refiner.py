"""Two models in one picture: the three ways to hand over, and what happens at partial strength."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fooocus_stages.pipelines.functional.latents import to_uint8
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.checkpoint import Checkpoint
from fooocus_stages.pipelines.models.handles import Model, Refiner, Vae
from fooocus_stages.pipelines.stages import vae
from fooocus_stages.pipelines.stages.sampling import refiner as refiners
from fooocus_stages.pipelines.stages.sampling import sample
from fooocus_stages.pipelines.types import CONDITIONING_NORM, SamplingSettings, TextNorm
from safetensors.torch import save_file

from . import nano, reference_inputs
from .golden import Case, assert_relative_rms, assert_same_picture, each_case, weights

REFINERS: dict[str, Callable[[], Checkpoint]] = {
    "sdxl-refiner": nano.refiner,
    "sdxl": nano.sdxl,
    "sd15": nano.sd15,
}


@each_case("refiner")
def test_with_a_refiner(case: Case, tmp_path: Path) -> None:
    host = host_with_interposer(tmp_path)
    model, autoencoder = pair(host, case)
    latent = sampled(host, case, model)
    assert_relative_rms(latent["samples"], case.output("latent"))
    picture = to_uint8(vae.decode(host, autoencoder, latent))[0]
    assert_same_picture(picture, case.output("image"))


@each_case("vary")
def test_from_a_latent(case: Case) -> None:
    host = LocalHost(device="cpu")
    own = nano.sdxl()
    assert own.vae is not None
    latent = sampled(host, case, own.model)
    assert_relative_rms(latent["samples"], case.output("latent"))
    assert_same_picture(to_uint8(vae.decode(host, own.vae, latent))[0], case.output("image"))


def host_with_interposer(folder: Path) -> LocalHost:
    """A host whose models folder holds the nano interposer."""
    (folder / "vae_approx").mkdir()
    state = {key.removeprefix("interposer."): tensor for key, tensor in weights("nano-interposer").items()}
    save_file(state, folder / "vae_approx" / refiners.INTERPOSER_FILE)
    return LocalHost([folder], device="cpu")


def pair(host: LocalHost, case: Case) -> tuple[Model, Vae]:
    """The nano model that hands over as the case says, and its VAE."""
    own, second = nano.sdxl(), REFINERS[case.params["refiner"]]()
    assert own.vae is not None
    refiner = Refiner(second.model, second.vae if second.model.family == "sd15" else None)
    method, step = case.params["method"], case.params["switch"]
    return refiners.with_refiner(host, own.model, own.vae, refiner, method=method, step=step)


def reference_norm() -> TextNorm:
    """CLIP-L's final norm in these cases: by formula, under a name of its own."""
    weight, bias = (
        reference_inputs.tensor(f"clip_l.final_layer_norm.{name}", [768], mean, std)
        for name, mean, std in (("weight", 1.0, 0.1), ("bias", 0.0, 0.05))
    )
    return TextNorm(weight, bias, eps=1e-5)


def sampled(host: LocalHost, case: Case, model: Model) -> dict[str, Any]:
    sides = [
        [
            [
                case.inputs(f"{side}_cond"),
                {"pooled_output": case.inputs(f"{side}_pooled"), CONDITIONING_NORM: reference_norm()},
            ]
        ]
        for side in ("positive", "negative")
    ]
    params = case.params
    settings = SamplingSettings(**{name: params[name] for name in ("sampler", "scheduler", "steps", "cfg")})
    if "latent" in case.input_names:
        start = case.inputs("latent")
    else:
        start = torch.zeros(1, 4, params["height"] // 8, params["width"] // 8)
    return sample.sample(host, model, *sides, {"samples": start}, settings, params["seed"], params["denoise"])
