"""What all tests share: a host on the pocket model, writing below the test's own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fooocus_stages.nodes.comfy import use_host
from fooocus_stages.pipelines.host import POCKET, LocalHost
from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True)  # no test is timed, none fails by chance
settings.load_profile("house")


@pytest.fixture
def pocket_host(tmp_path: Path) -> Iterator[LocalHost]:
    """The pocket model's folder on the CPU; pictures go to, and come from, the test's own folder."""
    host = LocalHost(
        models=[POCKET], output=tmp_path / "output", input=tmp_path, device="cpu", on_notice=lambda _: None
    )
    with use_host(host):
        yield host
