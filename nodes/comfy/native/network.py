"""ComfyUI's UNet as a `DenoisingNetwork`, run through ComfyUI's public interfaces on a clone of its ModelPatcher.

Whatever else is attached to the MODEL (LoRAs, attention patches, wrappers, low-VRAM loading, quantized weights) goes on
working, because the network stays ComfyUI's.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import comfy.conds
import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP, get_all_wrappers
from torch import Tensor, nn

from ....pipelines.functional.image_attention import ImagePrompts
from ....pipelines.functional.model_sampling import ModelSampling
from ....pipelines.functional.regions import Area
from ....pipelines.models.hints import controlnet
from ....pipelines.models.protocols import AreaResiduals, Combine, Condition, Evaluation, Load, Part, Residuals, Run
from ....pipelines.models.unet import UNetFacts, area_residuals, config_of, ids_on
from ....pipelines.models.weights.control_net import ControlNet
from ....pipelines.models.weights.merging import WeightPatch
from ....pipelines.types import Family, FreeU, SamplingSettings
from . import cfg_functions
from .cfg_functions import Conds, areas_of
from .control import NativeControl, with_encoder
from .layout import Layout, layout_of, own_modules, shapes_of
from .patches import FreeUPatch, add_weight_patch, attention_patches, with_head, without_deltas
from .recognise import dtype_of
from .schedule import Schedule

KEY = "fooocus_stages"
KNOWN = "fooocus_stages.known"  # the attachment with the `Known` of the latent that a sampler node gets
REPLACED = {"sampler_cfg_function", "denoise_mask_function"}  # options, for which Fooocus has guidance and masks
AROUND_PREDICTIONS = (WrappersMP.PREDICT_NOISE,)
AROUND_SAMPLERS = (WrappersMP.OUTER_SAMPLE, WrappersMP.SAMPLER_SAMPLE, *AROUND_PREDICTIONS)
Value = TypeVar("Value")


class Keeper(Protocol):
    """The part of the host that is needed: memory management for our modules, a place to keep layouts, and notices."""

    def managed(self, module: nn.Module) -> object:
        """Return the ModelPatcher of a module."""
        ...

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value kept under the key, or make and keep it."""
        ...

    def notice(self, text: str) -> None:
        """Show the user a sentence."""
        ...


@dataclass(frozen=True, eq=False)
class Running:
    """A clone that is loaded, and the options that ComfyUI's functions take with it."""

    patcher: Any
    options: dict[str, Any]

    @property
    def device(self) -> torch.device:
        """The device of the network's inputs."""
        device: torch.device = self.patcher.load_device
        return device


