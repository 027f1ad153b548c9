"""What every parity test shares: which golden files run, and no gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .golden import FOLDER


def pytest_report_header() -> str:
    return f"golden outputs: {FOLDER}"


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield
