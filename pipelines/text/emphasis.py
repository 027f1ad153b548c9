"""Prompt emphasis: the grammar of weighted parentheses, and the 77-token sections that CLIP reads.

Fooocus ldm_patched/modules/sd1_clip.py: parse_parentheses, token_weights, tokenize_with_weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

SECTION = 77
LARGE = 8
STEP = 1.1

WeightedToken = tuple[int, float]
Group = list[WeightedToken]

_OPEN, _CLOSE = "\0\1", "\0\2"


def weighted_segments(text: str) -> list[tuple[str, float]]:
    r"""Split a text into (segment, weight) pairs.

    '(x)' multiplies the weight of its surroundings by 1.1, '(x:1.5)' sets the weight to 1.5, and `\(` and `\)` are
    plain characters.
    """
    shielded = text.replace("\\)", _CLOSE).replace("\\(", _OPEN)
    return [
        (segment.replace(_CLOSE, ")").replace(_OPEN, "("), weight) for segment, weight in _weigh(shielded, weight=1.0)
    ]


def weighted_words(text: str) -> list[tuple[str, float]]:
    """Split a text at spaces and line ends into words, each with the weight of its segment."""
    return [
        (word, weight)
        for segment, weight in weighted_segments(text)
        for word in segment.replace("\n", " ").split(" ")
        if word
    ]


def pack(groups: Iterable[Group], start: int, end: int, pad: int) -> list[Group]:
    """Pack words into sections of 77 (token, weight) pairs. Only a word of eight or more tokens is split."""
    sections: list[Group] = []
    section: Group = [(start, 1.0)]

    def close() -> None:
        nonlocal section
        filler: Group = [(end, 1.0), *[(pad, 1.0)] * SECTION]
        sections.append((section + filler)[:SECTION])
        section = [(start, 1.0)]

    for group in groups:
        while len(section) + len(group) > SECTION - 1:
            if len(group) >= LARGE:
                room = SECTION - 1 - len(section)
                section, group = section + group[:room], group[room:]
            close()
        section = section + group
    close()
    return sections


def _weigh(text: str, weight: float) -> Iterator[tuple[str, float]]:
    todo = [(item, weight) for item in reversed(_outer_parentheses(text))]
    while todo:
        item, weight = todo.pop()
        if len(item) < 2 or not (item.startswith("(") and item.endswith(")")):
            yield item, weight
            continue
        inside, weight = item[1:-1], weight * STEP
        colon = inside.rfind(":")
        if colon > 0:
            try:
                weight = float(inside[colon + 1 :])
                inside = inside[:colon]
            except ValueError:
                pass
        todo += [(part, weight) for part in reversed(_outer_parentheses(inside))]


def _outer_parentheses(text: str) -> list[str]:
    """Split a text before each outermost '(' and after its ')'. The depth may fall below 0, as in Fooocus."""
    items: list[str] = []
    buffer, depth = "", 0
    for character in text:
        if character == "(":
            if depth == 0 and buffer:
                items.append(buffer)
                buffer = ""
            depth += 1
            buffer += character
        elif character == ")":
            depth -= 1
            buffer += character
            if depth == 0:
                items.append(buffer)
                buffer = ""
        else:
            buffer += character
    return [*items, buffer] if buffer else items
