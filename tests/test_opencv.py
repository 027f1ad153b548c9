"""Without OpenCV, what needs it fails with one sentence that names the package, and everything else runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FAIL_TO_IMPORT = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise {error}
sys.meta_path.insert(0, Finder())
from fooocus_stages.serving import cli
sys.exit(cli.main())
"""
NOT_INSTALLED = "ModuleNotFoundError('no module', name='cv2')"
NO_LIBRARY = "ImportError('libGL.so.1: cannot open shared object file')"


def run_without_opencv(workflow: str, folder: Path, error: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FAIL_TO_IMPORT.format(error=error), "run", workflow, "--models", "pocket", "-o", "made"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("error", "named"), [(NOT_INSTALLED, "not installed"), (NO_LIBRARY, "libGL.so.1")], ids=["missing", "broken"]
)
def test_a_control_image_needs_opencv(tmp_path: Path, error: str, named: str) -> None:
    done = run_without_opencv("control-pyracanny", tmp_path, error)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "OpenCV" in line
    assert named in line
    assert "pip install opencv-python-headless" in line
    assert "Traceback" not in done.stderr


def test_text_to_image_needs_no_opencv(tmp_path: Path) -> None:
    done = run_without_opencv("text-to-image-lightning", tmp_path, NOT_INSTALLED)
    assert done.returncode == 0, done.stderr
