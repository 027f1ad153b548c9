"""Fooocus's inpaint engine and refiner in ComfyUI's samplers, by a wrapper around each run.

The guider of the sampler node predicts as it does without us, on the model with the engine's head and patch. When the
refiner takes over, or the model without its engine, our own denoiser predicts in its place, with the guidance of
Fooocus Model Patch if the MODEL has that. Masks are applied as Fooocus does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ....pipelines.errors import BadValue
from ....pipelines.functional import sigmas as schedules
from ....pipelines.functional.latents import LatentFormat
from ....pipelines.functional.stepping import Denoise
from ....pipelines.host import Host
from ....pipelines.models.handles import Model
from ....pipelines.models.protocols import DenoisingNetwork
from ....pipelines.settings import MAX_SEED
from ....pipelines.stages.sampling import conditioning, denoiser, known_region, refiner, sample
from ....pipelines.types import LATENT_KNOWN, LATENT_MASK, Conditioning, Known, SamplingSettings
from .cfg_functions import AFTER, areas_of
from .guidance import Guidance
from .network import KNOWN
from .patches import with_head

Callback = Callable[[int, Tensor, Tensor, int], None]
INNER = {"cross_attn", "model_conds", "uuid"}  # options by which ComfyUI's guiders keep track of an entry
SHOWN, SHOWN_MASK = "concat_latent_image", "concat_mask"  # of InpaintModelConditioning
ENDS = {"control", "control_apply_to_uncond"}  # options that end where the refiner takes over
SCHEDULER = "karras"  # any whose noise levels are the model's own: the levels of the run are the sampler node's


@dataclass(frozen=True, eq=False)
class Handover:
    """Wraps a sampler of ComfyUI (WrappersMP.SAMPLER_SAMPLE): the model's inpaint engine, then its refiner.

    `network_of` returns the network of the MODEL that is sampled, which has what nodes behind ours have attached.
    """

    host: Host
    model: Model
    network_of: Callable[[Any], DenoisingNetwork]

    def __call__(
        self,
        execute: Callable[..., Tensor],
        guider: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callback | None,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        run = Run(self._job(guider, sigmas, extra_args, latent_image, denoise_mask), execute, guider, disable_pbar)
        return ROUTES[refiner.route(run.job.model, run.job.settings, 1.0)](
            run, options_with_head(run, extra_args), sigmas, callback or nothing, noise, latent_image
        )

    def _job(
        self, guider: Any, sigmas: Tensor, extra_args: Mapping[str, Any], scaled: Tensor, mask: Tensor | None
    ) -> sample.Job:
        """Describe the run as one of our sampler's."""
        settings = settings_of(guider, len(sigmas) - 1)
        own = replace(self.model, network=self.network_of(guider.model_patcher))
        model = refiner.in_effect(own, settings)
        positive, negative = (self._side(guider, name) for name in ("positive", "negative"))
        form = denoiser.latent_format(model, settings)
        raw = form.raw(scaled.float())
        known = known_of(guider, form, raw, mask)
        latent = {"samples": raw, LATENT_MASK: None if mask is None else mask[:, :1], LATENT_KNOWN: known}
        region = known_region.known_region_of(latent, raw, model)
        seed = int(extra_args.get("seed") or 0)
        seeds = [(seed + i) % (MAX_SEED + 1) for i in range(len(raw))]
        return sample.Job(
            self.host, model, positive, negative or positive, settings, raw, sigmas.cpu(), seeds, 1.0, known=region
        )

    def _side(self, guider: Any, name: str) -> Conditioning:
        """Return one side of a guider's conditions for our denoiser. Raises BadValue for what that cannot apply."""
        entries: Sequence[dict[str, Any]] = guider.original_conds.get(name) or []
        if any(key in one for one in entries for key in ENDS):
            self.host.notice("the ControlNet ends where the refiner takes over, or the inpaint engine is switched off")
        side = [
            [
                one["cross_attn"],
                {key: value for key, value in one.items() if key not in INNER | ENDS | {SHOWN, SHOWN_MASK}},
            ]
            for one in entries
        ]
        if side:
            conditioning.check_options(self.host, side, name)
        return side


