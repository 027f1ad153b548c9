"""Tidying a text, and the stand-in for the expansion model."""

import pytest
from fooocus_stages.pipelines.models.expansion import safe_str, stand_in_expander


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
