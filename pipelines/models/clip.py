"""The CLIP text encoders: loading, and encoding of texts as conditioning (Fooocus modules/patch_clip.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ..errors import BadFile, BadValue
from ..text.emphasis import WeightedToken
from ..text.tokenizer import ClipTokenizer, find_vocabulary
from ..types import Family, TextNorm
from .embeddings import NewTokens, new_tokens
from .handles import Clip, Embedding, TextEncoder
from .protocols import Load, TextNetwork
from .text_network import ClipText, table_of
from .weights.configs import text_config
from .weights.files import Weights
from .weights.filling import build, derive_for_file, fill, to_dtype
from .weights.key_names import Part, clip_key, openclip_to_transformers
from .weights.merging import WeightPatch

STEMS: Mapping[Family, Sequence[Sequence[str]]] = {
    "sdxl": (("conditioner.embedders.0.", "text_encoder."), ("conditioner.embedders.1.", "text_encoder_2.")),
    "sd15": (("cond_stage_model.", "text_encoder."),),
}
"""For each text encoder of a family, the beginnings of its weights' names in published files and in diffusers."""
ACTIVATIONS = ("quick_gelu", "gelu")  # of CLIP-L and CLIP-G
_NOT_WEIGHTS = ("position_ids", "logit_scale", "attn_mask")
Section = list[WeightedToken]


@dataclass(frozen=True)
class Encoded:
    """One text read by one encoder: hidden states (1, 77·n, D) and the pooled vector (1, P) of the first section."""

    hidden: Tensor
    pooled: Tensor


def load_clip(weights: Weights, family: Family, home: Path | None = None) -> Clip | None:
    """Load the text encoders of an open checkpoint in float32 on the CPU; None when it contains none.

    SDXL has CLIP-L, then CLIP-G; SD 1.5 has CLIP-L. `home` is the models folder that is searched first for the files
    that belong to them. Raises BadFile for incomplete encoders and for ones that do not match the vocabulary, and
    MissingFile when there is no vocabulary.
    """
    parts = [next(filter(None, (text_parts(weights, stem) for stem in stems)), {}) for stems in STEMS[family]]
    if not any(parts):
        return None
    if not all(parts):
        raise BadFile(f"{weights.path.name} is incomplete: one of its two text encoders is missing")
    tokenizer = ClipTokenizer(find_vocabulary(weights.path))
    encoders = tuple(_load_encoder(weights, p, tokenizer, family, pooled=i == 1) for i, p in enumerate(parts))
    return Clip(encoders, tokenizer, name=weights.path.name, home=home)


def text_parts(weights: Weights, stem: str) -> dict[str, Part]:
    """Map transformers' names to the weights of the text encoder under that stem, in OpenCLIP's or their own layout.

    The stem may stand behind the prefix of a wrapper. Empty when there is none.
    """
    found = (re.match(rf"(?:.+\.)?{re.escape(stem)}", key) for key in weights.shapes)
    start = next((match[0] for match in found if match), "")
    keys = [key for key in weights.shapes if start and key.startswith(start) and not key.endswith(_NOT_WEIGHTS)]
    openclip = start + "model."
    if any(key.startswith(openclip) for key in keys):
        inside = openclip_to_transformers(key.removeprefix(openclip) for key in keys)
        return {new: Part(openclip + p.key, p.third, p.transposed) for new, p in inside.items()}
    parts: dict[str, Part] = {}
    for key in keys:
        inner = key.removeprefix(start)
        if inner == "text_projection":
            parts["text_projection.weight"] = Part(key, transposed=True)
        else:
            parts[clip_key(inner.removeprefix("transformer."))] = Part(key)
    return parts


def encode_texts(
    clip: Clip,
    texts: Sequence[str],
    pool_top_k: int,
    load: Load,
    embeddings: Mapping[str, Embedding] | None = None,
) -> tuple[Tensor, Tensor]:
    """Encode texts: hidden states (1, 77·n, D), and the sum (1, P) of the first `pool_top_k` texts' pooled vectors.

    Hidden states are concatenated along the tokens for texts and along D for encoders; float32 on the device to which
    `load` moves the encoders. Emphasis and sections are per text; each encoder runs once for all texts, with its
    patches (Fooocus modules/default_pipeline.py: clip_encode). `embeddings` gives the embedding of 'embedding:NAME' by
    name; an unknown name is left out, and without `embeddings` such words are plain text. Raises BadValue when there is
    no text.
    """
    if not texts:
        raise BadValue("there is no text to encode: give at least one, which may be empty")
    different = list(dict.fromkeys(texts))
    by_encoder = [_encode(encoder, clip, different, load, embeddings) for encoder in clip.encoders]
    hidden = [torch.cat([encoded[text].hidden for encoded in by_encoder], dim=-1) for text in texts]
    pooled = [by_encoder[-1][text].pooled for text in texts[:pool_top_k]]
    return torch.cat(hidden, dim=1), torch.stack(pooled).sum(dim=0)


def final_norm(clip: Clip) -> TextNorm:
    """Return the norm after the last layer of CLIP-L."""
    return clip.encoders[0].network.final_norm


def encoder_name(encoder: TextEncoder) -> str:
    """Return the key of an encoder in embedding files: 'clip_l' or 'clip_g'."""
    return "clip_g" if encoder.pooled else "clip_l"