class StandIn:
    """Takes the place of a guider in a sampler: predicts with it, or with the network of a second job after `refine`.

    `around` wraps all predictions of a run.
    """

    def __init__(self, guider: Any, around: Callable[[Denoise], Denoise]) -> None:
        self._guider = guider
        self._predict = around(self._evaluate)
        self._given: dict[str, Any] = {}
        self._second: tuple[sample.Job, torch.device] | None = None
        self._refined: Denoise | None = None
        self._sides: Sequence[Tensor] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guider, name)

    def __call__(
        self, x: Tensor, sigma: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        self._given = {"model_options": model_options or {}, "seed": seed}
        return self._predict(x, float(sigma.flatten()[0]))

    def refine(self, job: sample.Job, device: torch.device) -> None:
        """Predict with the network of a job, which is running on the device, from the next evaluation on."""
        self._second = job, device

    def _evaluate(self, x: Tensor, sigma: float) -> Tensor:
        if self._second is not None:
            return self._by_refiner(*self._second, x, sigma)
        denoised: Tensor = self._guider(x, x.new_full((len(x),), sigma), **self._given)
        return denoised

    def _by_refiner(self, job: sample.Job, device: torch.device, x: Tensor, sigma: float) -> Tensor:
        """Predict with the second network, and show its parts to the functions of samplers such as euler_cfg_pp."""
        options = self._given["model_options"]
        of_sampler = options.get(AFTER, ())[len(self._guider.model_options.get(AFTER, ())) :]
        if self._refined is None:
            self._refined = sample.denoiser_of(job, device, self._see if of_sampler else None)
        denoised = self._refined(x, sigma)
        for function in of_sampler:
            denoised = function(
                {
                    "denoised": denoised,
                    "cond": self._guider.conds.get("positive"),
                    "uncond": self._guider.conds.get("negative"),
                    "cond_denoised": self._sides[0],
                    "uncond_denoised": self._sides[1],
                    "cond_scale": job.settings.cfg,
                    "input": x,
                    "sigma": x.new_full((len(x),), sigma),
                    "model": self._guider.inner_model,
                    "model_options": options,
                }
            )
        return denoised

    def _see(self, sides: Sequence[Tensor]) -> None:
        self._sides = sides


@dataclass(frozen=True, eq=False)
class Run:
    """A run of a sampler node, and our description of it."""

    job: sample.Job
    execute: Callable[..., Tensor]
    guider: Any
    disable_pbar: bool

    @property
    def form(self) -> LatentFormat:
        """The scale of the base model's latents."""
        return denoiser.latent_format(self.job.model, self.job.settings)

    def stand_in(self, job: sample.Job, device: torch.device) -> StandIn:
        """Return the guider with the known region of a job around its predictions."""

        def around(denoise: Denoise) -> Denoise:
            return job.known.reimposed(denoise, self.form, job.seeds, device) if job.known else denoise

        return StandIn(self.guider, around)

    def sampled(
        self,
        stand_in: object,
        extra_args: Mapping[str, Any],
        levels: Tensor,
        callback: Callback,
        noise: Tensor,
        image: Tensor,
    ) -> Tensor:
        """Let the sampler draw from a scaled image under noise; returns its scaled latents."""
        return self.execute(stand_in, levels, dict(extra_args), callback, noise, image, None, self.disable_pbar)


def joint(
    run: Run, extra_args: Mapping[str, Any], levels: Tensor, callback: Callback, noise: Tensor, image: Tensor
) -> Tensor:
    """Draw once, and exchange the network after the first evaluation of the switch step."""
    guider, second, at = run.stand_in(run.job, noise.device), run.job.for_refiner(), run.job.switch_step
    with ExitStack() as running:

        def report(i: int, denoised: Tensor, x: Tensor, total: int) -> None:
            callback(i, denoised, x, total)
            if i == at:
                guider.refine(second, running.enter_context(second.running()))

        return run.sampled(guider, extra_args, levels, report, noise, image)


def separate(
    run: Run, extra_args: Mapping[str, Any], levels: Tensor, callback: Callback, noise: Tensor, image: Tensor
) -> Tensor:
    """Draw twice over one schedule: the model to the switch step, then the refiner from its noisy latents."""
    at, total, device = run.job.switch_step, len(levels) - 1, noise.device
    first = schedules.cut(levels, last=at)
    halfway = run.sampled(run.stand_in(run.job, device), extra_args, first, shifted(callback, 0, total), noise, image)
    second = replace(run.job.for_refiner(), levels=schedules.cut(run.job.levels, start=at))
    guider = run.stand_in(second, device)
    with second.running() as on:
        guider.refine(second, on)
        rest, report = schedules.cut(levels, start=at), shifted(callback, at, total)
        return run.sampled(guider, extra_args, rest, report, torch.zeros_like(noise), halfway)


def through_latents(
    run: Run, extra_args: Mapping[str, Any], levels: Tensor, callback: Callback, noise: Tensor, image: Tensor
) -> Tensor:
    """Draw to clean latents at the switch step, then with the refiner from those with noise of its own."""
    at, total, device = run.job.switch_step, len(levels) - 1, noise.device
    recorder: list[sample.NoiseRecorder] = []

    def recording(denoise: Denoise) -> Denoise:
        recorder.append(sample.NoiseRecorder(denoise))
        known = run.job.known
        return known.reimposed(recorder[0], run.form, run.job.seeds, device) if known else recorder[0]

    first = schedules.cut(levels, last=at, full_denoise=True)
    clean = run.sampled(StandIn(run.guider, recording), extra_args, first, shifted(callback, 0, total), noise, image)
    rest = schedules.cut(levels, start=at) * sample.REFINER_SIGMAS
    seeds = [(seed + 1) % (MAX_SEED + 1) for seed in run.job.seeds]
    second = replace(run.job.for_refiner(), levels=rest.cpu(), seeds=seeds)
    guider = run.stand_in(second, device)
    with second.running() as on:
        guider.refine(second, on)
        fresh = sample.run_noise(second, device)
        start = recorder[0].recentred(fresh, fresh).start
        return run.sampled(guider, extra_args, rest, shifted(callback, at, total), start, clean)


ROUTES: Mapping[refiner.Route, Callable[..., Tensor]] = {
    "joint": joint,
    "separate": separate,
    "vae": through_latents,
}


def settings_of(guider: Any, steps: int) -> SamplingSettings:
    """Return the settings of a sampler node: Fooocus's guidance if the MODEL has that, else plain guidance."""
    cfg = float(getattr(guider, "cfg", 1.0))
    if others := sorted(guider.original_conds.keys() - {"positive", "negative"}):
        raise BadValue(
            f"the guider has conditions {', '.join(others)}, which a refiner or inpaint engine of Fooocus does not "
            "apply: use a CFG Guider or a KSampler"
        )
    patch = guider.model_options.get("sampler_cfg_function")
    plain = SamplingSettings(sharpness=0.0, adaptive_cfg=cfg, adm_positive=1.0, adm_negative=1.0, adm_end=0.0)
    chosen = patch.settings if isinstance(patch, Guidance) else plain
    return replace(chosen, cfg=cfg, steps=steps, sampler="euler", scheduler=SCHEDULER, performance="")


def known_of(guider: Any, form: LatentFormat, raw: Tensor, mask: Tensor | None) -> Known:
    """Return what is known outside the mask: as Fooocus Model Patch was told, or from the conditioning or samples.

    InpaintModelConditioning puts the image with its masked part gray into the conditioning.
    """
    given: Known | None = guider.model_patcher.get_attachment(KNOWN)
    if given is not None:
        return given
    shown = (one.get(SHOWN) for one in guider.original_conds.get("positive") or [])
    return Known(raw, masked=next((one for one in shown if one is not None), raw))


def options_with_head(run: Run, extra_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a sampler with the output of the model's inpaint head in its options."""
    output = run.job.known.head_output(run.job.model, run.form) if run.job.known else None
    if output is None:
        return dict(extra_args)
    options = extra_args["model_options"]
    areas = areas_of(run.guider.conds.values())
    transformer = with_head(options["transformer_options"], output, areas)
    return {**extra_args, "model_options": {**options, "transformer_options": transformer}}


def shifted(callback: Callback, first: int, total: int) -> Callback:
    """Return a callback for steps that begin at `first` of `total`."""
    return lambda i, denoised, x, _: callback(first + i, denoised, x, total)


def nothing(*_: object) -> None:
    """Take the place of a callback."""
