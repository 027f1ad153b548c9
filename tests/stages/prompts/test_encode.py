"""Encoding in a host: embedding words, their files, and what the user is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models import clip as clips
from fooocus_stages.pipelines.models.handles import Clip
from fooocus_stages.pipelines.stages.prompts import encode
from fooocus_stages.pipelines.types import Prompt, SamplingSettings
from safetensors.torch import save_file
from torch import Tensor

from ..conftest import Pocket

SETTINGS = SamplingSettings()


class Place:
    """A models folder, the host on it, and what that host has said."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "embeddings"
        self.folder.mkdir(parents=True)
        self.said: list[str] = []
        self.host = LocalHost(models=[root], device="cpu", on_notice=self.said.append)

    def add(self, clip: Clip, name: str, only: str = "", value: float = 0.5) -> None:
        """An SDXL embedding of two rows; or with vectors for one encoder alone."""
        widths = {clips.encoder_name(e): clips.encoder_width(e) for e in clip.encoders}
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        rows = {key: torch.full((2, width), value) for key, width in widths.items() if only in ("", key)}
        if path.suffix == ".safetensors":
            save_file(rows, path)
        else:
            torch.save(rows, path)

    def encode(self, clip: Clip, positive: str, negative: str = "") -> tuple[Tensor, Tensor]:
        prompt = Prompt((positive,), (negative,), 1, 1, 0)
        one, other = encode.encode(self.host, clip, prompt, SETTINGS)
        return one[0][0], other[0][0]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("file", "word"),
    [
        ("toy.safetensors", "embedding:toy"),
        ("toy.safetensors", "embedding:toy.safetensors"),
        ("toy.pt", "embedding:toy"),
        ("toy.bin", "(embedding:toy:1)"),
        ("toy.v1.5.pt", "embedding:toy.v1.5"),
        ("sub/toy.pt", "embedding:toy"),
        ("sub/toy.pt", "embedding:sub/toy"),
        ("toy,.pt", "embedding:toy,"),
        ("Toy.pt", "embedding:toy"),
    ],
)
def test_where_the_file_is_found(place: Place, pocket: Pocket, file: str, word: str) -> None:
    place.add(pocket.clip, file)
    place.add(pocket.clip, "other.pt", value=0.1)
    found, _ = place.encode(pocket.clip, word)
    place.folder.joinpath(file).rename(place.folder / "moved.pt")
    moved, _ = place.encode(pocket.clip, "embedding:moved" if not file.endswith("rs") else "embedding:moved.pt")
    assert torch.equal(found, moved)
    assert not torch.equal(found, place.encode(pocket.clip, "")[0])
    assert place.said == []


def test_which_of_several_files_is_meant(place: Place, pocket: Pocket) -> None:
    names = ("toy.bin", "toy.pt", "toy.safetensors", "TOY.safetensors", "a/toy.safetensors", "a/b.pt", "b.pt.bin")
    for i, name in enumerate(names):
        place.add(pocket.clip, name, value=0.1 * (i + 1))
    for word, name in {
        "toy": "toy.safetensors",
        "TOY": "TOY.safetensors",
        "toy.pt": "toy.pt",
        "b.pt": "a/b.pt",
    }.items():
        found = encode.find_embeddings(place.host, pocket.clip, [f"embedding:{word}"])
        assert float(found[word].vectors["clip_l"][0, 0]) == pytest.approx(0.1 * (names.index(name) + 1))


def test_commas_behind_the_name_are_text(place: Place, pocket: Pocket) -> None:
    place.add(pocket.clip, "toy.pt")
    one, _ = place.encode(pocket.clip, "embedding:toy, a circle")
    other, _ = place.encode(pocket.clip, "embedding:toy , a circle")
    assert torch.equal(one, other)


def test_both_sides_and_one_reading(place: Place, pocket: Pocket, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add(pocket.clip, "toy.pt")
    reads: list[Path] = []
    read = encode.read_embedding

    def counted(path: Path, widths: Any) -> Any:
        reads.append(path)
        return read(path, widths)

    monkeypatch.setattr(encode, "read_embedding", counted)
    positive, negative = place.encode(pocket.clip, "embedding:toy (embedding:toy,:1.2)", "embedding:toy circle")
    assert reads == [place.folder / "toy.pt"]
    assert not torch.equal(negative, place.encode(pocket.clip, "", "circle")[1])
    assert not torch.equal(positive, place.encode(pocket.clip, "")[0])


def test_guidance_one_reads_no_negative_embedding(place: Place, pocket: Pocket) -> None:
    prompt = Prompt(("a circle",), ("embedding:missing",), 1, 1, 0)
    encode.encode(place.host, pocket.clip, prompt, replace(SETTINGS, cfg=1.0))
    assert place.said == []


def test_a_missing_one_is_left_out_with_a_notice(place: Place, pocket: Pocket) -> None:
    place.add(pocket.clip, "badhands.pt")
    left_out, _ = place.encode(pocket.clip, "a circle embedding:badhand red")
    assert torch.equal(left_out, place.encode(pocket.clip, "a circle red")[0])
    assert place.said == [
        "embeddings file 'badhand' is missing (did you mean 'badhands'?); "
        f"looked in: {POCKET / 'embeddings'}, {place.folder}; the word 'embedding:badhand' is left out"
    ]


@pytest.mark.parametrize("word", ["embedding:", "embedding:,", "embedding:../secret", "embedding:sub/../../secret.pt"])
def test_names_that_can_be_no_file_below_the_folder(place: Place, pocket: Pocket, word: str) -> None:
    place.add(pocket.clip, "../secret.pt")
    place.add(pocket.clip, "sub/other.pt")
    assert encode.find_embeddings(place.host, pocket.clip, [word]) == {}
    assert len(place.said) == 1
    assert place.said[0].endswith(f"the word {word!r} is left out")


def test_vectors_for_another_family_are_reported(place: Place, pocket: Pocket) -> None:
    width_l, width_g = (clips.encoder_width(encoder) for encoder in pocket.clip.encoders)
    place.add(pocket.clip, "half.pt", only="clip_l")
    torch.save({"emb_params": torch.ones(3, 24)}, place.folder / "other.pt")
    ours, _ = place.encode(pocket.clip, "a embedding:half circle embedding:other")
    assert torch.equal(ours[..., width_l:], place.encode(pocket.clip, "a circle")[0][..., width_l:])
    assert place.said == [
        f"embedding 'half' has vectors of width {width_l}, not for clip_g ({width_g}) of this model: it is for another "
        "model family; only clip_l reads it",
        f"embedding 'other' has vectors of width 24, not for clip_l ({width_l}) and clip_g ({width_g}) of this model: "
        "it is for another model family; it is left out",
    ]


def test_the_models_own_folder_comes_first(place: Place, pocket: Pocket, tmp_path: Path) -> None:
    home = Place(tmp_path / "home")
    place.add(pocket.clip, "toy.pt", value=0.1)
    home.add(pocket.clip, "toy.pt", value=0.2)
    home.add(pocket.clip, "own.pt", value=0.3)
    clip = replace(pocket.clip, home=tmp_path / "home")
    found = encode.find_embeddings(place.host, clip, ["embedding:toy embedding:own"])
    assert [float(e.vectors["clip_l"][0, 0]) for e in found.values()] == pytest.approx([0.2, 0.3])


def test_a_broken_file_is_an_error_that_names_it(place: Place, pocket: Pocket) -> None:
    (place.folder / "toy.safetensors").write_bytes(b"<html>")
    with pytest.raises(BadFile, match=r"toy\.safetensors"):
        place.encode(pocket.clip, "embedding:toy")
