"""The styles that a composed text holds, found by composing again (purpose of Fooocus modules/util.py:
extract_styles_from_prompt)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...settings import EXPANSION_STYLE
from ...text.styles import Style, Styles


def styles_in(positive: str, negative: str, text: str, negative_text: str, known: Styles) -> list[str] | None:
    """The styles that make of `text` and `negative_text` the full texts, in order; None when none do.

    Tries the pieces that composing would have written, from the front, so that a negative text of the user's and the
    order of the styles come out right. What is left over at the end is the expansion; of several readings the one
    that leaves least is taken.
    """
    line, *more = text.split("\n")
    full, against = _written([positive]), _written([negative])
    tail, negative_tail = _written(more), _written(negative_text.split("\n"))
    plain = {style.name: _pieces(style, line) for style in known.values() if not style.holds_prompt}
    every = {style.name: _pieces(style, line) for style in known.values()}
    readings = [
        (at, chosen)
        for start, pool in ((_written([line]), plain), ("", every))
        if full.startswith(start)
        for at, at_negative, chosen in _readings(full, against, len(start), pool)
        if pool is plain or any(known[name].holds_prompt for name in chosen)
        if full.startswith(tail, at) and against[at_negative:] == negative_tail
    ]
    if not readings:
        return None
    at, chosen = max(readings, key=lambda reading: reading[0])
    return [EXPANSION_STYLE, *chosen] if at + len(tail) < len(full) else list(chosen)


Pieces = dict[str, tuple[str, str]]


def _readings(full: str, against: str, at: int, pool: Pieces) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """(place in `full`, place in `against`, styles whose pieces lead there), each pair of places once."""
    attempts: list[tuple[int, int, tuple[str, ...]]] = [(at, 0, ())]
    seen: set[tuple[int, int]] = set()
    while attempts:
        at, at_negative, chosen = attempts.pop()
        if (at, at_negative) in seen:
            continue
        seen.add((at, at_negative))
        yield at, at_negative, chosen
        for name, (piece, negative_piece) in reversed(list(pool.items())):
            fits = full.startswith(piece, at) and against.startswith(negative_piece, at_negative)
            if fits and (piece or negative_piece) and name not in chosen:
                attempts.append((at + len(piece), at_negative + len(negative_piece), (*chosen, name)))


def _pieces(style: Style, line: str) -> tuple[str, str]:
    positive, negative = style.apply(line)
    return _written(positive), _written(negative)


def _written(texts: Iterable[str]) -> str:
    """The texts as they stand in a longer row of texts, a comma after each."""
    return "".join(f"{text}, " for text in texts if text)
