"""Building networks on the meta device and filling them from a file, converting each weight once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ...errors import BadFile
from .files import Weights
from .key_names import Part
from .tensors import is_finite

Module = TypeVar("Module", bound=nn.Module)
Given = ParamSpec("Given")
Result = TypeVar("Result")
Convert = Callable[[str, Tensor], Tensor]

_OF_QUANTIZED = re.compile(
    r"(?:^|[._])(?:scaled_fp8|scale_weight|scale_input|weight_scale(?:_2)?|input_scale|comfy_quant|absmax|quant_map|"
    r"quant_state|qweight|qzeros)(?:\.|$)"
)
_FORMATS = "float16, bfloat16 or float8 without scales"


def to_dtype(dtype: torch.dtype) -> Convert:
    """Return a conversion of weights to a dtype; a weight that has it already is not copied."""
    return lambda name, tensor: tensor.to(dtype)


def constructor_of(network: Callable[..., Any]) -> Callable[..., Any]:
    """Return a network class of a library as a callable, for constructors that have no types."""
    return network


def build(make: Callable[[], Module]) -> Module:
    """Build a module on the meta device, where weights have shapes but no memory."""
    with torch.device("meta"):
        return make()


def fill(module: Module, weights: Weights, parts: Mapping[str, Part], convert: Convert, what: str) -> Module:
    """Load every weight of the module from its part of the file, and prepare the module for inference.

    `parts`: the source of each weight in the file, by the module's names. Raises BadFile, with counts and the first
    names, if weights are missing, left over, of another shape, or NaN or infinite.
    """
    empty = module.state_dict()
    expected = {name: tuple(parameter.shape) for name, parameter in empty.items()}
    raise_for_names(
        weights.path, what, missing=expected.keys() - parts.keys(), left_over=parts.keys() - expected.keys()
    )
    state: dict[str, Tensor] = {}
    for name, shape in expected.items():
        tensor = parts[name].take(weights.read(parts[name].key))
        if empty[name].is_floating_point() and not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise BadFile(f"{weights.path.name} is quantized: {name} is stored as {kind}; get it in {_FORMATS}")
        if tensor.shape != shape:
            if _squeezed(tuple(tensor.shape)) != _squeezed(shape):
                raise BadFile(
                    f"{weights.path.name} does not fit: {what} needs {name} of shape {shape}, "
                    f"the file has {tuple(tensor.shape)}; choose another file"
                )
            tensor = tensor.reshape(shape)
        converted = convert(name, tensor)
        _raise_for_nonfinite(weights.path, parts[name].key, tensor, converted)
        state[name] = _own_storage(converted.contiguous())
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def derive_for_file(path: Path, derive: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Call `derive` with a file's shapes; its errors become a BadFile that names the file."""
    try:
        return derive(*args, **kwargs)
    except BadFile as error:
        raise BadFile(f"{path.name}: {error}") from error
    except (KeyError, IndexError, ValueError) as error:
        raise BadFile(f"{path.name} is incomplete: {error} is missing or has the wrong shape") from error


def raise_for_names(path: Path, what: str, missing: Collection[str] = (), left_over: Collection[str] = ()) -> None:
    """Raise BadFile, with counts and the first names, if weights are missing or do not belong to the network."""
    if quantized := {name for name in left_over if _OF_QUANTIZED.search(name)}:
        raise BadFile(
            f"{path.name} is quantized in a way that can't be read ({counted(quantized)} of scales and the like): "
            f"get it in {_FORMATS}"
        )
    if missing:
        raise BadFile(f"{path.name} is incomplete: {what} is missing {counted(missing)}; download it again")
    if left_over:
        raise BadFile(f"{path.name} does not fit: {what} has no place for {counted(left_over)}; choose another file")


def counted(names: Collection[str], shown: int = 3) -> str:
    """Describe names by count and examples: '12 weights (a, b, c, …)'."""
    first = ", ".join(sorted(names)[:shown])
    many = "weight" if len(names) == 1 else "weights"
    return f"{len(names)} {many} ({first}{', …' if len(names) > shown else ''})"


def _raise_for_nonfinite(path: Path, key: str, stored: Tensor, converted: Tensor) -> None:
    """Raise BadFile for a weight that contains NaN or infinity, or does in the dtype that it is converted to.

    The smaller of the two tensors is read, unless a conversion may overflow.
    """
    if not stored.is_floating_point() or is_finite(converted if _narrows(stored, converted) else stored):
        return
    if is_finite(stored):
        kind = str(converted.dtype).removeprefix("torch.")
        raise BadFile(f"{path.name}: {key} contains values beyond the range of {kind}; choose another file")
    raise BadFile(
        f"{path.name} is damaged: {key} contains NaN or infinity; download it again, or choose another file if its "
        "training or merging failed"
    )


def _narrows(stored: Tensor, converted: Tensor) -> bool:
    return torch.finfo(converted.dtype).max < torch.finfo(stored.dtype).max


def _own_storage(tensor: Tensor) -> Tensor:
    """Copy a tensor that is a view of a larger one, which it would keep in memory."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop the unit axes of a shape: a 1×1 convolution and a linear layer hold the same numbers."""
    return tuple(n for n in shape if n != 1)
