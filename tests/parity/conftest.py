"""Shared by the parity tests: which golden files run, no gradients, and networks that are dropped after the last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from . import nano
from .golden import FOLDER


def pytest_report_header() -> str:
    return f"golden outputs: {FOLDER}"


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="package", autouse=True)
def _drop_the_nano_networks() -> Iterator[None]:
    yield
    nano.forget()
