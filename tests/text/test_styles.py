"""Style files: names, order, duplicates, broken files, and the pack's own set."""

import json
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile, UnknownName
from fooocus_stages.pipelines.text import styles
from fooocus_stages.pipelines.text.styles import Style, Styles, bundled_styles, load_order, normal_name, read_style_file


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("sai-3d-model", "SAI 3D Model"),
        ("MK mosaic", "Mk Mosaic"),
        ("DMT Art Style", "Dmt Art Style"),
        ("Flat 2D Art", "Flat 2d Art"),
        ("a--b", "A  B"),
        ("3d-Thing", "3D Thing"),
        ("foo (sumi)", "Foo (Sumi)"),
        ("mre-comic", "MRE Comic"),
    ],
)
def test_normal_name(written: str, shown: str) -> None:
    assert normal_name(written) == shown


def test_stock_files_come_last_in_their_own_order() -> None:
    listed = ["sub/mine.json", "notes.txt", "sdxl_styles_mre.json", "sdxl_styles_fooocus.json", "Zoo.JSON"]
    assert load_order(listed) == ["sub/mine.json", "Zoo.JSON", "sdxl_styles_fooocus.json", "sdxl_styles_mre.json"]


def test_a_later_duplicate_takes_the_earlier_place() -> None:
    book = Styles([Style("A", "1"), Style("B", "2"), Style("A", "3")])
    assert [(name, style.prompt) for name, style in book.items()] == [("A", "3"), ("B", "2")]


def test_read_style_file(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    entries = [{"name": "glow-night", "prompt": "{prompt} at night"}, {"name": "No", "negative_prompt": "grain"}]
    path.write_text(json.dumps(entries), "utf-8")
    assert read_style_file(path) == (Style("Glow Night", "{prompt} at night"), Style("No", "", "grain"))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text('[{"name": "One"}]', "utf-8")
    assert [style.name for style in read_style_file(path)] == ["One"]
    path.write_text('[{"name": "One"}, {"name": "Two"}]', "utf-8")
    assert [style.name for style in read_style_file(path)] == ["One", "Two"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[{", b'{"name": "A"}', b'["A"]', b'[{"prompt": "x"}]', b'[{"name": " "}]', b'[{"name": 3}]',
     b'[{"name": "A", "prompt": ["x"]}]', b"\xff\xfe\x00", b"[" * 100_000],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"broken\.json"):
        read_style_file(path)


def test_an_absurdly_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(styles, "LARGEST_FILE", 10)
    path = tmp_path / "large.json"
    path.write_text("[" + " " * 20 + "]", "utf-8")
    with pytest.raises(BadFile, match="too large"):
        read_style_file(path)


def test_apply() -> None:
    style = Style("Two", "{prompt} and {prompt}\nsecond", "no\nnever")
    assert style.apply("x") == (["x and x", "second"], ["no", "never"])
    assert Style("None").apply("x") == ([], [])


@pytest.mark.parametrize("spelling", ["Glow Night", "glow-night", "GLOW NIGHT", " glow night "])
def test_named_takes_any_sensible_spelling(spelling: str) -> None:
    assert Styles([Style("Glow Night")]).named(spelling).name == "Glow Night"


def test_an_unknown_name_says_what_to_do() -> None:
    with pytest.raises(UnknownName, match=r"'Glow Knight' \(did you mean 'Glow Night'\?\); .*sdxl_styles"):
        Styles([Style("Glow Night")]).named("Glow Knight")


def test_the_pool_holds_styles_of_files_or_else_our_own() -> None:
    own, stand_in, file = Style("O", origin="pack"), Style("S", origin="stand-in"), Style("F")
    assert Styles([own, stand_in, file]).pool == ("F",)
    assert Styles([own, stand_in]).pool == ("O",)
    assert Styles([stand_in]).pool == ()


def test_bundled_styles_are_in_order() -> None:
    ours = bundled_styles()
    assert len({style.name for style in ours}) == len(ours)
    own = [style for style in ours if style.origin == "pack"]
    assert 12 <= len(own) <= 20
    assert all(style.name.startswith("Stages ") and style.name == normal_name(style.name) for style in own)
    assert all(style.prompt.count("{prompt}") == 1 or not style.prompt for style in ours)
    assert [style.name for style in ours if style.origin == "stand-in"] == ["Fooocus Enhance", "Fooocus Sharp"]
    assert [bool(style.prompt) for style in ours if style.origin == "stand-in"] == [False, True]
