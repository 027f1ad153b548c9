"""The pocket model's files have the names of published ones: files of any other folder come before them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import MissingFile
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.settings import DEFAULT_CHECKPOINT

DETECTOR = "face_detection_yunet_2023mar.onnx"
KINDS = {
    "checkpoints": DEFAULT_CHECKPOINT,
    "loras": "sdxl_lcm_lora.safetensors",
    "upscale_models": "fooocus_upscaler_s409985e5.bin",
    "controlnet": "control-lora-canny-rank128.safetensors",
    "clip_vision": "clip_vision_vit_h.safetensors",
    "inpaint": "fooocus_inpaint_head.pth",
    "vae_approx": "xl-to-v1_interposer-v4.0.safetensors",
    "face_detection": DETECTOR,
}


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("subfolder", ["", "sdxl"])
def test_another_folder_wins_over_the_pocket(tmp_path: Path, kind: str, first: bool, subfolder: str) -> None:
    own = put(tmp_path / kind / subfolder / KINDS[kind])
    host = LocalHost([POCKET, tmp_path] if first else [tmp_path, POCKET])
    assert host.find(kind, KINDS[kind]) == own
    assert host.find(kind, own.stem) == own
    assert host.find(kind, KINDS[kind].upper()) == own
    assert host.names(kind)[0] == own.relative_to(tmp_path / kind).as_posix()


def test_the_pocket_gives_what_no_other_folder_has(tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    host = LocalHost([POCKET, tmp_path])
    assert host.find("loras", KINDS["loras"]) == POCKET / "loras" / KINDS["loras"]
    with pytest.raises(MissingFile, match="nowhere"):
        host.find("loras", "nowhere")


def test_the_home_of_a_pocket_checkpoint_comes_first(tmp_path: Path) -> None:
    put(tmp_path / "loras" / KINDS["loras"])
    host = LocalHost([POCKET, tmp_path])
    assert host.find("loras", KINDS["loras"], home=POCKET) == POCKET / "loras" / KINDS["loras"]


def test_the_pocket_comes_after_extra_folders(tmp_path: Path) -> None:
    own = put(tmp_path / "detectors" / DETECTOR)
    extra = tmp_path / "extra.yaml"
    extra.write_text("mine:\n  face_detection: detectors\n", encoding="utf-8")
    host = LocalHost([POCKET], extra_model_paths=[extra])
    assert host.folders_of("face_detection") == [own.parent, POCKET / "face_detection"]
    assert host.find("face_detection", DETECTOR) == own


def test_a_link_to_the_pocket_is_the_pocket(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(POCKET)
    own = put(tmp_path / "own" / "loras" / KINDS["loras"])
    assert LocalHost([tmp_path / "link", tmp_path / "own"]).find("loras", KINDS["loras"]) == own


def test_a_copy_of_the_pocket_is_a_folder_like_any_other(tmp_path: Path) -> None:
    shutil.copytree(POCKET / "face_detection", tmp_path / "face_detection")
    assert LocalHost([tmp_path, POCKET]).find("face_detection", DETECTOR) == tmp_path / "face_detection" / DETECTOR
