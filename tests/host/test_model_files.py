"""Finding a model file: the sentence about a name that is a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import MissingFile
from fooocus_stages.pipelines.host import find_file


@pytest.mark.parametrize("name", ["animagine-xl", "Animagine-XL", "animagine-xl.safetensors"])
def test_a_folder_is_told_apart_from_a_missing_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name.lower() / "unet").mkdir(parents=True)
    with pytest.raises(MissingFile, match=r"is a folder, .*choose one file that ends in"):
        find_file("checkpoints", name, [tmp_path / "missing", tmp_path])
