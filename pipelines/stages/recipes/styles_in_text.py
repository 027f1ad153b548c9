"""Detection of the styles in a composed text (purpose of Fooocus modules/util.py: extract_styles_from_prompt)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...settings import EXPANSION_STYLE
from ...text.styles import Style, Styles


def styles_in(positive: str, negative: str, text: str, negative_text: str, known: Styles) -> list[str] | None:
    """Find the styles, in order, that turn `text` and `negative_text` into the full texts; None if there are none.

    Matches the pieces that `compose` would have written, from the front, so that the user's negative prompt and the
    order of the styles are recovered. The remainder at the end is the expansion; of several matches, the one with the
    shortest remainder is chosen.
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
    """Yield (index in `full`, index in `against`, styles whose pieces lead there), each pair of indices once."""
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
    """Join texts as in a longer list, with a comma after each."""
    return "".join(f"{text}, " for text in texts if text)
