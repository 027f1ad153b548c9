"""Textual inversion: embedding vectors from a file, used in a prompt as 'embedding:NAME'.

Fooocus ldm_patched/modules/sd1_clip.py: load_embed, set_up_textual_embeddings. Fooocus enlarges the token table for
each run; here the table is unchanged, and a hook writes the vectors into its output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadFile
from ..names import folded
from ..text.emphasis import SECTION, WeightedToken, weighted_words
from ..text.tokenizer import EMBEDDING
from .handles import Embedding
from .weights.checkpoint_files import kind_of
from .weights.files import read_content

SUFFIXES = (".safetensors", ".pt", ".bin")
OF_AUTOMATIC1111 = "string_to_param"
ENTRIES = {
    "clip_l": ("clip_l", "text_encoders_0"),
    "clip_g": ("clip_g", "text_encoders_1"),
}  # the second: cog's trainer
EMBEDDING_KIND = "a textual inversion embedding"
MOST_ENTRIES = 64  # words of one file; networks have more weights


@dataclass(frozen=True)
class NewTokens:
    """Embedding tokens of one encoder: ids from `first` (the vocabulary's size) by name, and vectors (D,) by id.

    An id without a vector belongs to another encoder.
    """

    first: int
    ids: Mapping[str, Sequence[int]]
    vectors: Mapping[int, Tensor]

    def readable(self, section: Sequence[WeightedToken], pad: int) -> list[WeightedToken]:
        """Remove the tokens that this encoder has no vectors for, and pad the section at its end."""
        kept = [(token, weight) for token, weight in section if token < self.first or token in self.vectors]
        return kept + [(pad, 1.0)] * (SECTION - len(kept))

    @contextmanager
    def placed(self, table: nn.Module, ids: Tensor) -> Iterator[Tensor]:
        """Make the token table return the embedding vectors for new `ids` (n, 77) within this context.

        Yields the ids to call the encoder with, in which new ids are 0. The table's weights are unchanged.
        """
        new = ids >= self.first
        if not new.any():
            yield ids
            return
        rows = torch.stack([self.vectors[token] for token in ids[new].tolist()])

        def insert_vectors(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output.index_put((new.to(output.device),), rows.to(output))

        hook = table.register_forward_hook(insert_vectors)
        try:
            yield ids.masked_fill(new, 0)
        finally:
            hook.remove()


def new_tokens(embeddings: Mapping[str, Embedding] | None, encoder: str, first: int) -> NewTokens:
    """Number all embedding vectors from `first`, identically for every encoder, and pick the vectors of this one."""
    ids: dict[str, range] = {}
    vectors: dict[int, Tensor] = {}
    free = first
    for name, embedding in (embeddings or {}).items():
        ids[name] = range(free, free + embedding.count)
        vectors |= zip(ids[name], embedding.vectors.get(encoder, ()), strict=False)
        free += embedding.count
    return NewTokens(first, ids, vectors)


def embedding_names(texts: Iterable[str]) -> list[str]:
    """Return the names after 'embedding:' in the texts, as written, without duplicates."""
    words = (word for text in texts for word, _ in weighted_words(text))
    return list(dict.fromkeys(word.removeprefix(EMBEDDING) for word in words if word.startswith(EMBEDDING)))


def typed(name: str) -> str:
    """Normalise a name for comparison, as `names.folded` and with underscores for spaces."""
    return folded(name).replace(" ", "_")


def read_embedding(path: Path, widths: Mapping[str, int]) -> Embedding:
    """Read the vectors for encoders of the given widths, by encoder name. Raises BadFile, MissingFile.

    Supported layouts: AUTOMATIC1111's parameters, a list of dictionaries (all tensors that fit), one entry per
    encoder, and otherwise the first tensor under any name.
    """
    return embedding_of(read_content(path), path.name, widths)


def embedding_of(content: Any, name: str, widths: Mapping[str, int]) -> Embedding:
    """Find the vectors in the content of the file `name`, as `read_embedding`. Raises BadFile."""
    _refuse_networks(content, name)
    chosen = {encoder: [_rows(name, t) for t in _tensors(content, encoder)] for encoder in widths}
    rows = [matrix for matrices in chosen.values() for matrix in matrices]
    if not rows:
        raise BadFile(f"{name} contains no vectors: choose a textual inversion file")
    fitting = {encoder: [m for m in chosen[encoder] if m.shape[1] == width] for encoder, width in widths.items()}
    vectors = {encoder: torch.cat(matrices) for encoder, matrices in fitting.items() if matrices}
    count = max(len(matrix) for matrix in (vectors.values() if vectors else rows))
    return Embedding(vectors, count, tuple(sorted({m.shape[1] for m in rows})))


def _refuse_networks(content: Any, name: str) -> None:
    """Raise BadFile for the weights of a network, whose first tensor would pass for vectors."""
    entries = content.items() if isinstance(content, dict) else ()
    names = [key for key, value in entries if isinstance(key, str) and isinstance(value, Tensor)]
    kind = kind_of(names)
    if kind != EMBEDDING_KIND and (kind or len(names) > MOST_ENTRIES):
        what = f"it is {kind}" if kind else f"it has {len(names)} of them"
        raise BadFile(f"{name} holds the weights of a network, not vectors ({what}): choose a textual inversion file")


def _tensors(content: Any, encoder: str) -> list[Tensor]:
    """Return the tensors for one encoder in the content of a file."""
    if isinstance(content, list | tuple):
        return [tensor for item in content for tensor in _values(item)]
    if isinstance(content, dict):
        if OF_AUTOMATIC1111 in content:
            content = content[OF_AUTOMATIC1111]
        elif named := [key for key in ENTRIES.get(encoder, ()) if isinstance(content.get(key), Tensor)]:
            content = content[named[0]]
    return _values(content)[:1]


def _values(content: Any) -> list[Tensor]:
    values = content.values() if isinstance(content, dict) else [content]
    return [value for value in values if isinstance(value, Tensor)]


def _rows(name: str, tensor: Tensor) -> Tensor:
    """Convert one vector (D,) or several (n, D) to float32 (n, D). Raises BadFile for any other tensor."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.is_floating_point():
        raise BadFile(f"{name} contains {tensor.dtype} values, which can't be vectors: choose a textual inversion file")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (1, 2) or not tensor.numel():
        raise BadFile(f"{name} contains a tensor of shape {shape}, not vectors (n, width): choose another file")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise BadFile(f"{name} has vectors of shape {shape}, but too few values: download it again")
    rows = tensor.detach().to(torch.float32, copy=True).reshape(-1, shape[-1])
    if not rows.isfinite().all():
        raise BadFile(f"{name} contains vectors with NaN or infinity: train or download it again")
    return rows
