"""Between the wires: ComfyUI's MODEL, CLIP and VAE as our handles, and back with what our nodes have set on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import comfy.model_patcher
import comfy.sd
from comfy.patcher_extension import WrappersMP

from ....pipelines.errors import BadValue
from ....pipelines.host import Host
from ....pipelines.models.handles import Clip, HostVae, Model
from ....pipelines.models.weights.merging import WeightPatch
from .clip import clip_of, native_of, native_text
from .guidance import NAMES, Guidance, guidance_of, patched
from .handover import Handover
from .network import KEY, KNOWN, Keeper, NativeUNet
from .patches import FreeUPatch
from .recognise import family_of, file_of
from .schedule import prediction_of
from .vae import NativeVae

SIDES = {"sd15": 512}
SIDE = 1024
NO_NETWORK: Any = None  # in an attachment


class ModelHost(Keeper, Host, Protocol):
    """The host of models of ComfyUI."""


@dataclass(frozen=True, eq=False)
class Attachment:
    """The settings of our nodes on a MODEL: the model without its network, and its patches that are in the weights.

    It holds no network: one that held the MODEL which holds it would keep the weights in memory.
    """

    model: Model
    included: tuple[WeightPatch, ...]


def adopted(value: object, host: ModelHost) -> object:
    """Return our handle of a model of ComfyUI; other values unchanged. Raises BadValue for an unsupported model."""
    if isinstance(value, comfy.sd.VAE):
        return HostVae(NativeVae(value))
    if isinstance(value, comfy.sd.CLIP):
        return clip_of(value, host)
    return model_of(value, host) if isinstance(value, comfy.model_patcher.ModelPatcher) else value


def handed_on(value: object, host: ModelHost) -> object:
    """Return ComfyUI's model for a handle that `adopted` made; other values unchanged.

    A VAE beside a refiner of another family stays a handle, because ComfyUI's has no place for the second one.
    """
    if isinstance(value, Model) and isinstance(value.network, NativeUNet):
        return patcher_of(value, value.network, host)
    if isinstance(value, Clip) and (text := native_text(value.encoders[0].network)):
        return native_of(value, text.source)
    if isinstance(value, HostVae) and isinstance(value.network, NativeVae) and value.refiner is None:
        return value.network.native
    return value


def model_of(patcher: Any, host: ModelHost) -> Model:
    """Return our handle of a MODEL. Raises BadValue for a network that Fooocus's stages cannot use."""
    network, family = network_of(patcher, host), family_of(patcher)
    prediction, zero_snr = prediction_of(patcher.get_model_object("model_sampling"))
    attachment: Attachment | None = patcher.get_attachment(KEY)
    if attachment:
        return replace(attachment.model, network=network, prediction=prediction, zero_snr=zero_snr)
    return Model(network, family, prediction, zero_snr, file_of(patcher), native_size=SIDES.get(family, SIDE))


def network_of(patcher: Any, host: ModelHost, takes_over: bool = False) -> NativeUNet:
    """Return the network of a MODEL, with what other nodes have attached to it. Raises BadValue as `model_of` does."""
    attachment: Attachment | None = patcher.get_attachment(KEY)
    included = attachment.included if attachment else ()
    return NativeUNet(without_parts(patcher), family_of(patcher), host, included, guidance_of(patcher), takes_over)


def patcher_of(model: Model, network: NativeUNet, host: ModelHost) -> Any:
    """Return a MODEL with what our nodes have set, for our nodes and for ComfyUI's samplers.

    Those refuse one with a refiner of SD 1.5, because they return no latents of another model.
    """
    patches = model.patches if model.inpaint is None else (*model.patches, model.inpaint.patch)
    clone = network.with_weights(patches)
    clone.set_attachments(KEY, Attachment(replace(model, network=NO_NETWORK), patches))
    if network.guidance is not None:
        clone = patched(clone, network.guidance)
    if model.freeu is not None:
        clone.set_model_output_block_patch(FreeUPatch(network.base_channels, model.freeu))
    if model.switch is not None and model.switch.refiner.vae is not None:
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, refuse)
    elif model.switch is not None or model.inpaint is not None:
        clone.add_wrapper_with_key(
            WrappersMP.SAMPLER_SAMPLE, KEY, Handover(host, model, partial(network_of, host=host, takes_over=True))
        )
    return clone


def refuse(*_: object, **__: object) -> object:
    """Wrap a run of ComfyUI's samplers (WrappersMP.OUTER_SAMPLE), to end it before it starts."""
    raise BadValue(
        "the MODEL has an SD 1.5 refiner, whose latents this sampler cannot return: sample it with Fooocus Sampler, or "
        "connect the MODEL from before Fooocus Refiner Switch"
    )


def without_parts(patcher: Any) -> Any:
    """Return a clone without what we have attached for ComfyUI's samplers; our changes to the weights stay."""
    clone = patcher.clone()
    clone.remove_attachments(KEY)
    clone.remove_attachments(KNOWN)
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.SAMPLER_SAMPLE, WrappersMP.CALC_COND_BATCH):
        clone.remove_wrappers_with_key(kind, KEY)
    clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, NAMES)
    if isinstance(clone.model_options.get("sampler_cfg_function"), Guidance):
        del clone.model_options["sampler_cfg_function"]
    patches = clone.model_options["transformer_options"].get("patches", {})
    if blocks := patches.get("output_block_patch"):
        patches["output_block_patch"] = [patch for patch in blocks if not isinstance(patch, FreeUPatch)]
    return clone
