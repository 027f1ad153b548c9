"""The refiner: which model runs at which steps, and with which conditioning.

Fooocus modules/default_pipeline.py: process_diffusion, get_candidate_vae; modules/sample_hijack.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from torch import Tensor
from torch.nn.functional import layer_norm

from ...errors import BadFile, BadValue, chosen
from ...host import Host, find_or_pocket
from ...models.handles import AnyVae, Model, Refiner, RefinerSwitch, Vae
from ...models.interposer import Interposer, load_interposer
from ...settings import DEFAULT_REFINER, PERFORMANCES
from ...types import CONDITIONING_NORM, SWAP_METHODS, Conditioning, SamplingSettings, SwapMethod, TextNorm
from .. import load

EitherVae = TypeVar("EitherVae", bound=AnyVae)
Route = Literal["base", "refiner", "joint", "separate", "vae"]

INTERPOSER_KIND, INTERPOSER_FILE = "vae_approx", "xl-to-v1_interposer-v4.0.safetensors"
REDRAW_ABOVE = 0.9  # denoise strength above which an image is drawn anew
BASE_FRACTION_POWER = 0.834


def with_refiner(
    host: Host,
    model: Model,
    vae: EitherVae,
    refiner: Refiner | Model | None,
    at: float = 0.5,
    method: SwapMethod = "joint",
    step: int = -1,
    refiner_vae: AnyVae | None = None,
) -> tuple[Model, EitherVae]:
    """Return the model with a refiner, and the VAE for its latents; both as they are for None.

    The refiner takes over after the fraction `at` (0…1) of the steps, or at `step` when that is above 0. It gets the
    model's LoRAs when it has the same architecture (Fooocus refresh_loras). `refiner_vae` is that of an SD 1.5 refiner
    without one, as a model of ComfyUI is. Raises BadValue for a fraction outside 0…1, and for an SD 1.5 refiner without
    a VAE or with SDXL's.
    """
    if not 0 <= at <= 1:
        raise BadValue(f"switch_at is {at}: choose a fraction of the steps between 0 and 1")
    method = cast(SwapMethod, chosen("swap method", method, SWAP_METHODS))
    if refiner is None:
        return model, vae
    refiner = refiner if isinstance(refiner, Refiner) else Refiner(refiner)
    refiner = with_vae(host, refiner, refiner_vae)
    second = replace(refiner, model=load.with_patches_of(host, model, refiner.model, model.patches, model.loras))
    return replace(model, switch=RefinerSwitch(second, at, method, step)), replace(vae, refiner=refiner.vae)


def with_vae(host: Host, refiner: Refiner, vae: AnyVae | None) -> Refiner:
    """Return an SD 1.5 refiner with that VAE in place of its own; others as they are, with a notice."""
    if refiner.model.family != "sd15":
        if vae is not None:
            host.notice(f"the refiner {refiner.model.name} has the latents of SDXL, so refiner_vae is not used")
        return refiner
    if isinstance(vae, Vae) and vae.family != "sd15":
        raise BadValue("refiner_vae is a VAE of SDXL, and the refiner is of SD 1.5: connect the refiner's own")
    if vae is None and refiner.vae is None:
        raise BadValue(
            "the refiner is a MODEL of SD 1.5, which comes without its VAE: connect that to refiner_vae, or use "
            "Fooocus Load Refiner"
        )
    return refiner if vae is None else replace(refiner, vae=replace(vae, family="sd15"))


def find(host: Host, name: str) -> Path:
    """Return the path of a refiner's file. Raises MissingFile."""
    return find_or_pocket(host, "checkpoints", name, DEFAULT_REFINER)


def load_refiner(host: Host, name: str) -> Refiner:
    """Load a refiner from a checkpoint: SDXL's, another SDXL base model, or SD 1.5 with its VAE.

    Text encoders are skipped, and so is the VAE of SDXL models. Raises MissingFile and BadFile.
    """
    path = find(host, name)
    found = load.read_checkpoint(host, path, text=False)
    load.tell(host, found)
    host.manage("unet", found.model.network.module)
    if found.model.family != "sd15":
        return Refiner(found.model)
    if found.vae is None:
        raise BadFile(
            f"{found.model.name} contains no VAE, and an SD 1.5 refiner needs its own: choose a whole checkpoint"
        )
    host.manage("vae", found.vae.network.module)
    return Refiner(found.model, found.vae)


