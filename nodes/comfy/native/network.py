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
from ....pipelines.models.hints import controlnet
from ....pipelines.models.protocols import AreaResiduals, Condition, Load, Residuals, Run
from ....pipelines.models.unet import UNetFacts, area_residuals, config_of, ids_on
from ....pipelines.models.weights.control_net import ControlNet
from ....pipelines.models.weights.merging import WeightPatch
from ....pipelines.types import Family, FreeU, SamplingSettings
from .control import NativeControl, with_encoder
from .layout import Layout, layout_of
from .patches import FreeUPatch, add_weight_patch, attention_patches, with_head, without_deltas
from .recognise import dtype_of
from .schedule import Schedule

KEY = "fooocus_stages"
KNOWN = "fooocus_stages.known"  # the attachment with the `Known` of the latent that a sampler node gets
GUIDANCE = {"sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function", "denoise_mask_function"}
"""Options of a MODEL that are part of ComfyUI's guidance, by the names under which it has them."""
AROUND_SAMPLERS = (WrappersMP.OUTER_SAMPLE, WrappersMP.SAMPLER_SAMPLE, WrappersMP.PREDICT_NOISE)
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
    Fooocus Model Patch, which the MODEL had and gets again when it is handed on.
    """

    def __init__(
        self,
        patcher: Any,
        family: Family,
        keeper: Keeper,
        included: tuple[WeightPatch, ...] = (),
        guidance: SamplingSettings | None = None,
    ) -> None:
        self._patcher, self._family, self._keeper, self._included = patcher, family, keeper, included
        self.guidance = guidance
        self._running: Running | None = None

    @cached_property
    def _layout(self) -> Layout:
        shapes = tuple((name, tuple(weight.shape)) for name, weight in self.weights.named_parameters())
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
        if found := sorted(GUIDANCE & self._patcher.model_options.keys()):
            self._keeper.notice(f"the MODEL has {', '.join(found)}, for which Fooocus's own guidance is used instead")
        clone = self.with_weights(patches)
        clone.add_object_patch("model_sampling", Schedule(run.sampling))
        if freeu is not None:
            clone.set_model_output_block_patch(FreeUPatch(self.base_channels, freeu))
        if beside:
            clone.set_additional_models(KEY, [self._keeper.managed(module) for module in beside])
        options = comfy.model_patcher.create_model_options_clone(clone.model_options)
        options.setdefault("transformer_options", {})["sample_sigmas"] = run.levels.to(clone.load_device)
        comfy.sampler_helpers.prepare_model_patcher(clone, {}, options)
        self._name_wrappers(options)
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
        running = self._open()
        control = residuals and NativeControl(residuals, conditions, sampling, self.dtype)
        entries = [[self._entry(condition, control)] for condition in conditions]
        options = self._options(running.options, images, inpaint)
        levels = torch.full((len(x),), sigma, dtype=torch.float32, device=running.device)
        predictions = comfy.samplers.calc_cond_batch(
            running.patcher.model, entries, x.to(running.device), levels, options
        )
        return [prediction.float() for prediction in predictions]

    @torch.no_grad()
    def controlled_by(self, control: ControlNet, image: Tensor, name: str) -> AreaResiduals:
        """Return the residuals of a control network that reads `image` (1 or B, 3, 8h, 8w)."""
        module, running = self.module, self._open()
        if control.is_lora:
            empty = copy.deepcopy(module)
            module = with_encoder(self._layout, self.weights, empty, running.device, self.dtype)
        return area_residuals(controlnet.on_unet(control, module, name), image)

    def _name_wrappers(self, options: dict[str, Any]) -> None:
        """Show a notice for wrappers of other packs around ComfyUI's samplers, which do not run here."""
        if found := [kind for kind in AROUND_SAMPLERS if get_all_wrappers(kind, options, is_model_options=True)]:
            self._keeper.notice(
                f"the MODEL has wrappers of another node around ComfyUI's sampling ({', '.join(found)}), which "
                "Fooocus's sampler does not run: use Fooocus Model Patch and a KSampler to have them"
            )

    def _open(self) -> Running:
        if self._running is None:
            raise RuntimeError("the network is not running: call this inside `running`")
        return self._running

    def _entry(self, condition: Condition, control: NativeControl | None) -> dict[str, Any]:
        """Return a condition as ComfyUI's samplers take it."""
        conds = {"c_crossattn": comfy.conds.CONDCrossAttn(condition.tokens)}
        if self.takes_sizes and condition.pooled is not None:
            conds["y"] = comfy.conds.CONDRegular(self._sizes(condition, condition.pooled))
        entry: dict[str, Any] = {"model_conds": conds, "uuid": uuid.uuid4()}
        return entry if control is None else {**entry, "control": control}

    def _sizes(self, condition: Condition, pooled: Tensor) -> Tensor:
        """Return the pooled text and the embedded size ids (1 or B, P + 256·n)."""
        embedded = self._patcher.model.embedder(ids_on(pooled.device, condition.time_ids or ())).flatten()
        return torch.cat([pooled, embedded.to(pooled).expand(len(pooled), -1)], dim=1)

    def _options(self, options: dict[str, Any], images: ImagePrompts | None, inpaint: Tensor | None) -> dict[str, Any]:
        """Return the options with the image prompts and the inpaint head's output added."""
        transformer = dict(options["transformer_options"])
        if inpaint is not None:
            transformer = with_head(transformer, inpaint)
        if images is not None:
            replaced = dict(transformer.get("patches_replace", {}))
            if replaced.get("attn2"):
                self._keeper.notice("the MODEL has cross-attentions of another node: image prompts take their place")
            replaced["attn2"] = {**replaced.get("attn2", {}), **attention_patches(self._layout, images)}
            transformer["patches_replace"] = replaced
        return {**options, "transformer_options": transformer}
