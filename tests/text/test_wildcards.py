"""Wildcards: files, random and ordered replacement, and lists that never end."""

import random
from functools import partial
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile, BadValue
from fooocus_stages.pipelines.text.wildcards import Wildcards, apply_wildcards

WORDS = {"hue": ["red", "green", "blue"], "pair": ["__hue__ and __hue__"], "loop": ["__loop__x"], "empty": []}


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("__hue__ __hue__ __hue__", 0, "green green red"),
        ("__hue__ __hue__ __hue__", 1, "red blue red"),
        ("__pair__", 0, "green and red"),
        ("__hue____hue__", 0, "hue____hue"),
        ("a __nope__ b __nope__", 0, "a nope b nope"),
        ("___hue___", 0, "_hue_"),
        ("__Hue__", 0, "Hue"),
        ("__empty__", 0, "empty"),
        ("__loop__", 0, "__loop__" + "x" * 64),
        ("", 0, ""),
    ],
)
def test_random(text: str, seed: int, expected: str) -> None:
    assert apply_wildcards(text, WORDS, random.Random(seed)) == expected


@pytest.mark.parametrize("index", range(5))
def test_in_order(index: int) -> None:
    hue = WORDS["hue"][index % 3]
    rng = random.Random(3)
    assert apply_wildcards("__hue__ __hue__", WORDS, rng, index, in_order=True) == f"{hue} {hue}"
    assert rng.getstate() == random.Random(3).getstate()


def test_missing_names_are_reported_and_draw_nothing() -> None:
    rng, told = random.Random(3), []
    apply_wildcards("__nope__ __empty__", WORDS, rng, missing=told.append)
    assert told == ["nope", "empty"]
    assert rng.getstate() == random.Random(3).getstate()


def test_a_list_that_doubles_itself_is_stopped() -> None:
    with pytest.raises(BadValue, match="'more'"):
        apply_wildcards("__more__", {"more": ["__more__ __more__"]}, random.Random(0))


def test_files_are_found_by_stem_and_read_on_first_use(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "hue.txt").write_bytes(b"\xef\xbb\xbfred\n\n green \r\n")
    (tmp_path / "broken.txt").write_bytes(b"\xff\xff")
    names = ["sub/hue.txt", "hue.txt", "broken.txt", "picture.png"]
    words = Wildcards((name, partial(tmp_path.joinpath, name)) for name in names)
    assert list(words) == ["sub/hue", "hue", "broken"]
    assert words["hue"] == ("red", " green ")
    assert words["SUB\\hue"] == words["Hue"] == words["hue"]
    assert words.get("picture") is None
    assert words.get("other/hue") is None
    with pytest.raises(BadFile, match=r"broken\.txt"):
        words["broken"]


@pytest.mark.parametrize(
    ("text", "expected", "unknown"),
    [
        ("a __sub/hue__ b", "a red b", []),
        ("a __sub\\hue__, __SUB/HUE__", "a red, red", []),
        ("__two words__", "2", []),
        ("__E\u0301t\u00e9__", "summer", []),
        ("__other/hue__ __hue__", "__other/hue__ red", ["other/hue"]),
        ("__sub/*__", "__sub/*__", ["sub/*"]),
        ("__ hue __ and __init__", "__ hue __ and init", ["init"]),
        ("a__b c__d", "a__b c__d", ["b c"]),
    ],
)
def test_names_beyond_fooocus(tmp_path: Path, text: str, expected: str, unknown: list[str]) -> None:
    (tmp_path / "sub").mkdir()
    for name, word in (("sub/hue", "red"), ("two words", "2"), ("\u00c9t\u00e9", "summer")):
        (tmp_path / f"{name}.txt").write_text(word, "utf-8")
    files = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.txt"))]
    words = Wildcards((name, partial(tmp_path.joinpath, name)) for name in files)
    told: list[str] = []
    assert apply_wildcards(text, words, random.Random(0), missing=told.append) == expected
    assert list(dict.fromkeys(told)) == unknown


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_files_of_windows_editors(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "hue.txt").write_bytes("rouge\r\nblé\r\n".encode(encoding))
    assert Wildcards([("hue.txt", partial(tmp_path.joinpath, "hue.txt"))])["hue"] == ("rouge", "blé")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "cp1252"])
def test_a_file_in_another_encoding_is_refused_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "hue.txt").write_bytes("blé\n".encode(encoding))
    with pytest.raises(BadFile, match=r"hue\.txt .*save it in UTF-8"):
        Wildcards([("hue.txt", partial(tmp_path.joinpath, "hue.txt"))])["hue"]
