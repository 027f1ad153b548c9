"""The command `doctor`: whole, half-broken and empty installations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.serving import cli
from fooocus_stages.serving.bundled.workflow_files import bundled
from fooocus_stages.serving.commands import doctor

TEXT_TO_IMAGE = [about.name for about in bundled() if about.mode in ("B01", "B02", "B03", "B04", "B08", "B09")]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOOOCUS_STAGES_MODELS", raising=False)


def examined(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = cli.main(["doctor", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_the_pocket_model_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = examined(capsys, "--models", "pocket", "--device", "cpu")
    assert (code, report["ok"]) == (0, True)
    assert {w["name"] for w in report["workflows"] if w["ok"]} >= set(TEXT_TO_IMAGE)
    assert {library["name"]: library["version"] for library in report["libraries"]}["torch"] == version("torch")
    assert all(library["ok"] for library in report["libraries"])
    assert report["device"] == {"device": "cpu", "dtypes": {"unet": "float32", "vae": "float32", "text": "float32"}}
    assert report["memory"]["disk_free"] > 0
    there = {row["kind"]: row for row in report["folders"]}
    assert there["checkpoints"]["folder"] == str(POCKET / "checkpoints")
    assert there["loras"]["files"] == len(list((POCKET / "loras").glob("*.safetensors")))
    assert Path(report["vocabulary"]["source"]).exists()


def test_what_lacks_is_named_with_the_command_that_fetches_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in (
        "checkpoints/juggernautXL_v8Rundiffusion.safetensors",
        "loras/sd_xl_offset_example-lora_1.0.safetensors",
    ):
        (tmp_path / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / name).touch()
    code, report = examined(capsys, "--device", "cpu")
    assert code == 0
    rows = {row["name"]: row for row in report["workflows"]}
    assert rows["text-to-image-speed"]["ok"]
    assert rows["text-to-image-speed"]["without"] == [
        "previews are drawn with fixed colours", "a stand-in adds a few general words",
        "the pack's own styles and stand-ins are used",
    ]  # fmt: skip
    assert rows["text-to-image-lightning"] == {
        "name": "text-to-image-lightning",
        "mode": "B02",
        "ok": False,
        "lacks": ["loras/sdxl_lightning_4step_lora.safetensors"],
        "without": rows["text-to-image-speed"]["without"],
        "command": "fooocus-stages assets fetch lightning",
    }


def test_nothing_can_run_without_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--device", "cpu"]) == 2
    out = capsys.readouterr().out
    count = len(bundled())
    assert out.splitlines()[-1] == f"0 of {count} workflows can run now"
    assert "  checkpoints: models/checkpoints (is not there)" in out
    assert f"  torch {version('torch')}" in out
    assert "; run `fooocus-stages assets fetch juggernautXL_v8Rundiffusion sd_xl_offset" in out


def test_libraries_that_lack_or_are_old_are_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("no-such-library>=1.0\nnumpy>=999.0\n")
    monkeypatch.setattr(doctor, "REQUIREMENTS", tmp_path / "requirements.txt")
    assert cli.main(["doctor", "--models", "pocket", "--device", "cpu"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "  no-such-library (missing; run `pip install 'no-such-library>=1.0'`)" in lines
    assert f"  numpy {version('numpy')} (older than 999.0; run `pip install 'numpy>=999.0'`)" in lines
    assert lines[-1].startswith("0 of ")


def test_a_torch_that_can_not_be_imported_is_a_line(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom fooocus_stages.serving import cli\nsys.exit(cli.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--models", "pocket"],
        cwd=tmp_path,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "torch can't be used: ModuleNotFoundError: import of torch halted; None in sys.modules" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 of ")


def test_a_device_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--device", "tpu"]) == 2
    assert capsys.readouterr().err.startswith("error: --device 'tpu' is not a device")
