"""Parameters that stay off the device and are copied there by each operation that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

PROPERTIES = ("__get__", "__set__")
METADATA = ("numel", "nelement", "element_size", "size", "dim", "stride", "is_floating_point")


class Streamed(nn.Parameter):
    """A parameter that is kept on one device and used on another.

    An operation that takes it, from a layer's forward pass or from any other code, gets a copy on `device`, which
    lives as long as the operation needs it. `data` is the kept tensor; `device` is where operations take place.
    `stream` and `settle` change the class of a parameter in place, so that all modules that hold it follow.
    """

    target: torch.device

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func == DEVICE:
                return args[0].target
            if func.__name__ in PROPERTIES or func.__name__ in METADATA:
                return func(*args, **(kwargs or {}))
            return func(*(_on_target(arg) for arg in args), **{k: _on_target(v) for k, v in (kwargs or {}).items()})


DEVICE = vars(torch._C.TensorBase)["device"].__get__


def _on_target(value: Any) -> Any:
    """Replace the streamed parameters in an argument by copies on their devices."""
    if isinstance(value, Streamed):
        return value.data.to(value.target)
    if isinstance(value, list | tuple) and any(isinstance(part, Streamed) for part in value):
        return type(value)(_on_target(part) for part in value)
    return value


def stream(parameter: nn.Parameter, device: torch.device, home: torch.device) -> None:
    """Keep a parameter on `home` and let operations use copies on `device`."""
    parameter.data = parameter.data.to(home)
    parameter.__class__ = Streamed
    vars(parameter)["target"] = device


def settle(parameter: nn.Parameter, device: torch.device | None = None) -> None:
    """Move a parameter to `device`, or leave it where it is kept, and end its streaming."""
    if isinstance(parameter, Streamed):
        vars(parameter).pop("target", None)
        setattr(parameter, "__class__", nn.Parameter)  # noqa: B010
    if device is not None:
        parameter.data = parameter.data.to(device)


def bytes_of(tensor: Tensor) -> int:
    """Return the size of a tensor in bytes."""
    return tensor.numel() * tensor.element_size()
