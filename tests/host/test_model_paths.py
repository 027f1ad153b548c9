"""Folders of models, and files of further folders, read as ComfyUI reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.host.model_paths import read_extra_paths

A1111 = """
# a comment
a111:
    base_path: ~/webui
    checkpoints: models/Stable-diffusion
    loras: |
         models/Lora
         models/LyCORIS
    custom_nodes: nodes
comfyui:
    base_path: $DISK/comfy
    is_default: true
    checkpoints: models/checkpoints/
    unet: models/unet
empty:
plain:
    vae: vae
    loras: /far/loras
"""


def write(folder: Path, text: str, name: str = "extra_model_paths.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_sections_are_read_as_comfyui_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DISK", "/disk")
    extras = read_extra_paths(write(tmp_path, A1111))
    assert [(e.kind, e.folder, e.first) for e in extras] == [
        ("checkpoints", Path("/home/me/webui/models/Stable-diffusion"), False),
        ("loras", Path("/home/me/webui/models/Lora"), False),
        ("loras", Path("/home/me/webui/models/LyCORIS"), False),
        ("checkpoints", Path("/disk/comfy/models/checkpoints"), True),
        ("unet", Path("/disk/comfy/models/unet"), True),
        ("vae", tmp_path / "vae", False),
        ("loras", Path("/far/loras"), False),
    ]


FOOOCUS = r"""{
    "path_checkpoints": ["../big/checkpoints", "/disk/checkpoints"],
    "path_loras": "loras of mine",
    "path_fooocus_expansion": "gpt",
    "path_outputs": "../outputs",
    "default_model": "a.safetensors"
}"""


def test_the_folders_of_fooocus_s_own_configuration_are_searched_first(tmp_path: Path) -> None:
    root = write(tmp_path / "Fooocus", FOOOCUS, "config.txt").parent
    (root / "models").mkdir()
    host = LocalHost(models=[root])
    own = [root / "models" / "checkpoints", root / "checkpoints"]
    assert host.folders_of("checkpoints") == [tmp_path / "big/checkpoints", Path("/disk/checkpoints"), *own]
    assert host.folders_of("loras")[0] == root / "loras of mine"
    assert host.folders_of("prompt_expansion/fooocus_expansion")[0] == root / "gpt"
    assert host.folders_of("vae") == [root / "models" / "vae", root / "vae"]


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ('{"path_loras": "C:\\my loras"}', "config.txt can't be read as JSON: Invalid \\escape"),
        ('{"path_loras": 7}', "config.txt: path_loras is 7, but should be a folder, or a list of folders"),
        ("a note of mine: the path_loras", ""),
        ("{}", ""),
    ],
)
def test_a_broken_configuration_of_fooocus_costs_only_itself(tmp_path: Path, text: str, notice: str) -> None:
    write(tmp_path, text, "config.txt")
    notices: list[str] = []
    host = LocalHost(models=[tmp_path], on_notice=notices.append)
    assert host.folders_of("loras") == [tmp_path / "loras"]
    assert [notice in told for told in notices] == ([True] if notice else [])


@pytest.mark.parametrize("given", ["beside", "named"])
def test_a_host_looks_into_them_in_order(tmp_path: Path, given: str) -> None:
    text = """
    first: {base_path: one, is_default: true, loras: "a\\nb", clip: text}
    second: {base_path: two, loras: c, diffusion_models: nets}
    """
    comfy = tmp_path / "ComfyUI"
    (comfy / "models" / "loras").mkdir(parents=True)
    path = write(comfy if given == "beside" else tmp_path / "elsewhere", text)
    host = LocalHost(models=[comfy], extra_model_paths=[] if given == "beside" else [path])
    home = path.parent
    own = [comfy / "models" / "loras", comfy / "loras"]
    assert host.folders_of("loras") == [home / "one/b", home / "one/a", *own, home / "two/c"]
    assert host.folders_of("text_encoders")[0] == home / "one/text"
    assert host.folders_of("unet")[-1] == home / "two/nets"
    for folder in ("one/a", "one/b", "two/c"):
        (home / folder).mkdir(parents=True)
        (home / folder / "same.safetensors").touch()
        (home / folder / f"{folder[-1]}.safetensors").touch()
    (own[0] / "same.safetensors").touch()
    assert host.find("loras", "same") == home / "one/b/same.safetensors"
    assert host.find("loras", "C.safetensors") == home / "two/c/c.safetensors"
    assert host.names("loras") == ["b.safetensors", "same.safetensors", "a.safetensors", "c.safetensors"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML: while parsing"),
        ("a: !!python/object/apply:os.system [echo]", "is not valid YAML: could not determine a constructor"),
        ("- a", "should hold sections with a base_path and folders, not a list"),
        ("a: models", "section 'a' should hold lines such as 'checkpoints: folder', not 'models'"),
        ("a: {loras: 3}", "loras of 'a' is 3, but should be a folder, or one folder per line"),
        ("a: {base_path: [x], loras: y}", "base_path of 'a' is ['x'], but should be a folder"),
        ("a: {is_default: perhaps, loras: y}", "is_default of 'a' is 'perhaps', but should be true or false"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadFile) as error:
        LocalHost(models=[tmp_path])
    assert str(error.value).startswith(f"{path}")
    assert message in str(error.value)


def test_an_empty_file_adds_nothing_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert read_extra_paths(write(tmp_path, "")) == []
    with pytest.raises(MissingFile, match=r"nowhere\.yaml does not exist"):
        LocalHost(models=[tmp_path], extra_model_paths=[tmp_path / "nowhere.yaml"])
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(BadFile, match=r"bytes\.yaml"):
        read_extra_paths(tmp_path / "bytes.yaml")


def test_a_missing_file_ends_with_the_hint(tmp_path: Path) -> None:
    host = LocalHost(models=[tmp_path], hint=lambda kind, name: f"ask for {kind} {name}" if name == "a" else "")
    with pytest.raises(MissingFile, match=r"; looked in: .*/loras; ask for loras a$"):
        host.find("loras", "a")
    with pytest.raises(MissingFile, match=r"; looked in: .*/loras$"):
        host.find("loras", "b")
