"""The ComfyUI that COMFYUI_DIR names, running once for all tests of this folder.

COMFYUI_PYTHON is the Python that it runs with; default: the one that runs the tests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import Comfy, comfyui


@pytest.fixture(scope="session")
def checkout() -> Path:
    if not (named := os.environ.get("COMFYUI_DIR")):
        pytest.skip("COMFYUI_DIR names no ComfyUI checkout")
    return Path(named).resolve()


@pytest.fixture(scope="session")
def python() -> str:
    return os.environ.get("COMFYUI_PYTHON") or sys.executable


@pytest.fixture(scope="session")
def comfy(checkout: Path, python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    with comfyui(checkout, python, tmp_path_factory.mktemp("comfyui")) as running:
        yield running
