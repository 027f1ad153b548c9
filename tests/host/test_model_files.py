"""Finding model files in folders with links, odd names, and folders in place of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import MissingFile
from fooocus_stages.pipelines.host import LocalHost, find_file


@pytest.mark.parametrize("name", ["animagine-xl", "Animagine-XL", "animagine-xl.safetensors"])
def test_a_folder_is_distinguished_from_a_missing_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name.lower() / "unet").mkdir(parents=True)
    with pytest.raises(MissingFile, match=r"is a folder, .*choose one file that ends in"):
        find_file("checkpoints", name, [tmp_path / "missing", tmp_path])


ODD = {
    "ink.SafeTensors": ("ink.SafeTensors", "ink.safetensors", "INK", "ink"),
    "my pen .safetensors": ("my pen .safetensors", "my pen.safetensors", "my pen", "My Pen "),
    "end.ckpt ": ("end.ckpt ", "end.ckpt", "end"),
    " first.pt": (" first.pt", "first.pt", "FIRST"),
    "sub /deep.bin": ("sub /deep.bin", "sub/deep.bin", "sub\\deep", "deep"),
}


@pytest.mark.parametrize("file", ODD)
def test_suffixes_in_any_case_and_spaces_at_the_ends_of_names(tmp_path: Path, file: str) -> None:
    path = tmp_path / "loras" / file
    path.parent.mkdir(parents=True)
    path.touch()
    host = LocalHost([tmp_path])
    assert file in host.names("loras")
    for name in ODD[file]:
        assert host.find("loras", name) == path


def test_links_in_a_models_folder(tmp_path: Path) -> None:
    loras, elsewhere = tmp_path / "loras", tmp_path / "elsewhere"
    for folder in (loras / "sub", elsewhere):
        folder.mkdir(parents=True)
        (folder / "ink.pt").touch()
    (loras / "self").symlink_to("self")
    (loras / "up").symlink_to(loras)
    (loras / "sub" / "back").symlink_to(loras)
    (elsewhere / "there").symlink_to(loras)
    for name in ("one", "two"):
        (loras / name).symlink_to(elsewhere)
    (loras / "gone.pt").symlink_to(tmp_path / "nothing")
    names = LocalHost([tmp_path]).names("loras")
    assert {"sub/ink.pt", "one/ink.pt", "two/ink.pt"} <= set(names)
    assert len(names) < 10
