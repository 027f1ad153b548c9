"""Names as people type them: each spelling means the same file, and no error suggests what looks the same."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from fooocus_stages.pipelines import names
from fooocus_stages.pipelines.errors import MissingFile, UnknownName
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.names import base, file_below, folded, match_file, match_name, nearest, stem
from hypothesis import given
from hypothesis import strategies as st

FILES = ["a/ink.safetensors", "b/ink.safetensors", "b/Éclair è.safetensors", "play-v2.5.fp16.safetensors", "pen.pt"]
parts = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\."), min_size=1, max_size=8)
paths = st.lists(parts.filter(lambda part: part == part.strip()), min_size=1, max_size=3).map("/".join)


def spellings(name: str) -> list[str]:
    """The name as other people and file systems write it."""
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    return [*forms, *(form.replace("/", "\\") for form in forms), *(form.upper() for form in forms), name.lower()]


@given(paths)
def test_every_spelling_is_the_same_name(name: str) -> None:
    for other in spellings(name):
        assert folded(other) == folded(name)
        assert match_name(other, ["another", name]) == name
        assert match_file(other, ["another.pt", f"{name}.pt"]) == f"{name}.pt"
        assert file_below(other, ["another.pt", f"deep/{name}.pt"]) == f"deep/{name}.pt"


@given(paths, st.lists(paths, max_size=4))
def test_no_suggestion_looks_like_the_name(name: str, known: list[str]) -> None:
    suggested = nearest(name, [*known, *spellings(name)])
    assert all(folded(one) != folded(name) for one in suggested)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ink", "a/ink.safetensors"),
        ("b/ink", "b/ink.safetensors"),
        ("B\\INK.safetensors", "b/ink.safetensors"),
        ("D:\\models\\b\\ink.safetensors", "b/ink.safetensors"),
        ("elsewhere/ink.safetensors", "a/ink.safetensors"),
        (unicodedata.normalize("NFD", "éclair è"), "b/Éclair è.safetensors"),
        ("play-v2.5.fp16", "play-v2.5.fp16.safetensors"),
        ("pen", "pen.pt"),
        ("pen.safetensors", None),
        ("nothing", None),
    ],
)
def test_the_file_that_a_name_means(name: str, file: str | None) -> None:
    assert match_file(name, FILES) == file


def test_an_exact_spelling_goes_first() -> None:
    assert match_name("Ink", ["ink", "Ink"]) == "Ink"
    assert match_file("INK", ["ink.pt", "INK.pt"]) == "INK.pt"


def test_a_path_below_keeps_its_folders() -> None:
    assert file_below("other/ink", FILES) is None
    assert file_below("ink", FILES) == "a/ink.safetensors"


@pytest.mark.parametrize(
    ("name", "last", "front"), [("a/b.c.txt", "b.c.txt", "b.c"), ("a\\b", "b", "b"), (".hidden", ".hidden", ".hidden")]
)
def test_parts_of_a_path(name: str, last: str, front: str) -> None:
    assert (base(name), stem(name)) == (last, front)


def test_a_choice_in_any_spelling() -> None:
    assert names.match_name("RED", ("red", "blue")) == "red"
    assert names.match_name("rad", ("red", "blue")) is None
    assert "unknown colour 'rad' (did you mean 'red'" in str(UnknownName("colour", "rad", ("red", "blue")))
    assert names.same("a\\B", "A/b")


@pytest.mark.parametrize(
    ("there", "asked", "suffix"),
    [
        ("sub/fox.gguf", "fox.safetensors", ".gguf"),
        ("FOX.GGUF", "fox", ".GGUF"),
        ("fox.safetensors.part", "fox.safetensors", ".part"),
        ("fox.ckpt", "fox.safetensors", ".ckpt"),
        ("fox.safetensors", "fox.gguf", ".safetensors"),
    ],
)
def test_a_file_with_another_suffix_is_named(tmp_path: Path, there: str, asked: str, suffix: str) -> None:
    path = tmp_path / "checkpoints" / there
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(MissingFile) as caught:
        LocalHost([tmp_path]).find("checkpoints", asked)
    assert f"{asked!r} is missing, but a {suffix} file of that name exists: {str(path)!r}" in str(caught.value)


@pytest.mark.parametrize("asked", ["fox.gguf", "FOX.gguf", "sub\\fox.gguf"])
def test_a_file_of_an_unreadable_kind_is_there(tmp_path: Path, asked: str) -> None:
    path = tmp_path / "checkpoints" / "sub" / "fox.gguf"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(MissingFile) as caught:
        LocalHost([tmp_path]).find("checkpoints", asked)
    assert f"is a .gguf file, which can't be read: {str(path)!r}" in str(caught.value)
    assert ".safetensors" in str(caught.value)