class NativeUNet(UNetFacts):
    """ComfyUI's UNet.

    `included` are those of our weight patches that the given ModelPatcher has already. `guidance` are the settings of
    Fooocus Model Patch, which the MODEL had and gets again when it is handed on. `takes_over` is True when a sampler of
    ComfyUI has begun the run.
    """

    def __init__(
        self,
        patcher: Any,
        family: Family,
        keeper: Keeper,
        included: tuple[WeightPatch, ...] = (),
        guidance: SamplingSettings | None = None,
        takes_over: bool = False,
    ) -> None:
        self._patcher, self._family, self._keeper, self._included = patcher, family, keeper, included
        self.guidance = guidance
        self._takes_over = takes_over
        self._running: Running | None = None

    @cached_property
    def _layout(self) -> Layout:
        shapes = shapes_of(own_modules(self._patcher))
        return self._keeper.keep(
            ("native layout", shapes, self._family, self.dtype), lambda: layout_of(shapes, self._family, self.dtype)
        )

    @property
    def module(self) -> nn.Module:
        return self._layout.module

    @property
    def base_channels(self) -> int:
        """The channels of the UNet's first level."""
        return config_of(self.module).block_out_channels[0]

    @property
    def weights(self) -> nn.Module:
        unet: nn.Module = self._patcher.model.diffusion_model
        return unet

    @property
    def patcher(self) -> Any:
        return self._patcher

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self._patcher.model)

    def with_weights(self, patches: tuple[WeightPatch, ...]) -> Any:
        """Return a clone of the ModelPatcher with exactly these of our weight patches."""
        clone = self._patcher.clone()
        if patches != self._included:
            clone.patches = without_deltas(clone.patches)
            clone.patches_uuid = uuid.uuid4()
            for patch in patches:
                add_weight_patch(clone, self._layout, patch)
        return clone

    @contextmanager
    def running(
        self,
        load: Load,
        run: Run,
        patches: tuple[WeightPatch, ...] = (),
        freeu: FreeU | None = None,
        beside: Sequence[nn.Module] = (),
    ) -> Iterator[torch.device]:
        """Load a clone with the patches as ComfyUI's samplers do, for as long as the context lasts."""
        clone = self.with_weights(patches)
        clone.add_object_patch("model_sampling", Schedule(run.sampling))
        if freeu is not None:
            clone.set_model_output_block_patch(FreeUPatch(self.base_channels, freeu))
        if beside:
            clone.set_additional_models(KEY, [self._keeper.managed(module) for module in beside])
        options = comfy.model_patcher.create_model_options_clone(clone.model_options)
        options.setdefault("transformer_options", {})["sample_sigmas"] = run.levels.to(clone.load_device)
        comfy.sampler_helpers.prepare_model_patcher(clone, {}, options)
        self._name_what_does_not_run(options)
        loaded: list[Any] = []
        try:
            _, _, loaded = comfy.sampler_helpers.prepare_sampling(clone, run.shape, {}, options)
            comfy.samplers.cast_to_load_options(options, device=clone.load_device, dtype=clone.model_dtype())
            clone.pre_run()
            self._running = Running(clone, options)
            yield self._running.device
        finally:
            self._running = None
            clone.cleanup()
            comfy.sampler_helpers.cleanup_models({}, loaded)
            comfy.samplers.cast_to_load_options(options, device=clone.offload_device)
            clone.restore_hook_patches()

    def denoised(
        self,
        x: Tensor,
        sigma: float,
        sampling: ModelSampling,
        conditions: Sequence[Condition],
        residuals: Residuals | None = None,
        images: ImagePrompts | None = None,
        inpaint: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the denoised prediction for each condition, (B, 4, h, w) float32, in their order."""
        running, whole = self._open(), Area(x.shape[-2], x.shape[-1])
        sides = [[Part(condition, whole, None, residuals)] for condition in conditions]
        conds = self._conds(sides, sampling, whole)
        options = self._options(running.options, conds, images, inpaint)
        given, levels = x.to(running.device), self._levels(x, sigma)
        predict = cfg_functions.prediction(options)
        return [prediction.float() for prediction in predict(running.patcher.model, conds, given, levels, options)]

    @property
    def reads_negative(self) -> bool:
        return bool(self._patcher.model_options.get("disable_cfg1_optimization"))

    def guided(self, predictions: Sequence[Tensor], combine: Combine, evaluation: Evaluation) -> Tensor:
        """Combine the predictions of the sides, between the pre-CFG and post-CFG functions of other nodes."""
        running, x = self._open(), evaluation.x
        if not cfg_functions.has_any(running.options):
            return combine(predictions)
        conds = self._conds(evaluation.parts(), evaluation.sampling, Area(x.shape[-2], x.shape[-1]))
        options = self._options(running.options, conds, evaluation.images, evaluation.inpaint)
        shared = {
            "cond_scale": evaluation.cfg,
            "input": x,
            "sigma": self._levels(x, evaluation.sigma),
            "model": running.patcher.model,
            "model_options": options,
        }
        return cfg_functions.guided(options, conds, predictions, combine, shared)

    @torch.no_grad()
    def controlled_by(self, control: ControlNet, image: Tensor, name: str) -> AreaResiduals:
        """Return the residuals of a control network that reads `image` (1 or B, 3, 8h, 8w)."""
        module, running = self.module, self._open()
        if control.is_lora:
            empty = copy.deepcopy(module)
            module = with_encoder(self._layout, own_modules(running.patcher), empty, running.device, self.dtype)
        return area_residuals(controlnet.on_unet(control, module, name), image)

    def _name_what_does_not_run(self, options: dict[str, Any]) -> None:
        """Show a notice for what other nodes have put around ComfyUI's guidance and samplers that does not run here."""
        around = AROUND_PREDICTIONS if self._takes_over else AROUND_SAMPLERS
        found = sorted(REPLACED & options.keys())
        found += [kind for kind in around if get_all_wrappers(kind, options, is_model_options=True)]
        if found:
            what = f"the MODEL has {', '.join(found)} of another node, which"
            self._keeper.notice(
                f"{what} ends where the refiner takes over, or the inpaint engine is switched off"
                if self._takes_over
                else f"{what} Fooocus's sampler does not apply: sample with KSampler to have it"
            )

    def _open(self) -> Running:
        if self._running is None:
            raise RuntimeError("the network is not running: call this inside `running`")
        return self._running

    def _levels(self, x: Tensor, sigma: float) -> Tensor:
        """Return the noise level of each row."""
        return torch.full((len(x),), sigma, dtype=torch.float32, device=self._open().device)

    def _conds(self, sides: Sequence[Sequence[Part]], sampling: ModelSampling, whole: Area) -> Conds:
        """Return the conditions of each side as ComfyUI's samplers take them, for latents of the size of `whole`."""
        names = [[uuid.uuid4() for _ in side] for side in sides]
        every = list(
            zip((one for side in names for one in side), (part for side in sides for part in side), strict=True)
        )
        conditions = {one: part.condition for one, part in every}
        controls = {
            part.area: NativeControl(part.residuals, conditions, sampling, self.dtype)
            for _, part in every
            if part.residuals
        }
        return [
            [
                self._entry(part, whole) | {"uuid": one} | ({"control": controls[part.area]} if part.residuals else {})
                for one, part in zip(of_side, side, strict=True)
            ]
            for of_side, side in zip(names, sides, strict=True)
        ]

    def _entry(self, part: Part, whole: Area) -> dict[str, Any]:
        """Return a condition with its area and its weights there."""
        condition, area = part.condition, part.area
        conds = {"c_crossattn": comfy.conds.CONDCrossAttn(condition.tokens)}
        if self.takes_sizes and condition.pooled is not None:
            conds["y"] = comfy.conds.CONDRegular(self._sizes(condition, condition.pooled))
        entry: dict[str, Any] = {"model_conds": conds}
        if part.weights is None:
            return entry
        weights = part.weights.expand(1, 1, area.height, area.width) if not part.weights.ndim else part.weights
        mask = weights.new_zeros(len(weights), whole.height, whole.width)
        area.crop(mask).copy_(weights[:, 0])
        return {**entry, "area": (area.height, area.width, area.top, area.left), "mask": mask}

    def _sizes(self, condition: Condition, pooled: Tensor) -> Tensor:
        """Return the pooled text and the embedded size ids (1 or B, P + 256·n)."""
        embedded = self._patcher.model.embedder(ids_on(pooled.device, condition.time_ids or ())).flatten()
        return torch.cat([pooled, embedded.to(pooled).expand(len(pooled), -1)], dim=1)

    def _options(
        self, options: dict[str, Any], conds: Conds, images: ImagePrompts | None, inpaint: Tensor | None
    ) -> dict[str, Any]:
        """Return the options with the image prompts and the inpaint head's output added, for those conditions."""
        transformer = dict(options["transformer_options"])
        if inpaint is not None:
            transformer = with_head(transformer, inpaint, areas_of(conds))
        if images is not None:
            sides = {cond["uuid"]: i for i, side in enumerate(conds) for cond in side}
            replaced = dict(transformer.get("patches_replace", {}))
            if replaced.get("attn2"):
                self._keeper.notice("the MODEL has cross-attentions of another node: image prompts take their place")
            replaced["attn2"] = {**replaced.get("attn2", {}), **attention_patches(self._layout, images, sides)}
            transformer["patches_replace"] = replaced
        return {**options, "transformer_options": transformer}
