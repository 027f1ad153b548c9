"""`info`: what an image's text says, for people and as JSON."""

import json
from pathlib import Path

import pytest
from fooocus_stages.serving.cli import main
from PIL import Image
from PIL.PngImagePlugin import PngInfo

TEXT = (
    "a fox\nin snow\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768, "
    "Clip skip: -2"
)


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    chunks = PngInfo()
    chunks.add_text("parameters", TEXT)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=chunks)
    return tmp_path / "x.png"


def test_lines(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(picture)]) == 0
    out, err = capsys.readouterr()
    for line in ("scheme: a1111", "prompt: a fox\n  in snow", "negative_prompt: blurry", "seed: 42", "steps: 20"):
        assert line in out
    assert "'-2'" in err


def test_json(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(picture), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["scheme"], data["text"]) == ("a1111", TEXT)
    assert data["info"]["resolution"] == [512, 768]
    assert data["info"]["prompt"] == "a fox\nin snow"
    assert len(data["left_out"]) == 1
    (notice,) = data["notices"]
    assert "these entries of its text are left out" in notice
    assert "'-2'" in notice


def test_mistakes(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (4, 4)).save(picture)
    assert main(["info", str(picture)]) == 2
    assert "contains no generation parameters" in capsys.readouterr().err
    assert main(["info", "nowhere.png"]) == 2
    assert "'nowhere.png'" in capsys.readouterr().err
