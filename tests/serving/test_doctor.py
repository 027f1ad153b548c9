"""The command `doctor`: whole, half-broken and empty installations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.hints import face_detection
from fooocus_stages.serving import cli
from fooocus_stages.serving.bundled.workflow_files import bundled, read_workflow
from fooocus_stages.serving.commands import doctor
from fooocus_stages.serving.commands.common import REGISTRY
from fooocus_stages.serving.commands.readiness import Checker, Readiness
from PIL import Image
from PIL.PngImagePlugin import PngInfo

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


def test_what_is_missing_is_named_with_the_command_that_fetches_it(
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


NEED_NO_FILES = ("mask-tools", "metadata")  # the image with metadata was made with the pocket model


def test_without_files_few_workflows_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--device", "cpu", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith(f"{len(NEED_NO_FILES)} of {len(bundled())} workflows can run now")
    ready = [line for line in out.splitlines() if line.endswith(": can run")]
    assert [name for name in NEED_NO_FILES if f"building-block-{name}: can run" in " ".join(ready)] == [*NEED_NO_FILES]
    assert "  checkpoints: models/checkpoints (does not exist)" in out
    assert f"  torch {version('torch')}" in out
    assert "; run `fooocus-stages assets fetch juggernautXL_v8Rundiffusion" in out


def test_the_report_is_a_summary_of_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--device", "cpu"]) == 0
    short = capsys.readouterr().out.splitlines()
    assert len(short) <= 6
    assert cli.main(["doctor", "--device", "cpu", "--verbose"]) == 0
    long = capsys.readouterr().out.splitlines()
    assert long[: len(short) - 1] == short[:-1]
    assert sum(line.endswith("cannot run") for line in long) == len(bundled()) - len(NEED_NO_FILES)
    fetch = next(line for line in short if "assets fetch" in line)
    assert all(word in fetch for word in ("juggernautXL_v8Rundiffusion", "canny", "upscale", "face-swap"))


def test_the_safety_checker_of_the_pocket_protects_nobody(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["doctor", "--models", "pocket", "--device", "cpu"]) == 0
    assert "safety checker: the pocket model's safety checker knows one test card" in capsys.readouterr().out
    published = tmp_path / "safety_checker" / "stable-diffusion-safety-checker.bin"
    published.parent.mkdir()
    published.touch()
    assert cli.main(["doctor", "--models", str(tmp_path), "--device", "cpu", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert f"safety checker: {published}" in out
    assert "protects nobody" not in out


def test_libraries_that_are_missing_or_old_are_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("no-such-library>=1.0\nnumpy>=999.0\n")
    monkeypatch.setattr(doctor, "REQUIREMENTS", tmp_path / "requirements.txt")
    assert cli.main(["doctor", "--models", "pocket", "--device", "cpu"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0 of ")
    assert "no-such-library (missing; run `pip install 'no-such-library>=1.0'`)" in lines
    assert f"numpy {version('numpy')} (older than 999.0; run `pip install 'numpy>=999.0'`)" in lines


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
    assert done.stdout.startswith("0 of ")


def test_a_device_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--device", "tpu"]) == 2
    assert capsys.readouterr().err.startswith("error: --device 'tpu' is not a device")


RETINAFACE = "controlnet/detection_Resnet50_Final.pth"
YUNET = "face_detection/face_detection_yunet_2023mar.onnx"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with the pocket model's files, which is not the pocket's own."""
    shutil.copytree(POCKET, tmp_path / "models", copy_function=os.link)
    return tmp_path / "models"


def readiness(models: Path, workflow: str) -> Readiness:
    return Checker(LocalHost(models=[models], device="cpu"), REGISTRY).check(read_workflow(workflow))


@pytest.mark.parametrize(
    ("facexlib", "files", "missing"),
    [
        (False, (YUNET,), ()),
        (False, (RETINAFACE,), (YUNET,)),  # its weights alone are of no use
        (False, (), (YUNET,)),
        (True, (YUNET,), ()),
        (True, (RETINAFACE,), ()),
        (True, (RETINAFACE, YUNET), ()),
    ],
)
def test_face_swap_can_run_with_either_detector(
    models: Path, monkeypatch: pytest.MonkeyPatch, facexlib: bool, files: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    monkeypatch.setattr(face_detection, "has_facexlib", lambda: facexlib)
    (models / YUNET).unlink()
    for file in files:
        (models / file).touch()
    found = readiness(models, "control-face-swap")
    assert tuple(f"{kind}/{name}" for kind, name in found.missing) == missing
    assert bool(found.problems) == bool(missing)


@pytest.mark.parametrize(
    ("workflow", "file"),
    [
        ("text-to-image-speed", "checkpoints/juggernautXL_v8Rundiffusion.safetensors"),
        ("text-to-image-lightning", "loras/sdxl_lightning_4step_lora.safetensors"),
        ("text-to-image-refiner", "vae_approx/xl-to-v1_interposer-v4.0.safetensors"),
        ("control-pyracanny", "controlnet/control-lora-canny-rank128.safetensors"),
        ("control-image-prompt", "clip_vision/clip_vision_vit_h.safetensors"),
        ("control-image-prompt", "controlnet/fooocus_ip_negative.safetensors"),
        ("inpaint", "inpaint/inpaint_v26.fooocus.patch"),
    ],
)
def test_a_missing_file_is_the_one_that_the_run_misses(
    models: Path, capsys: pytest.CaptureFixture[str], workflow: str, file: str
) -> None:
    assert readiness(models, workflow) == Readiness()
    (models / file).unlink()
    found = readiness(models, workflow)
    assert [f"{kind}/{name}" for kind, name in found.missing] == [file]
    assert cli.main(["run", workflow, "--models", str(models), "--device", "cpu"]) == 2
    assert Path(file).name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("workflow", "file"),
    [
        ("text-to-image-extreme-speed", "loras/sd_xl_offset_example-lora_1.0.safetensors"),
        ("inpaint", "upscale_models/fooocus_upscaler_s409985e5.bin"),
    ],
)
def test_an_extra_of_a_workflow_is_not_missing(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workflow: str, file: str
) -> None:
    (models / file).unlink()
    assert readiness(models, workflow).missing == Readiness().missing
    assert cli.main(["run", workflow, "--models", str(models), "--device", "cpu", "-o", str(tmp_path / "out")]) == 0
    assert Path(file).name in capsys.readouterr().err


