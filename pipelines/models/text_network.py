"""transformers' CLIP text model as a `TextNetwork`, with the weight patches merged into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from ..types import TextNorm
from .protocols import Load, TextStates
from .weights.merging import Network, WeightPatch
from .weights.networks import TextModule


def norm_of(module: nn.Module) -> nn.LayerNorm:
    """Return the norm after the last layer of a text model of transformers."""
    return cast(nn.LayerNorm, next(one for name, one in module.named_modules() if name.endswith("final_layer_norm")))


def table_of(module: nn.Module) -> nn.Embedding:
    """Return the token table of a text model of transformers."""
    return cast(nn.Embedding, cast(TextModule, module).get_input_embeddings())


class ClipText(Network):
    """A text model of transformers."""

    @property
    def weights(self) -> nn.Module:
        return self.module

    @property
    def token_table(self) -> nn.Module:
        return table_of(self.module)

    @property
    def final_norm(self) -> TextNorm:
        norm = norm_of(self.module)
        weight, bias = (value.detach().to("cpu", torch.float32, copy=True) for value in (norm.weight, norm.bias))
        return TextNorm(weight, bias, norm.eps)

    @contextmanager
    def running(self, load: Load, patches: tuple[WeightPatch, ...] = ()) -> Iterator[torch.device]:
        """Keep the network on its device, with the patches merged, while the context lasts."""
        device = load([self.module], 0)
        with self.patched(patches):
            yield device

    def states(self, ids: Tensor, ends: Tensor, skip: int, normed: bool = False) -> TextStates:
        """Read sections of token ids (n, 77), each pooled at its position in `ends` (n,)."""
        out = cast(TextModule, self.module)(input_ids=ids, output_hidden_states=True)
        read, last = out.hidden_states, out.last_hidden_state
        hidden = last
        if skip < len(read):
            hidden = norm_of(self.module)(read[-skip]) if normed else read[-skip]
        pooled = last[torch.arange(len(ids), device=last.device), ends]
        projection = getattr(self.module, "text_projection", None)
        projected = None if projection is None else cast(nn.Linear, projection)(pooled).float()
        return TextStates(hidden.float(), pooled.float(), projected)