def encoder_width(encoder: TextEncoder) -> int:
    """Return the length of an encoder's token vectors."""
    return table_of(encoder.network.module).embedding_dim


def reweight(hidden: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    """Apply emphasis to one section: (z - e)·w + e, scaled so that the mean of z does not change.

    `hidden` z and `empty` e (77, D), `weights` w (77,).
    """
    w = weights[:, None]
    changed = torch.where(w == 1.0, hidden, (hidden - empty) * w + empty)
    return changed * (hidden.mean() / changed.mean())


@torch.no_grad()
def _encode(
    encoder: TextEncoder,
    clip: Clip,
    texts: Sequence[str],
    load: Load,
    embeddings: Mapping[str, Embedding] | None,
) -> dict[str, Encoded]:
    """Encode each text with one encoder, in one forward pass over all sections."""
    new = new_tokens(embeddings, encoder_name(encoder), first=len(clip.tokenizer))
    ids = None if embeddings is None else new.ids
    per_text = [
        [new.readable(section, encoder.pad) for section in clip.tokenizer.sections(text, encoder.pad, ids)]
        for text in texts
    ]
    sections = [section for of_text in per_text for section in of_text]
    weights = torch.tensor([[w for _, w in section] for section in sections])
    empty = clip.tokenizer.sections("", encoder.pad) if bool((weights != 1.0).any()) else []
    hidden, pooled = _forward(encoder, [*sections, *empty], new, clip.skip, load)
    encoded: dict[str, Encoded] = {}
    first = 0
    for text, of_text in zip(texts, per_text, strict=True):
        z, w = hidden[first : first + len(of_text)], weights[first : first + len(of_text)]
        if bool((w != 1.0).any()):
            z = torch.stack([reweight(z[i], hidden[-1], w[i].to(z)) for i in range(len(of_text))])
        encoded[text] = Encoded(z.reshape(1, -1, z.shape[-1]), pooled[first : first + 1])
        first += len(of_text)
    return encoded


def _forward(
    encoder: TextEncoder, sections: Sequence[Section], new: NewTokens, skip: int, load: Load
) -> tuple[Tensor, Tensor]:
    """Return hidden states (n, 77, D) of the `skip`-th layer from the end, and pooled vectors (n, P).

    The pooled vector is read at the first end token, which is the last token of the vocabulary.
    """
    ids = torch.tensor([[token for token, _ in section] for section in sections])
    ends = (ids == new.first - 1).int().argmax(dim=-1)
    network = encoder.network
    with network.running(load, encoder.patches) as device, new.placed(network.token_table, ids) as known_ids:
        states = network.states(known_ids.to(device), ends.to(device), skip, encoder.normed)
    return states.hidden, states.projected if encoder.pooled and states.projected is not None else states.pooled


def _load_encoder(
    weights: Weights, parts: Mapping[str, Part], tokenizer: ClipTokenizer, family: Family, pooled: bool
) -> TextEncoder:
    """Load CLIP-L (quick GELU, projection unused) or, if `pooled`, CLIP-G (GELU, with projection)."""
    what = "CLIP-G" if pooled else "CLIP-L"
    parts = {key: part for key, part in parts.items() if pooled or key != "text_projection.weight"}
    shapes = {new: tuple(_shape(weights, part)) for new, part in parts.items()}
    config = CLIPTextConfig(**derive_for_file(weights.path, text_config, shapes, ACTIVATIONS[pooled]))
    if config.vocab_size != len(tokenizer):
        raise BadFile(
            f"{weights.path.name} has {config.vocab_size} tokens and the vocabulary in {tokenizer.vocabulary.source} "
            f"has {len(tokenizer)}: put the model's own beside it, in a folder {weights.path.stem}.tokenizer"
        )
    module = _module(config, pooled)
    own_names = {clip_key(name): name for name in module.state_dict()}
    fill(module, weights, {own_names.get(key, key): part for key, part in parts.items()}, to_dtype(torch.float32), what)
    for owner in module.modules():
        if "position_ids" in dict(owner.named_buffers(recurse=False)):
            owner.register_buffer("position_ids", torch.arange(config.max_position_embeddings)[None], persistent=False)
    return text_encoder(ClipText(module), tokenizer, family, pooled)


def text_encoder(
    network: TextNetwork,
    tokenizer: ClipTokenizer,
    family: Family,
    pooled: bool,
    patches: tuple[WeightPatch, ...] = (),
) -> TextEncoder:
    """Return CLIP-L or, if `pooled`, CLIP-G, read as the UNets of the family take it."""
    return TextEncoder(network, 0 if pooled else tokenizer.end, pooled, patches, normed=family == "sd15")


def text_module(shapes: Mapping[str, tuple[int, ...]], pooled: bool) -> nn.Module:
    """Build CLIP-L (quick GELU) or, if `pooled`, CLIP-G (GELU, with projection) on meta, from shapes by name."""
    return _module(CLIPTextConfig(**text_config(shapes, ACTIVATIONS[pooled])), pooled)


def _module(config: CLIPTextConfig, pooled: bool) -> nn.Module:
    return build(lambda: CLIPTextModelWithProjection(config) if pooled else CLIPTextModel(config))


def _shape(weights: Weights, part: Part) -> tuple[int, ...]:
    """Return the shape of a part, from that of the whole tensor."""
    shape = weights.shapes[part.key]
    if part.third is not None:
        return (shape[0] // 3, *shape[1:])
    return shape[::-1] if part.transposed else shape
