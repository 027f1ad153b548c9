"""Control networks: what a file holds, and what it adds to a UNet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ControlNet:
    """A control network of a file."""

    name: str
