"""Installing the pack's requirements beside ComfyUI's replaces no package."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .server import PACK


def test_pip_would_install_and_replace_nothing(checkout: Path, python: str) -> None:
    """The versions that are there, with which ComfyUI runs, satisfy both lists and all that their packages require."""
    command = [python, "-m", "pip", "install", "--dry-run", "--no-index", "--quiet", "--report", "-"]
    command += ["-r", str(checkout / "requirements.txt"), "-r", str(PACK / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert [package["metadata"]["name"] for package in report["install"]] == []
