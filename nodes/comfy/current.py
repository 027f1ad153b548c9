"""The host that nodes run in."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ...pipelines.assets.needs import how_to_get
from ...pipelines.host import Host, LocalHost
from .host import ComfyHost

_chosen: ContextVar[Host | None] = ContextVar("fooocus_host", default=None)


def current_host() -> Host:
    """Return the host chosen by `use_host`, else ComfyUI inside its process, else a `LocalHost` on ./models."""
    return _chosen.get() or (_comfy_host() if inside_comfy() else _plain_host())


@contextmanager
def use_host(host: Host) -> Iterator[Host]:
    """Run the nodes called in this context in `host`."""
    token = _chosen.set(host)
    try:
        yield host
    finally:
        _chosen.reset(token)


def inside_comfy() -> bool:
    """True in ComfyUI's process, which loads its own modules before any node pack."""
    return "folder_paths" in sys.modules and "comfy" in sys.modules


@functools.cache
def _comfy_host() -> ComfyHost:
    return ComfyHost()


@functools.cache
def _plain_host() -> LocalHost:
    return LocalHost(models=[Path("models")], hint=how_to_get)
