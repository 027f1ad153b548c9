"""Textual inversion: vectors from a file that stand in a prompt as 'embedding:NAME'.

Fooocus ldm_patched/modules/sd1_clip.py: load_embed, set_up_textual_embeddings. Fooocus makes a larger table of tokens
for each run; here the table stays as it is, and the vectors are laid over what it gives.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadFile
from ..text.emphasis import SECTION, WeightedToken, weighted_words
from ..text.tokenizer import EMBEDDING
from .handles import Embedding
from .weights.files import read_content

SUFFIXES = (".safetensors", ".pt", ".bin")
OF_AUTOMATIC1111 = "string_to_param"


@dataclass(frozen=True)
class NewTokens:
    """The tokens that one encoder reads beyond its vocabulary of `first`: ids by name, vectors (D,) by id.

    An id without a vector belongs to other encoders.
    """

    first: int
    ids: Mapping[str, Sequence[int]]
    vectors: Mapping[int, Tensor]

    def readable(self, section: Sequence[WeightedToken], pad: int) -> list[WeightedToken]:
        """The section without the tokens that this encoder has no vectors for, filled up at the end."""
        kept = [(token, weight) for token, weight in section if token < self.first or token in self.vectors]
        return kept + [(pad, 1.0)] * (SECTION - len(kept))

    @contextmanager
    def placed(self, table: nn.Module, ids: Tensor) -> Iterator[Tensor]:
        """Inside, the token table gives our vectors where `ids` (n, 77) are new; to be called with the ids that this
        yields, in which those are 0. The table's weights are never touched."""
        new = ids >= self.first
        if not new.any():
            yield ids
            return
        rows = torch.stack([self.vectors[token] for token in ids[new].tolist()])

        def lay_over(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output.index_put((new.to(output.device),), rows.to(output))

        hook = table.register_forward_hook(lay_over)
        try:
            yield ids.masked_fill(new, 0)
        finally:
            hook.remove()


def new_tokens(embeddings: Mapping[str, Embedding] | None, encoder: str, first: int) -> NewTokens:
    """Ids from `first` on for all vectors of all embeddings, alike for every encoder, and the vectors of this one."""
    ids: dict[str, range] = {}
    vectors: dict[int, Tensor] = {}
    free = first
    for name, embedding in (embeddings or {}).items():
        ids[name] = range(free, free + embedding.count)
        vectors |= zip(ids[name], embedding.vectors.get(encoder, ()), strict=False)
        free += embedding.count
    return NewTokens(first, ids, vectors)


def embedding_names(texts: Iterable[str]) -> list[str]:
    """The names behind 'embedding:' in the texts, as they are written, each once."""
    words = (word for text in texts for word, _ in weighted_words(text))
    return list(dict.fromkeys(word.removeprefix(EMBEDDING) for word in words if word.startswith(EMBEDDING)))


def typed(name: str) -> str:
    """A name as it can be typed behind 'embedding:': without spaces, in one Unicode form and letter case."""
    return unicodedata.normalize("NFC", name).casefold().replace(" ", "_")


def read_embedding(path: Path, widths: Mapping[str, int]) -> Embedding:
    """The vectors in a file for encoders of these widths, by the encoders' names. Raises BadFile, MissingFile.

    Known: the parameters of AUTOMATIC1111's files, a list of dictionaries (all that fit), an entry for each encoder,
    and else the first tensor there is, under whatever name.
    """
    return embedding_of(read_content(path), path.name, widths)


def embedding_of(content: Any, name: str, widths: Mapping[str, int]) -> Embedding:
    """The same from the content of a file called `name`. Raises BadFile."""
    chosen = {encoder: [_rows(name, t) for t in _tensors(content, encoder)] for encoder in widths}
    rows = [matrix for matrices in chosen.values() for matrix in matrices]
    if not rows:
        raise BadFile(f"{name} holds no vectors: choose a file of textual inversion")
    fitting = {encoder: [m for m in chosen[encoder] if m.shape[1] == width] for encoder, width in widths.items()}
    vectors = {encoder: torch.cat(matrices) for encoder, matrices in fitting.items() if matrices}
    count = max(len(matrix) for matrix in (vectors.values() if vectors else rows))
    return Embedding(vectors, count, tuple(sorted({m.shape[1] for m in rows})))


def _tensors(content: Any, encoder: str) -> list[Tensor]:
    """The tensors in the content of a file for one encoder."""
    if isinstance(content, list | tuple):
        return [tensor for item in content for tensor in _values(item)]
    if isinstance(content, dict):
        if OF_AUTOMATIC1111 in content:
            content = content[OF_AUTOMATIC1111]
        elif isinstance(content.get(encoder), Tensor):
            content = content[encoder]
    return _values(content)[:1]


def _values(content: Any) -> list[Tensor]:
    values = content.values() if isinstance(content, dict) else [content]
    return [value for value in values if isinstance(value, Tensor)]


def _rows(name: str, tensor: Tensor) -> Tensor:
    """One vector (D,) or several (n, D) as (n, D) in float32; BadFile for what can't be vectors."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.is_floating_point():
        raise BadFile(f"{name} holds {tensor.dtype} numbers that are no vectors: choose a file of textual inversion")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (1, 2) or not tensor.numel():
        raise BadFile(f"{name} holds a tensor of shape {shape}, not vectors (n, width): choose another file")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise BadFile(f"{name} claims vectors of shape {shape} without holding them: download it again")
    rows = tensor.detach().to(torch.float32, copy=True).reshape(-1, shape[-1])
    if not rows.isfinite().all():
        raise BadFile(f"{name} holds vectors that are not finite numbers: train or download it again")
    return rows
