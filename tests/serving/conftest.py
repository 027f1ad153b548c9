"""Every test of a run starts with no calls counted."""

import pytest

from .fakes import Changing, Fake, Later


@pytest.fixture(autouse=True)
def _fresh_fakes() -> None:
    Fake.calls.clear()
    Changing.state = 0
    Later.together = Later.waiting = 0
