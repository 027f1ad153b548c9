"""Networks built without memory and filled from a file, each weight converted once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ...errors import BadFile
from .files import Weights
from .key_names import Part

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
    """Each weight in one dtype; itself when it has that already."""
    return lambda name, tensor: tensor.to(dtype)


def build(make: Callable[[], Module]) -> Module:
    """The module that `make` builds, on the meta device: shapes without memory."""
    with torch.device("meta"):
        return make()


def fill(module: Module, weights: Weights, parts: Mapping[str, Part], convert: Convert, what: str) -> Module:
    """Give every weight of the module its values: `parts` says where each lies in the file. Ready for inference.

    Raises BadFile, with counts and first names, when weights are missing, left over or of another shape.
    """
    empty = module.state_dict()
    wanted = {name: tuple(parameter.shape) for name, parameter in empty.items()}
    raise_for_names(weights.path, what, missing=wanted.keys() - parts.keys(), left_over=parts.keys() - wanted.keys())
    state: dict[str, Tensor] = {}
    for name, shape in wanted.items():
        tensor = parts[name].take(weights.read(parts[name].key))
        if empty[name].is_floating_point() and not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise BadFile(f"{weights.path.name} is quantized: {name} is stored as {kind}; get it in {_FORMATS}")
        if tensor.shape != shape:
            if _squeezed(tuple(tensor.shape)) != _squeezed(shape):
                raise BadFile(
                    f"{weights.path.name} does not fit: {what} wants {name} of shape {shape}, "
                    f"the file has {tuple(tensor.shape)}; choose another file"
                )
            tensor = tensor.reshape(shape)
        state[name] = _alone(convert(name, tensor).contiguous())
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def explained(path: Path, derive: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """The result of `derive` on a file's shapes. Its errors become BadFile that names the file."""
    try:
        return derive(*args, **kwargs)
    except BadFile as error:
        raise BadFile(f"{path.name}: {error}") from error
    except (KeyError, IndexError, ValueError) as error:
        raise BadFile(f"{path.name} is not complete: it lacks or bends {error}") from error


def raise_for_names(path: Path, what: str, missing: Collection[str] = (), left_over: Collection[str] = ()) -> None:
    """Raise BadFile, with counts and first names, when weights are missing or have no place in the network."""
    if quantized := {name for name in left_over if _OF_QUANTIZED.search(name)}:
        raise BadFile(
            f"{path.name} is quantized in a way that can't be read here ({counted(quantized)} of scales and the like): "
            f"get it in {_FORMATS}"
        )
    if missing:
        raise BadFile(f"{path.name} is not complete: {what} lacks {counted(missing)}; download it again")
    if left_over:
        raise BadFile(f"{path.name} does not fit: {what} has no place for {counted(left_over)}; choose another file")


def counted(names: Collection[str], shown: int = 3) -> str:
    """'12 weights (a, b, c, …)'."""
    first = ", ".join(sorted(names)[:shown])
    many = "weight" if len(names) == 1 else "weights"
    return f"{len(names)} {many} ({first}{', …' if len(names) > shown else ''})"


def _alone(tensor: Tensor) -> Tensor:
    """The tensor, copied when it is a part of a larger one and would keep that in memory."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without unit axes: a 1×1 convolution and a linear layer hold the same numbers."""
    return tuple(n for n in shape if n != 1)
