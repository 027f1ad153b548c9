"""Seeds of requests that give none."""

from __future__ import annotations

import uuid

from ...pipelines.settings import MAX_SEED_OF_PAGE


def seed_of(id: str) -> int:
    """Return the seed of a request without one: random as its id, and the same after a restart."""
    return uuid.UUID(id).int & MAX_SEED_OF_PAGE if len(id) == 36 else 0
