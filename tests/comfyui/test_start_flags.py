"""ComfyUI started with flags for its cache and its memory: the pack draws the same images.

--lowvram and --novram exclude --cpu and are tried in test_memory.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from .server import Comfy, Run, comfyui, pocket_workflow

FLAGS = {
    "--cache-none": (),
    "--cache-lru": ("3",),
    "--cache-ram": ("10000",),  # GB to keep free: more than there is, so that nothing stays in the cache
    "--disable-smart-memory": (),
    "--fp16-intermediates": (),
}
WORKFLOWS = ("text-to-image-lightning", "building-block-upscale-image")
HALF = 2  # levels of 255 that an image from a float16 input may differ by, enlarged by a network


@pytest.fixture(scope="module")
def offered(checkout: Path, python: str) -> str:
    """The help of ComfyUI's command line."""
    command = [python, "main.py", "--help"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def expected(comfy: Comfy) -> dict[str, NDArray[np.int16]]:
    """The image of each workflow without a flag."""
    return {name: drawn(comfy, comfy.run(pocket_workflow(name, seed=31))) for name in WORKFLOWS}


def drawn(comfy: Comfy, run: Run) -> NDArray[np.int16]:
    assert run.status == "success", run.error
    (image,) = comfy.images(run)
    return np.asarray(image.convert("RGB")).astype(np.int16)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_leaves_the_images_as_they_are(
    flag: str, offered: str, expected: dict[str, NDArray[np.int16]], checkout: Path, python: str, tmp_path: Path
) -> None:
    if flag not in offered:
        pytest.skip(f"this ComfyUI has no {flag}")
    with comfyui(checkout, python, tmp_path, flag, *FLAGS[flag]) as flagged:
        for name in (*WORKFLOWS, WORKFLOWS[0]):
            image = drawn(flagged, flagged.run(pocket_workflow(name, seed=31)))
            apart = np.abs(image - expected[name]).max()
            print(flag, name, apart)
            assert apart <= (HALF if flag == "--fp16-intermediates" else 0)
