"""The grammar of emphasis and the packing into sections, held to what Fooocus's own functions gave."""

from __future__ import annotations

import math

import pytest
from fooocus_stages.pipelines.text.emphasis import pack, weighted_segments, weighted_words
from hypothesis import given
from hypothesis import strategies as st

SEGMENTS = {
    "a (cat:1.5) b": [("a ", 1), ("cat", 1.5), (" b", 1)],
    "a ((cat))": [("a ", 1), ("cat", 1.21)],
    "(((x)))": [("x", 1.331)],
    "(a (b:2) c:0.5)": [("a ", 0.5), ("b", 2), (" c", 0.5)],
    "(a (b) c:0.5)": [("a ", 0.5), ("b", 0.55), (" c", 0.5)],
    "((a:1.5))": [("a", 1.5)],
    "(a (b:2))": [("a ", 1.1), ("b", 2)],
    "(a:1.5:2)": [("a:1.5", 2)],
    "(at 12:30)": [("at 12", 30)],
    "(:1.2)": [(":1.2", 1.1)],
    "(a:)": [("a:", 1.1)],
    "(a:x)": [("a:x", 1.1)],
    "(a: 1.3 )": [("a", 1.3)],
    "(a:1e0)": [("a", 1)],
    "(a:1_0)": [("a", 10)],
    "(a:-1)": [("a", -1)],
    "(a:inf)": [("a", math.inf)],
    "[a:0.5]": [("[a:0.5]", 1)],
    "a :1.5": [("a :1.5", 1)],
    r"a \(b\) c": [("a (b) c", 1)],
    r"(a \(b\):1.3)": [("a (b)", 1.3)],
    r"\(a:1.5\)": [("(a:1.5)", 1)],
    "a (b": [("a ", 1), ("(b", 1)],
    "((b:2)": [("(b", 2)],
    "((b:2) c": [("((b:2) c", 1)],
    "a) (b:2)": [("a) (b:2)", 1)],
    "a (b)) (c:2) d": [("a ", 1), ("b", 1.1), (") (c:2) d", 1)],
    "()": [],
    "(())": [],
    "a(b)c": [("a", 1), ("b", 1.1), ("c", 1)],
    "(embedding:foo)": [("embedding:foo", 1.1)],
    "(embedding:foo:1.2)": [("embedding:foo", 1.2)],
    "(embedding:5)": [("embedding", 5)],
    "": [],
}
START, END, PAD = 1, 2, 0


@pytest.mark.parametrize("text", SEGMENTS)
def test_segments(text: str) -> None:
    ours = weighted_segments(text)
    assert [segment for segment, _ in ours] == [segment for segment, _ in SEGMENTS[text]]
    assert [weight for _, weight in ours] == pytest.approx([weight for _, weight in SEGMENTS[text]])


@given(st.text(alphabet="ab() :1.\\\n"))
def test_any_text_has_segments(text: str) -> None:
    assert all(isinstance(weight, float) for _, weight in weighted_segments(text))


def test_parentheses_a_thousand_deep() -> None:
    assert weighted_segments("(" * 1000 + "x:2" + ")" * 1000) == [("x", 2.0)]


def test_words_are_cut_at_spaces_and_line_ends() -> None:
    assert weighted_words("a  b\n(c\td e:2)") == [("a", 1), ("b", 1), ("c\td", 2), ("e", 2)]


def words(*lengths: int) -> list[list[tuple[int, float]]]:
    return [[(10 * (i + 1), 1.0)] * length for i, length in enumerate(lengths)]


@pytest.mark.parametrize(("count", "sections"), [(0, 1), (75, 1), (76, 2), (150, 2), (151, 3)])
def test_how_many_sections_one_token_words_fill(count: int, sections: int) -> None:
    packed = pack(words(*[1] * count), START, END, PAD)
    assert len(packed) == sections
    assert all(len(section) == 77 and section[0] == (START, 1.0) for section in packed)


def test_the_empty_text() -> None:
    assert [token for token, _ in pack([], START, END, PAD)[0]] == [START, END] + [PAD] * 75


def test_a_short_word_moves_whole_into_the_next_section() -> None:
    first, second = pack(words(*[1] * 73, 5), START, END, PAD)
    assert [token for token, _ in first[74:]] == [END, PAD, PAD]
    assert [token for token, _ in second[:7]] == [START] + [740] * 5 + [END]


def test_a_long_word_is_split() -> None:
    first, second = pack(words(*[1] * 70, 16), START, END, PAD)
    assert [token for token, _ in first[71:]] == [710] * 5 + [END]
    assert [token for token, _ in second[:13]] == [START] + [710] * 11 + [END]


@given(st.lists(st.integers(1, 300), max_size=40))
def test_no_token_is_lost(lengths: list[int]) -> None:
    groups = words(*lengths)
    kept = [item for section in pack(groups, START, END, PAD) for item in section if item[0] >= 10]
    assert kept == [item for group in groups for item in group]
