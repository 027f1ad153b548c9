"""Embeddings that a LoRA file of pivotal tuning brings along, in entries `bundle_emb.NAME.…`.

AUTOMATIC1111 defined the format (pull request 13568); OneTrainer writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREFIX = "bundle_emb."


def without_bundled(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The entries of the LoRA itself, and the content of an embedding file for each bundled name.

    A name may hold dots: the field behind it is `clip_l`, `clip_g` or `string_to_param.FIELD`.
    """
    own: dict[str, Any] = {}
    bundled: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        if not key.startswith(PREFIX):
            own[key] = value
            continue
        name, of_automatic1111, field = key.removeprefix(PREFIX).rpartition(".string_to_param.")
        if of_automatic1111:
            bundled.setdefault(name, {}).setdefault("string_to_param", {})[field] = value
        else:
            name, _, field = key.removeprefix(PREFIX).rpartition(".")
            bundled.setdefault(name or field, {})[field] = value
    return own, bundled
