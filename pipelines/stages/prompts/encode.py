"""Prompt encoding: composed texts to ComfyUI conditioning (Fooocus modules/default_pipeline.py: clip_encode)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from ...errors import MissingFile
from ...host import Host, files_of
from ...models import clip as clips
from ...models.embeddings import SUFFIXES, embedding_names, read_embedding, typed
from ...models.handles import Clip, Embedding
from ...models.weights.soundness import require_finite
from ...names import slashed
from ...types import (
    CONDITIONING_CLIP_SKIP,
    CONDITIONING_NORM,
    CONDITIONING_PROMPT,
    Conditioning,
    Prompt,
    SamplingSettings,
)

EMBEDDINGS = "embeddings"
FAMILY_OF_WIDTH = {768: "SD 1.5", 1024: "Stable Diffusion 2", 1280: "the SDXL refiner"}
SOFTER = "leave out embeddings, or lower the weights of words and LoRAs"


def encode(host: Host, clip: Clip, prompt: Prompt, settings: SamplingSettings) -> tuple[Conditioning, Conditioning]:
    """Encode the positive and the negative texts of a prompt.

    Each conditioning is [[tokens (1, 77·n, D), {"pooled_output": (1, P)}]], float32 on the CPU, and also has the final
    norm of CLIP-L for an SD 1.5 refiner. With guidance 1 the negative texts are unused, and the positive conditioning
    is returned for both. A missing embedding is left out with
    a notice. Raises BadFile for a broken embedding.
    """
    guided = abs(settings.cfg - 1.0) >= 1e-4
    embeddings = find_embeddings(host, clip, (*prompt.positive, *(prompt.negative if guided else ())))
    positive = encode_texts(host, clip, prompt.positive, prompt.positive_top_k, embeddings)
    positive[0][1] |= {CONDITIONING_PROMPT: prompt, CONDITIONING_CLIP_SKIP: clip.skip}
    if not guided:
        return positive, positive
    return positive, encode_texts(host, clip, prompt.negative, prompt.negative_top_k, embeddings)


def encode_texts(
    host: Host, clip: Clip, texts: tuple[str, ...], pool_top_k: int, embeddings: Mapping[str, Embedding]
) -> Conditioning:
    """Encode texts separately, join them along the tokens, and sum the first `pool_top_k` pooled vectors."""

    def load(modules: Sequence[nn.Module], memory: int) -> torch.device:
        return host.load("text", *modules, memory=memory)

    first = clip.encoders[0]
    with first.network.running(load, first.patches):
        norm = clips.final_norm(clip)
    tokens, pooled = clips.encode_texts(clip, texts, pool_top_k, load, embeddings)
    networks = [(clip.name, encoder.network.weights) for encoder in clip.encoders]
    read = [require_finite(part.cpu(), "the encoded text", networks, SOFTER) for part in (tokens, pooled)]
    return [[read[0], {"pooled_output": read[1], CONDITIONING_NORM: norm}]]


def find_embeddings(host: Host, clip: Clip, texts: Iterable[str]) -> dict[str, Embedding]:
    """Read the embeddings that the texts name as 'embedding:NAME', by name; each file is read once.

    Commas after a name are text. A notice reports names without a file, and vectors that fit only some of the
    encoders or none. Raises BadFile.
    """
    widths = {clips.encoder_name(encoder): clips.encoder_width(encoder) for encoder in clip.encoders}
    found: dict[str, Embedding] = {}
    for written in embedding_names(texts):
        try:
            name, path = _find(host, written, clip.home)
        except MissingFile as error:
            if bundled := _bundled(clip, written.strip(",")):
                found[written.strip(",")] = bundled
                continue
            host.notice(f"{error}; the word 'embedding:{written}' is left out")
            continue
        if name not in found:
            found[name] = read_embedding(path, widths)
            _notice_misfit(host, name, found[name], widths)
    return found


def _find(host: Host, written: str, home: Path | None) -> tuple[str, Path]:
    """Return an embedding's name and file: exactly as written, in any folder, or else as the host resolves it."""
    names = [slashed(name) for name in host.names(EMBEDDINGS)]
    names += [slashed(name) for name in files_of(EMBEDDINGS, home / EMBEDDINGS)] if home else []
    bare = written.strip(",")
    for candidate in dict.fromkeys((written, bare)):
        for file in (candidate, *(candidate + suffix for suffix in SUFFIXES)):
            found = [name for name in names if f"/{name}".endswith(f"/{slashed(file)}")]
            if candidate and found:
                return candidate, host.find(EMBEDDINGS, min(found, key=lambda name: name.count("/")), home)
    return bare, host.find(EMBEDDINGS, bare, home)


def _bundled(clip: Clip, written: str) -> Embedding | None:
    """Return the embedding of that name bundled with a LoRA; spaces may be written as underscores."""
    return next((found for name, found in clip.embeddings.items() if typed(name) == typed(written)), None)


def _notice_misfit(host: Host, name: str, embedding: Embedding, widths: Mapping[str, int]) -> None:
    misfits = [f"{encoder} ({width})" for encoder, width in widths.items() if encoder not in embedding.vectors]
    if not misfits:
        return
    what = f"embedding {name!r} has vectors of width {' and '.join(map(str, embedding.widths))}, not for"
    outcome = f"only {' and '.join(embedding.vectors)} reads it" if embedding.vectors else "it is left out"
    family = FAMILY_OF_WIDTH.get(embedding.widths[0]) if len(embedding.widths) == 1 else None
    host.notice(
        f"{what} {' and '.join(misfits)} of this model: it is for {family or 'another model family'}; {outcome}"
    )