PRESETS = {
    "default": {
        "default_model": "juggernautXL_v8Rundiffusion.safetensors",
        "default_loras": [[True, "circles.safetensors", 0.5]],
        "default_vae": "fine.safetensors",
        "default_performance": "Lightning",
    },
    "other": {"default_model": "mine.safetensors"},
}


@pytest.fixture
def presets(models: Path) -> Path:
    """The models folder, with presets that name a checkpoint, a LoRA, a VAE and a mode with a LoRA of its own."""
    (models / "presets").mkdir()
    for name, preset in PRESETS.items():
        (models / "presets" / f"{name}.json").write_text(json.dumps(preset))
    for name in ("loras/circles", "vae/fine", "checkpoints/mine"):
        (models / name).parent.mkdir(exist_ok=True)
        (models / f"{name}.safetensors").touch()
    return models


def preset_workflow(models: Path, preset: str) -> Readiness:
    graph = read_workflow("building-block-preset")
    graph["1"]["inputs"]["preset"] = preset
    return Checker(LocalHost(models=[models], device="cpu"), REGISTRY).check(graph)


@pytest.mark.parametrize(
    ("preset", "file"),
    [
        ("default", "checkpoints/juggernautXL_v8Rundiffusion.safetensors"),
        ("default", "loras/circles.safetensors"),
        ("default", "loras/sdxl_lightning_4step_lora.safetensors"),
        ("default", "vae/fine.safetensors"),
        ("other", "checkpoints/mine.safetensors"),
    ],
)
def test_the_files_that_a_preset_chooses_are_required(presets: Path, preset: str, file: str) -> None:
    assert preset_workflow(presets, preset) == Readiness()
    (presets / file).unlink()
    found = preset_workflow(presets, preset)
    assert [f"{kind}/{name}" for kind, name in found.missing] == [file]


def test_a_broken_preset_is_the_problem_of_its_node(presets: Path) -> None:
    (presets / "presets" / "other.json").write_text(json.dumps({"default_performance": "Slow"}))
    problem, *_ = preset_workflow(presets, "other").problems
    assert all(words in problem for words in ("node 1 (FooocusPreset)", "default_performance", "'Slow'"))


@pytest.mark.parametrize(("checkpoint", "ready"), [("pocket", True), ("gone", False)])
def test_the_files_that_an_image_names_are_required(tmp_path: Path, checkpoint: str, ready: bool) -> None:
    graph = read_workflow("building-block-metadata")
    if not ready:
        image = Image.new("RGB", (64, 64))
        metadata = PngInfo()
        metadata.add_text("parameters", f"a circle\nSteps: 4, Seed: 1, Size: 64x64, Model: {checkpoint}")
        image.save(tmp_path / "made.png", pnginfo=metadata)
        graph["1"]["inputs"]["image"] = str(tmp_path / "made.png")
    found = Checker(LocalHost(models=[tmp_path], device="cpu"), REGISTRY).check(graph)
    assert found.missing == (() if ready else (("checkpoints", checkpoint),))
    assert bool(found.problems) != ready


def test_an_image_of_the_pocket_model_is_made_again_from_an_empty_models_folder(tmp_path: Path) -> None:
    words = ["--models", str(tmp_path), "--device", "cpu", "-o", str(tmp_path / "out")]
    assert cli.main(["run", "building-block-metadata", *words]) == 0


def test_files_of_other_workflows_are_not_required(models: Path) -> None:
    for file in ("controlnet/fooocus_xl_cpds_128.safetensors", "clip_vision/clip_vision_vit_h.safetensors", YUNET):
        (models / file).unlink()
    for about in bundled():
        text = json.dumps(read_workflow(about.name))
        uses = "cpds" in text.casefold() or "clip_vision" in text or "FooocusFaceCrop" in text
        uses |= "CheckpointLoaderSimple" in text  # runs in ComfyUI only
        assert bool(readiness(models, about.name).problems) == uses, about.name
