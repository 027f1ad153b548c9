"""The golden cases run through ComfyUI's own networks, built from its classes with the cases' weights."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .inside import COMFYUI, PACK, PYTHON, needs_comfyui

TESTS = Path(__file__).parents[1] / "parity"
GROUPS = {
    "text": "test_text.py",
    "unet": "test_unet.py",
    "text_to_image": "test_text_to_image.py",
    "refiner": "test_refiner.py::test_with_a_refiner",
    "vary": "test_refiner.py::test_from_a_latent",
    "control": "test_control.py",
    "image_prompt": "test_image_prompt.py",
    "inpaint": "test_inpaint.py",
}
CASES = (
    "native_cases.py",
    "native_attachments_cases.py",
    "native_text_cases.py",
    "native_refiner_cases.py",
    "native_sampler_cases.py",
)
OF_OUR_NETWORK = "rounding_only"  # compares batches of our own network in float64

pytestmark = needs_comfyui


def test_golden_cases_through_native_models(tmp_path: Path) -> None:
    (tmp_path / "fooocus_stages").symlink_to(PACK)
    environment = {**os.environ, "FOOOCUS_STAGES_NATIVE": COMFYUI, "PYTHONPATH": str(tmp_path)}
    files = [str(TESTS / name) for name in (*CASES, *GROUPS.values())]
    command = [
        PYTHON,
        "-m",
        "pytest",
        "-q",
        "-W",
        "default",
        "-p",
        "no:cacheprovider",
        "-k",
        f"not {OF_OUR_NETWORK}",
        *files,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=TESTS.parents[1])
    assert done.returncode == 0, done.stdout[-6000:]
    last = done.stdout.splitlines()[-1]
    assert "passed" in last, last
    assert "skipped" not in last, last
