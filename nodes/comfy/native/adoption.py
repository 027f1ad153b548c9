"""Between the wires: ComfyUI's MODEL, CLIP and VAE as our handles, and back with what our nodes have set on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import comfy.model_patcher
import comfy.sd
from comfy.patcher_extension import WrappersMP

from ....pipelines.errors import BadValue
from ....pipelines.models.handles import Clip, HostVae, Model
from ....pipelines.models.weights.merging import WeightPatch
from .clip import clip_of, native_of, native_text
from .guidance import Guidance
from .network import KEY, Keeper, NativeUNet
from .patches import FreeUPatch
from .recognise import family_of, file_of
from .schedule import prediction_of
from .vae import NativeVae

SIDES = {"sd15": 512}
SIDE = 1024
NO_NETWORK: Any = None  # in an attachment


@dataclass(frozen=True, eq=False)
class Attachment:
    """The settings of our nodes on a MODEL: the model without its network, and its patches that are in the weights.

    It holds no network: one that held the MODEL which holds it would keep the weights in memory.
    """

    model: Model
    included: tuple[WeightPatch, ...]


def adopted(value: object, keeper: Keeper) -> object:
    """Return our handle of a model of ComfyUI; other values unchanged. Raises BadValue for an unsupported model."""
    if isinstance(value, comfy.sd.VAE):
        return HostVae(NativeVae(value))
    if isinstance(value, comfy.sd.CLIP):
        return clip_of(value, keeper)
    return model_of(value, keeper) if isinstance(value, comfy.model_patcher.ModelPatcher) else value


def handed_on(value: object) -> object:
    """Return ComfyUI's model for a handle that `adopted` made; other values unchanged.

    A VAE beside a refiner of another family stays a handle, because ComfyUI's has no place for the second one.
    """
    if isinstance(value, Model) and isinstance(value.network, NativeUNet):
        return patcher_of(value, value.network)
    if isinstance(value, Clip) and (text := native_text(value.encoders[0].network)):
        return native_of(value, text.source)
    if isinstance(value, HostVae) and isinstance(value.network, NativeVae) and value.refiner is None:
        return value.network.native
    return value


def model_of(patcher: Any, keeper: Keeper) -> Model:
    """Return our handle of a MODEL. Raises BadValue for a network that Fooocus's stages cannot use."""
    family = family_of(patcher)
    prediction, zero_snr = prediction_of(patcher.get_model_object("model_sampling"))
    attachment: Attachment | None = patcher.get_attachment(KEY)
    network = NativeUNet(without_parts(patcher), family, keeper, attachment.included if attachment else ())
    if attachment:
        return replace(attachment.model, network=network, prediction=prediction, zero_snr=zero_snr)
    return Model(network, family, prediction, zero_snr, file_of(patcher), native_size=SIDES.get(family, SIDE))


def patcher_of(model: Model, network: NativeUNet) -> Any:
    """Return a MODEL with what our nodes have set, for our nodes and for ComfyUI's samplers.

    Those refuse one with an inpaint engine or a refiner, which only our sampler applies.
    """
    clone = network.with_weights(model.patches)
    clone.set_attachments(KEY, Attachment(replace(model, network=NO_NETWORK), model.patches))
    if model.freeu is not None:
        clone.set_model_output_block_patch(FreeUPatch(network.base_channels, model.freeu))
    if model.inpaint is not None:
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, Refusal("an inpaint engine"))
    if model.switch is not None:
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, Refusal("a refiner"))
    return clone


@dataclass(frozen=True)
class Refusal:
    """Wraps a run of ComfyUI's samplers, to end it before it starts."""

    what: str

    def __call__(self, *_: object, **__: object) -> object:
        raise BadValue(
            f"the MODEL has {self.what} of Fooocus, which this sampler does not apply: sample it with Fooocus Sampler, "
            "or connect the MODEL from before that node"
        )


def without_parts(patcher: Any) -> Any:
    """Return a clone without what we have attached for ComfyUI's samplers; our changes to the weights stay."""
    clone = patcher.clone()
    clone.remove_attachments(KEY)
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.CALC_COND_BATCH):
        clone.remove_wrappers_with_key(kind, KEY)
    if isinstance(clone.model_options.get("sampler_cfg_function"), Guidance):
        del clone.model_options["sampler_cfg_function"]
    patches = clone.model_options["transformer_options"].get("patches", {})
    if blocks := patches.get("output_block_patch"):
        patches["output_block_patch"] = [patch for patch in blocks if not isinstance(patch, FreeUPatch)]
    return clone
