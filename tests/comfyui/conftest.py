"""The ComfyUI that COMFYUI_DIR names, running once for all tests of this folder.

COMFYUI_PYTHON is the Python that it runs with; default: the one that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import Comfy, comfyui

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


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


@pytest.fixture(scope="session")
def browser() -> tuple[str, str, str]:
    """The paths of Node.js and of Chromium, and the folder with playwright-core."""
    node = shutil.which("node")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    modules = ROOT / ".browser"
    if node is None or chromium is None:
        pytest.skip(f"no {'Node.js' if node is None else 'Chromium'} is installed: the page is not tested")
    if not (modules / "node_modules/playwright-core").is_dir():
        pytest.skip(f"playwright-core is not in {modules}: run `make test-comfyui`, with npm installed")
    return node, chromium, str(modules)
