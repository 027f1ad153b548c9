"""The refiner: which model runs when, and what it is told.

Fooocus modules/default_pipeline.py: process_diffusion, get_candidate_vae; modules/sample_hijack.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torch.nn.functional import layer_norm

from ...errors import BadFile, BadValue
from ...host import Host
from ...models.checkpoint import load_checkpoint
from ...models.handles import Model, Refiner, RefinerSwitch, Vae
from ...models.interposer import Interposer, load_interposer
from ...settings import DEFAULT_REFINER, PERFORMANCES
from ...types import Conditioning, SamplingSettings, SwapMethod
from .. import load
from . import denoiser

Route = Literal["base", "refiner", "joint", "separate", "vae"]

INTERPOSER_KIND, INTERPOSER_FILE = "vae_approx", "xl-to-v1_interposer-v4.0.safetensors"
ALL_NEW = 0.9  # above this denoise strength a picture is drawn anew
BASE_SHARE_POWER = 0.834


def with_refiner(
    host: Host,
    model: Model,
    vae: Vae,
    refiner: Refiner,
    at: float = 0.5,
    method: SwapMethod = "joint",
    step: int = -1,
) -> tuple[Model, Vae]:
    """The model that hands over to the refiner, and the VAE for what they make.

    The refiner takes over after the share `at` (0…1) of the steps, or at `step` when that is above 0. It gets the
    model's LoRAs where it is of the same make (Fooocus refresh_loras). Raises BadValue for a share outside 0…1, and
    for an SD 1.5 refiner of a model that came without its text encoders.
    """
    if not 0 <= at <= 1:
        raise BadValue(f"switch_at is {at}: choose a share of the steps between 0 and 1")
    if refiner.model.family == "sd15" and model.text_norm is None:
        raise BadValue(
            f"an SD 1.5 refiner reads prompts through the final norm of CLIP-L, and {model.name or 'the model'} came "
            "without text encoders: load it from a whole checkpoint"
        )
    second = replace(refiner, model=_with_loras_of(host, model, refiner.model))
    return replace(model, switch=RefinerSwitch(second, at, method, step)), replace(vae, refiner=refiner.vae)


def find(host: Host, name: str) -> Path:
    """The refiner's file. Raises MissingFile."""
    return load.find_or_pocket(host, "checkpoints", name, DEFAULT_REFINER)


def load_refiner(host: Host, name: str) -> Refiner:
    """The refiner of a checkpoint: SDXL's, another SDXL base model, or SD 1.5 with its VAE.

    Text encoders are passed over, and so is the VAE where the latents are SDXL's. Raises MissingFile and BadFile.
    """
    path = find(host, name)
    found = load_checkpoint(path, host.dtype("unet"), host.dtype("vae"), home=load.home_of(path), text=False)
    load.tell(host, found)
    if found.model.family != "sd15":
        return Refiner(found.model)
    if found.vae is None:
        raise BadFile(
            f"{found.model.name} holds no VAE, and an SD 1.5 refiner needs its own: choose a whole checkpoint"
        )
    return Refiner(found.model, found.vae)


def in_effect(model: Model, settings: SamplingSettings) -> Model:
    """The model with the refiner that it has in a run with these settings.

    The distilled performance modes leave out the one that was chosen. A model with an inpaint engine and no refiner
    hands over to itself without the engine and FreeU (Fooocus synthesize_refiner_model).
    """
    mode = PERFORMANCES.get(settings.performance)
    switch = None if mode is not None and mode.distilled else model.switch
    if switch is None and (engine := model.inpaint) is not None:
        plain = replace(model, inpaint=None, switch=None, freeu=None)
        switch = RefinerSwitch(Refiner(plain), engine.at, engine.method)
    return replace(model, switch=switch)


def route(model: Model, settings: SamplingSettings, denoise: float) -> Route:
    """Which models run, and how one follows the other.

    An SD 1.5 refiner takes over by way of the VAE when the picture is drawn anew; otherwise one of the two runs alone,
    the base when more is drawn than it would leave over.
    """
    switch = in_effect(model, settings).switch
    if switch is None:
        return "base"
    if switch.refiner.vae is None:
        return switch.method
    if denoise > ALL_NEW:
        return "vae"
    left_over = (settings.steps - switch_step(switch, settings.steps)) / settings.steps
    return "base" if denoise > max(left_over, 0.0) ** BASE_SHARE_POWER else "refiner"


def switch_step(switch: RefinerSwitch, steps: int) -> int:
    """The step at which the refiner takes over: the share of the steps, halves to even, unless it is given."""
    return switch.step if switch.step > 0 else round(steps * switch.at)


def encoding_vae(vae: Vae, model: Model, settings: SamplingSettings, denoise: float) -> Vae:
    """The VAE that pictures are encoded with before they are sampled at that strength: that of the model which runs."""
    if vae.refiner is not None and route(model, settings, denoise) == "refiner":
        return vae.refiner
    return vae


def separated(conditioning: Conditioning, model: Model, refiner: Model) -> Conditioning:
    """What the refiner gets of the model's conditioning (Fooocus clip_separate_inner).

    SDXL's own refiner: the last channels of the tokens, those of CLIP-G. SD 1.5: the first ones, those of CLIP-L,
    through its final norm, and no pooled vector. Another SDXL model: all of it. Everything else in it is left out.
    """
    tokens, extra = denoiser.only_part(conditioning, "base")
    width = denoiser.config_of(refiner).cross_attention_dim
    if refiner.family == "sd15":
        return [[_normed(tokens[..., :width], model), {}]]
    kept = {"pooled_output": extra["pooled_output"]} if "pooled_output" in extra else {}
    return [[tokens[..., -width:], kept]]


def interposer(host: Host, model: Model) -> Interposer | None:
    """The network between the latents of the model and those of its refiner; None where they are of one kind."""
    if model.switch is None or model.switch.refiner.vae is None:
        return None
    return load_interposer(find_interposer(host, model.switch.refiner.model.home or model.home))


def find_interposer(host: Host, home: Path | None = None) -> Path:
    """Find the network that converts SDXL's latents for an SD 1.5 refiner. Raises MissingFile."""
    return host.find(INTERPOSER_KIND, INTERPOSER_FILE, home)


def _normed(tokens: Tensor, model: Model) -> Tensor:
    norm: Any = model.text_norm
    weight, bias = (parameter.detach().to(tokens.device, tokens.dtype) for parameter in (norm.weight, norm.bias))
    if tokens.shape[-1] != len(weight):
        raise BadValue(f"the refiner reads tokens {tokens.shape[-1]} wide, CLIP-L of {model.name} makes {len(weight)}")
    return layer_norm(tokens, weight.shape, weight, bias, norm.eps)


def _with_loras_of(host: Host, model: Model, refiner: Model) -> Model:
    if not model.patches or refiner.family != model.family:
        return refiner
    shapes = [{name: p.shape for name, p in m.network.module.named_parameters()} for m in (model, refiner)]
    changed = {name for patch in model.patches for name in patch.deltas}
    if any(shapes[1].get(name) != shapes[0][name] for name in changed):
        host.notice(f"the LoRAs don't fit the refiner {refiner.name}, so it runs without them")
        return refiner
    return replace(refiner, patches=(*refiner.patches, *model.patches), loras=(*refiner.loras, *model.loras))