def in_effect(model: Model, settings: SamplingSettings) -> Model:
    """Return the model with the refiner that takes part in a run with these settings.

    The distilled performance modes run without the chosen refiner. A model with an inpaint engine and no refiner hands
    over to itself without the engine and FreeU (Fooocus synthesize_refiner_model).
    """
    mode = PERFORMANCES.get(settings.performance)
    switch = None if mode is not None and mode.distilled else model.switch
    if switch is None and (engine := model.inpaint) is not None:
        plain = replace(model, inpaint=None, switch=None, freeu=None)
        switch = RefinerSwitch(Refiner(plain), engine.at, engine.method)
    return replace(model, switch=switch)


def route(model: Model, settings: SamplingSettings, denoise: float) -> Route:
    """Return which models run, and how the refiner takes over.

    An SD 1.5 refiner takes over through the VAE's latents when the image is drawn anew. Otherwise one of the two runs
    alone: the base model when the denoise strength exceeds the fraction of steps that it would leave to the refiner.
    """
    switch = in_effect(model, settings).switch
    if switch is None:
        return "base"
    if switch.refiner.vae is None:
        return switch.method
    if denoise > REDRAW_ABOVE:
        return "vae"
    left_over = (settings.steps - switch_step(switch, settings.steps)) / settings.steps
    return "base" if denoise > max(left_over, 0.0) ** BASE_FRACTION_POWER else "refiner"


def switch_step(switch: RefinerSwitch, steps: int) -> int:
    """Return the step at which the refiner takes over: as given, or the fraction of the steps, halves to even."""
    return switch.step if switch.step > 0 else round(steps * switch.at)


def encoding_vae(vae: AnyVae, model: Model, settings: SamplingSettings, denoise: float) -> AnyVae:
    """Return the VAE to encode images with before sampling at that strength: that of the model which runs."""
    if vae.refiner is not None and route(model, settings, denoise) == "refiner":
        return vae.refiner
    return vae


def refiner_conditioning(conditioning: Conditioning, model: Model, refiner: Model) -> Conditioning:
    """Convert the model's conditioning to the refiner's (Fooocus clip_separate_inner).

    SDXL's own refiner takes the last channels of the tokens, those of CLIP-G. SD 1.5 takes the first ones, those of
    CLIP-L, through its final norm, and no pooled output; the norm is that of the conditioning, or else that of the
    model's checkpoint. Another SDXL model takes all of them. Areas, masks, ranges and sizes of the entries stay. Raises
    BadValue when there is no norm of that width.
    """
    width = refiner.network.token_width
    if refiner.family == "sd15":
        return [
            [_normed(tokens[..., :width], extra.get(CONDITIONING_NORM) or model.text_norm), without_pooled(extra)]
            for tokens, extra in conditioning
        ]
    return [[tokens[..., -width:], extra] for tokens, extra in conditioning]


def without_pooled(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an entry without the pooled output."""
    return {key: value for key, value in options.items() if key != "pooled_output"}


def interposer(host: Host, model: Model) -> Interposer | None:
    """Load the latent converter from the model to its refiner; None when their latents are of one kind."""
    if model.switch is None or model.switch.refiner.vae is None:
        return None
    return load_interposer(find_interposer(host, model.switch.refiner.model.home or model.home))


def find_interposer(host: Host, home: Path | None = None) -> Path:
    """Find the network that converts SDXL's latents for an SD 1.5 refiner. Raises MissingFile."""
    return host.find(INTERPOSER_KIND, INTERPOSER_FILE, home)


def _normed(tokens: Tensor, norm: TextNorm | None) -> Tensor:
    """Apply the final norm of CLIP-L to its tokens (B, n, D)."""
    if norm is None:
        raise BadValue(
            "an SD 1.5 refiner reads the text through the final norm of CLIP-L, and the conditioning has none: encode "
            "the prompt with Fooocus Encode Prompt"
        )
    if tokens.shape[-1] != norm.weight.numel():
        raise BadValue(
            f"the refiner takes tokens {tokens.shape[-1]} wide and the CLIP-L of the conditioning gives "
            f"{norm.weight.numel()}: choose an SD 1.5 refiner, or a base model with CLIP-L"
        )
    weight, bias = (value.to(tokens) for value in (norm.weight, norm.bias))
    return layer_norm(tokens, weight.shape, weight, bias, norm.eps)
