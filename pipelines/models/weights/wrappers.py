"""Unwrapping the weights of training programs: nested dictionaries in files, and prefixes of names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

DICTIONARIES = (  # averaged weights first: they are the ones that a program publishes
    "params_ema", "params-ema", "state_dict_ema", "model_ema", "ema", "ema_state_dict",
    "state_dict", "model_state_dict", "params", "model", "module", "net", "network", "generator", "weights",
)  # fmt: skip
MAX_NESTING = 8
# DistributedDataParallel, torch.compile, FullyShardedDataParallel, activation checkpointing
_MODULES = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def unwrapped(content: Any) -> Any:
    """Return the dictionary of weights inside the dictionaries of a training program; other content as it is.

    Of several, such as weights and their averages, the one with the most weights is chosen, and among equals the
    averages, which are meant for inference. One dictionary per network becomes a single one with the networks' names as
    prefixes ("unet.", "image_proj.").
    """
    for _ in range(MAX_NESTING):
        if not isinstance(content, dict):
            break
        named = [content[key] for key in DICTIONARIES if key in content]
        inner = max(named, key=_weights_in, default=None)
        if _weights_in(inner) <= sum(map(_is_weight, content.values())):
            break
        content = inner
    return _joined(content) if isinstance(content, dict) else content


def plain_names(names: Collection[str]) -> dict[str, str]:
    """Map each name, without the prefixes of torch's wrapper modules, to the original name.

    If two names would become equal, none is changed.
    """
    plain = {plain_name(name): name for name in names}
    return plain if len(plain) == len(names) else {name: name for name in names}


def plain_name(name: str) -> str:
    """Remove the levels of torch's wrapper modules from a name: '_orig_mod.a.module.b' is 'a.b'."""
    return _MODULES.sub("", name)


def prefixes_of(names: Iterable[str], first: Collection[str]) -> Iterator[str]:
    """Yield the prefixes of the names that end in one of `first`, the shortest prefix first."""
    found = {name.removesuffix(end) for name in names for end in first if name == end or name.endswith("." + end)}
    return iter(sorted(found, key=lambda prefix: (prefix.count("."), prefix)))


def under(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, tuple[int, ...]]:
    """Return the entries under a prefix, with the prefix removed."""
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


def _joined(content: dict[Any, Any]) -> dict[Any, Any]:
    """Merge one dictionary per network; a single one is returned itself, and one that contains weights unchanged."""
    if any(map(_is_weight, content.values())):
        return content
    networks = {key: inner for key, inner in content.items() if isinstance(inner, dict) and _own_weights(inner)}
    if len(networks) <= 1:
        return next(iter(networks.values()), content)
    return {f"{key}.{name}": value for key, inner in networks.items() for name, value in inner.items()}


def _own_weights(content: dict[Any, Any]) -> bool:
    return any(isinstance(key, str) and _is_weight(value) for key, value in content.items())


def _weights_in(content: Any, depth: int = MAX_NESTING) -> int:
    """Count the weights in a dictionary and the dictionaries in it; 0 for anything else."""
    if not isinstance(content, dict) or not depth:
        return 0
    inner = sum(_weights_in(value, depth - 1) for value in content.values())
    return inner + sum(map(_is_weight, content.values()))


def _is_weight(value: Any) -> bool:
    """Return True for a tensor, and for a tuple that starts with one, as quantised weights are stored."""
    return isinstance(value, Tensor) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], Tensor))
