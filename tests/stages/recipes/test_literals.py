"""Values in texts: what is read, and what is refused without being evaluated."""

import ast
from typing import Any

import pytest
from fooocus_stages.pipelines.stages.recipes import literals
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (literals.number(0, 1), "0.5", 0.5),
        (literals.number(), 7, 7.0),
        (literals.number(), "1e3", 1000.0),
        (literals.whole(0, 2**63 - 1), "9223372036854775807", 2**63 - 1),
        (literals.whole(1, 12), 2.0, 2),
        (literals.numbers(3), "(1.5, 0.8, 0.3)", (1.5, 0.8, 0.3)),
        (literals.numbers(2), "('1152', '896')", (1152, 896)),
        (literals.numbers(2), [1152, "896"], (1152, 896)),
        (literals.numbers(1), "(2,)", (2,)),
        (literals.names, "['Fooocus V2', \"it's\"]", ("Fooocus V2", "it's")),
        (literals.names, "[]", ()),
        (literals.names, ["a"], ("a",)),
        (literals.one_of(("a", "b")), "b", "b"),
    ],
)
def test_read(read: Any, value: Any, expected: Any) -> None:
    assert read(value) == expected


@pytest.mark.parametrize(
    ("read", "value", "wants"),
    [
        (literals.text, 3, "a text"),
        (literals.number(0, 1), 1.5, "a number from 0 to 1"),
        (literals.number(0, 1), "x", "a number from 0 to 1"),
        (literals.number(), True, "a number"),
        (literals.number(), "nan", "a number"),
        (literals.number(), float("inf"), "a number"),
        (literals.number(), "9" * 10**6, "a number"),
        (literals.whole(1, 12), 2.5, "a whole number from 1 to 12"),
        (literals.whole(1, 12), float("inf"), "a whole number from 1 to 12"),
        (literals.whole(1, 12), [2], "a whole number from 1 to 12"),
        (literals.numbers(2), "(1, 2, 3)", "2 numbers"),
        (literals.numbers(2), "__import__('os').getcwd(), 1", "2 numbers"),
        (literals.numbers(2), [1, None], "2 numbers"),
        (literals.names, "['a'] + ['b']", "a list of names"),
        (literals.names, "[__import__('os').getcwd()]", "a list of names"),
        (literals.names, "[['a']]", "a list of names"),
        (literals.names, "['a' 'b']", "a list of names"),
        (literals.names, r"['\x']", "a list of names"),
        (literals.names, "[" * 10**5, "a list of names"),
        (literals.names, "['a'" + " " * 10**5 + "'", "a list of names"),
        (literals.names, "['a', " * 10**4 + "x", "a list of names"),
        (literals.names, [1], "a list of names"),
        (literals.one_of(("a", "b")), ["a"], "one of a, b"),
    ],
)
def test_refused(read: Any, value: Any, wants: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(value)
    assert str(caught.value) == wants


@given(st.lists(st.text()))
def test_every_list_of_texts_comes_back(texts: list[str]) -> None:
    assert literals.names(str(texts)) == tuple(texts) == tuple(ast.literal_eval(str(texts)))
