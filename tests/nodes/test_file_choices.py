"""The files that nodes offer: those of the pocket model never pass for the published ones whose names they have."""

from __future__ import annotations

from pathlib import Path

import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.comfy import use_host
from fooocus_stages.pipelines.errors import MissingFile
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.settings import DEFAULT_CHECKPOINT
from fooocus_stages.pipelines.stages import control

FILES_OF_THE_POCKET = {path.name for path in POCKET.rglob("*") if path.is_file()}
WIDGETS = [
    ("FooocusLoadCheckpoint", "ckpt_name"),
    ("FooocusLora", "lora_name"),
    ("FooocusLoraStack", "lora_3"),
    ("FooocusLoadRefiner", "refiner_name"),
    ("FooocusLoadControl", "control_name"),
    ("FooocusLoadImagePrompt", "adapter_name"),
    ("FooocusLoadImagePrompt", "clip_vision_name"),
    ("FooocusLoadImagePrompt", "negative_name"),
    ("FooocusLoadUpscaler", "upscaler_name"),
    ("FooocusSafetyCheck", "checker_name"),
]


def offered(node: str, name: str, folder: Path) -> tuple[list[str], str | None]:
    with use_host(LocalHost(models=[folder])):
        choices, options = NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"][name]
    return choices, options.get("default")


@pytest.mark.parametrize(("node", "name"), WIDGETS)
def test_no_file_of_the_pocket_is_offered_under_its_bare_name(tmp_path: Path, node: str, name: str) -> None:
    choices, _ = offered(node, name, tmp_path)
    assert any(choice.split("/")[0] == "pocket" for choice in choices)
    assert not FILES_OF_THE_POCKET & set(choices)


def test_loras_of_the_pocket_stand_beside_the_published_ones(tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "sdxl_lcm_lora.safetensors").touch()
    choices, _ = offered("FooocusLora", "lora_name", tmp_path)
    assert choices[:2] == ["None", "sdxl_lcm_lora.safetensors"]
    assert "pocket/sdxl_lcm_lora.safetensors" in choices[2:]
    assert len(choices) == len(set(choices))


@pytest.mark.parametrize("subfolder", ["", "sdxl", "sdxl/juggernaut"])
def test_the_default_checkpoint_is_the_default_choice_in_any_folder(tmp_path: Path, subfolder: str) -> None:
    for name in ("aaa.safetensors", "zzz/other.safetensors", f"{subfolder}/{DEFAULT_CHECKPOINT}".lstrip("/")):
        (tmp_path / "checkpoints" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "checkpoints" / name).touch()
    choices, default = offered("FooocusLoadCheckpoint", "ckpt_name", tmp_path)
    assert default == f"{subfolder}/{DEFAULT_CHECKPOINT}".lstrip("/")
    assert default in choices


def test_control_networks_and_adapters_offer_no_files_of_each_other(tmp_path: Path) -> None:
    control, _ = offered("FooocusLoadControl", "control_name", tmp_path)
    adapters, _ = offered("FooocusLoadImagePrompt", "adapter_name", tmp_path)
    assert control == ["pocket", "pocket/fooocus_xl_cpds_128.safetensors"]
    assert adapters == ["pocket", "pocket/ip-adapter-plus-face_sdxl_vit-h.bin"]


def test_a_face_detector_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "face_detection").mkdir()
    (tmp_path / "face_detection" / "mine.onnx").touch()
    node = NODE_CLASS_MAPPINGS["FooocusFaceCrop"]
    with use_host(LocalHost(models=[tmp_path])):
        choices, options = node.INPUT_TYPES()["optional"]["detector_name"]
        assert node.VALIDATE_INPUTS(detector_name="pocket") is True
        assert "'other.onnx'" in node.VALIDATE_INPUTS(detector_name="other.onnx")
    assert choices == ["auto", "mine.onnx", "pocket"]
    assert options["default"] == "auto"


def test_without_a_face_detector_the_way_out_names_that_of_the_pocket(tmp_path: Path) -> None:
    host = LocalHost(models=[tmp_path])
    with pytest.raises(MissingFile, match="choose 'pocket' in detector_name"):
        control.find_detector(host)
    _, path = control.find_detector(host, "pocket")
    assert path.is_file()
