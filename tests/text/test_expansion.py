"""The texts around the expansion model: tidying, the token budget, the word list, and the stand-in."""

import math
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.text.expansion import read_words, safe_str, stand_in_expander, tidy_spaces, tokens_to_add


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a   cat, on.. ", "a cat, on"),
        ("...", ""),
        ("\ta", "\ta"),
        ("(a cat.)", "(a cat.)"),
        ("a" + " " * 1000 + "b", "a b"),
    ],
)
def test_safe_str(text: str, expected: str) -> None:
    assert safe_str(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat , dog .", "a cat, dog."),
        ("what ? no ! yes", "what? no! yes"),
        ("it 's don n't I 'm they 're we 've", "it's donn't I'm they're we've"),
        ("rock ' n ' roll", "rock'n'roll"),
        (" , . ,, .", ",.,,."),
        ("a,b  , c", "a,b , c"),
    ],
)
def test_spaces_in_front_of_punctuation_go(text: str, expected: str) -> None:
    assert tidy_spaces(text) == expected


@pytest.mark.parametrize(("count", "expected"), [(3, 72), (4, 71), (74, 1), (75, 0), (76, 74), (150, 0)])
def test_the_budget_fills_stretches_of_75(count: int, expected: int) -> None:
    assert tokens_to_add(count) == expected == 75 * math.ceil(count / 75) - count


def test_words_are_read_in_lower_case_and_once(tmp_path: Path) -> None:
    path = tmp_path / "positive.txt"
    path.write_text("Sharp\r\n\r\nsharp\nsoft\n", "utf-8-sig")
    assert read_words(path) == ("sharp", "soft")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\xff"])
def test_a_list_without_words_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "positive.txt"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"positive\.txt"):
        read_words(path)


def test_the_stand_in_returns_the_whole_text_and_depends_only_on_text_and_seed() -> None:
    text = stand_in_expander("a red fox,", 7)
    assert text.startswith("a red fox, ")
    assert text == stand_in_expander("a red fox", 7 + 2**32)
    assert text != stand_in_expander("a red fox", 8)


@pytest.mark.parametrize("text", ["", " ", ",."])
def test_the_stand_in_adds_nothing_to_nothing(text: str) -> None:
    assert stand_in_expander(text, 1) == ""


def test_the_stand_in_does_not_repeat_what_is_there() -> None:
    for seed in range(50):
        assert stand_in_expander("fox, Fine Texture", seed).lower().count("fine texture") == 1
