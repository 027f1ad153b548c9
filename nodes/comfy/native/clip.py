"""ComfyUI's CLIP as our `Clip`: its networks read prompts as Fooocus does, and LoRAs are patches on a clone of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import comfy.model_management
import torch
from torch import Tensor, nn

from ....pipelines.errors import BadValue
from ....pipelines.models.clip import text_encoder, text_module
from ....pipelines.models.handles import Clip, Embedding
from ....pipelines.models.protocols import Load, TextStates
from ....pipelines.models.weights.key_names import clip_key
from ....pipelines.models.weights.merging import WeightPatch
from ....pipelines.text.emphasis import SECTION
from ....pipelines.text.tokenizer import ClipTokenizer, find_vocabulary
from ....pipelines.types import TextNorm
from .control import weight_of
from .network import KEY, Keeper
from .patches import Deltas, without_deltas
from .recognise import TEXT_ENCODERS, file_of, text_family_of

SKIPS = {"sdxl": 2, "sd15": 1}
"""The layer that ComfyUI reads without a CLIP Set Last Layer node, counted from the end."""

FINAL_NORM = "text_model.final_layer_norm"
CPU = torch.device("cpu")

Patches = Mapping[str, tuple[WeightPatch, ...]]


@dataclass(frozen=True, eq=False)
class TextAttachment:
    """What our nodes have set on a CLIP: the patches that are in its weights, by encoder, and LoRAs' embeddings."""

    patches: Patches = field(default_factory=dict)
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Source:
    """A CLIP of ComfyUI, and our weight patches that it has already, by encoder."""

    native: Any
    included: Patches

    def with_patches(self, patches: Patches) -> Any:
        """Return a clone with exactly these of our weight patches."""
        clone = self.native.clone()
        if any(patches.get(name, ()) != self.included.get(name, ()) for name in {*patches, *self.included}):
            clone.patcher.patches = without_deltas(clone.patcher.patches)
            clone.patcher.patches_uuid = uuid.uuid4()
            for encoder, of_encoder in patches.items():
                for patch in of_encoder:
                    changes = {key_of(encoder, name): Deltas(set(), deltas) for name, deltas in patch.deltas.items()}
                    clone.add_patches(changes, patch.weight)
        return clone


class NativeText:
    """One text encoder of a CLIP of ComfyUI, 'clip_l' or 'clip_g'."""

    def __init__(self, source: Source, name: str, keeper: Keeper) -> None:
        self.source, self.name, self._keeper = source, name, keeper

    @cached_property
    def module(self) -> nn.Module:
        pooled = self.name == "clip_g"
        shapes = {key: tuple(weight.shape) for key, weight in self.weights.named_parameters()}
        if not pooled:
            shapes.pop("text_projection.weight", None)
        key = ("native text layout", pooled, tuple(shapes.items()))
        return self._keeper.keep(key, lambda: text_module(shapes, pooled))

    @property
    def weights(self) -> nn.Module:
        return transformer_of(self.source.native, self.name)

    @property
    def patcher(self) -> object:
        patcher: object = self.source.native.patcher
        return patcher

    @property
    def token_table(self) -> nn.Module:
        weights: Any = self.weights
        table: nn.Module = weights.get_input_embeddings()
        return table

    @property
    def final_norm(self) -> TextNorm:
        layer: Any = self.weights.get_submodule(FINAL_NORM)
        weight, bias = (weight_of({"": layer}, leaf, CPU, torch.float32).clone() for leaf in ("weight", "bias"))
        return TextNorm(weight, bias, layer.eps)

    @contextmanager
    def running(self, load: Load, patches: tuple[WeightPatch, ...] = ()) -> Iterator[torch.device]:
        """Load a clone of the CLIP with the patches, as ComfyUI does before it encodes."""
        native = self.source.native
        if native.patcher.forced_hooks or native.apply_hooks_to_conds:
            raise BadValue(
                "the CLIP carries hooks, which Fooocus Encode Prompt cannot apply: use Fooocus Apply LoRAs for LoRAs, "
                "or encode with CLIP Text Encode and sample with a KSampler"
            )
        patcher = self.source.with_patches({**self.source.included, self.name: patches}).load_model()
        on_device = getattr(comfy.model_management, "cuda_device_context", nullcontext)
        with on_device(patcher.load_device):
            yield patcher.load_device

    def states(self, ids: Tensor, ends: Tensor, skip: int, normed: bool = False) -> TextStates:
        """Read sections of token ids (n, 77), each pooled at its position in `ends` (n,)."""
        weights: Any = self.weights
        last, hidden, projected, pooled = weights(
            None,
            None,
            embeds=self.token_table(ids, out_dtype=torch.float32),
            num_tokens=(ends + 1).tolist(),
            intermediate_output=weights.num_layers - skip if skip <= weights.num_layers else None,
            final_layer_norm_intermediate=normed,
            dtype=torch.float32,
        )
        return TextStates((last if hidden is None else hidden).float(), pooled.float(), projected.float())


def clip_of(native: Any, keeper: Keeper) -> Clip:
    """Return our handle of a CLIP. Raises BadValue for one that is not SDXL's or SD 1.5's."""
    family = text_family_of(native)
    attachment: TextAttachment = native.patcher.get_attachment(KEY) or TextAttachment()
    tokenizer = keeper.keep("native tokenizer", lambda: ClipTokenizer(find_vocabulary()))
    source = Source(native, attachment.patches)
    names = TEXT_ENCODERS[family]
    networks = {name: NativeText(source, name, keeper) for name in names}
    for network in networks.values():
        _check_sizes(network, tokenizer)
    encoders = tuple(
        text_encoder(network, tokenizer, family, name == "clip_g", attachment.patches.get(name, ()))
        for name, network in networks.items()
    )
    skip = -native.layer_idx if native.layer_idx else SKIPS[family]
    return Clip(encoders, tokenizer, skip, file_of(native.patcher), embeddings=attachment.embeddings)


def native_of(clip: Clip, source: Source) -> Any:
    """Return a CLIP with what our nodes have set on a handle that `clip_of` made."""
    patches = {network.name: encoder.patches for encoder in clip.encoders if (network := native_text(encoder.network))}
    native = source.with_patches(patches)
    native.patcher.set_attachments(KEY, TextAttachment(patches, clip.embeddings))
    return native


def native_text(network: object) -> NativeText | None:
    """Return the network if it is ComfyUI's."""
    return network if isinstance(network, NativeText) else None


def key_of(encoder: str, name: str) -> str:
    """Return the key in a CLIP's weights of a parameter in transformers' names."""
    return f"{encoder}.transformer.{clip_key(name)}"


def transformer_of(native: Any, name: str) -> nn.Module:
    """Return the network of one text encoder of a CLIP."""
    module: nn.Module = getattr(native.cond_stage_model, name).transformer
    return module


def _check_sizes(network: NativeText, tokenizer: ClipTokenizer) -> None:
    tokens: Any = network.token_table
    weights: Any = network.weights
    positions: Any = weights.text_model.embeddings.position_embedding
    if tokens.weight.shape[0] != len(tokenizer) or positions.weight.shape[0] != SECTION:
        raise BadValue(
            f"{network.name} of the CLIP has {tokens.weight.shape[0]} tokens in sections of "
            f"{positions.weight.shape[0]}, and Fooocus reads {len(tokenizer)} in sections of {SECTION}: encode with "
            "CLIP Text Encode instead"
        )
