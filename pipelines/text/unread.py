"""Detection of prompt syntax that is read as plain words because it is another program's or in the wrong place."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 60
READ_AS_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"<\s*(?:loras?|lyco|loha|locon)\s*:[^<>\n]*>?", re.IGNORECASE),
        "a LoRA tag is <lora:NAME:WEIGHT>, in the first line of the prompt",
    ),
    (
        re.compile(r"<\s*(?:hypernet|wildcard|embed)\s*:[^<>\n]*>", re.IGNORECASE),
        "only <lora:NAME:WEIGHT> is a tag here",
    ),
    (
        re.compile(r"(?<=[^\s()])embedding:\S+|(?<!\w)(?!(?-i:embedding:\S))embedding\s*:\s*[\w.\\/-]+", re.IGNORECASE),
        "an embedding is written embedding:NAME, in lower case and after a space",
    ),
    (re.compile(r"\[\[[^\[\]\n]*,[^\[\]\n]*\]\]"), "arrays [[a,b]] belong to the first line of the prompt"),
    (re.compile(r"\{[^{}\n]*\|[^{}\n]*\}"), "alternatives are written as an array [[a,b]] or a wildcard __NAME__"),
    (
        re.compile(
            r"\[[^\[\]\n:]*:[^\[\]\n:]*:\s*\d*\.?\d+\s*\]"  # [from:to:when]
            r"|\[[^\[\]\n:]*[^\W\d][^\[\]\n:]*:\s*\d*\.?\d+\s*\]"  # [to:when]
            r"|(?<!\[)\[[^\[\]\n|]*\|[^\[\]\n]*\](?!\])"  # [one|other]
        ),
        "a prompt can't change during the steps",
    ),
    (re.compile(r"\bBREAK\b"), "a prompt can't be cut into parts; a further line is encoded by itself"),
    (re.compile(r"(?<=[^A-Z\s])\s+AND\s+(?=[^A-Z\s])"), "prompts can't be combined with AND"),
    (re.compile(r"__[\w-]+__"), "its list names itself again and again"),
)


def unread_syntax(text: str) -> Iterator[str]:
    """Yield a notice for each piece of a composed text that looks like syntax but is read as words."""
    for pattern, way_out in READ_AS_WORDS:
        for found in pattern.finditer(text):
            piece = found[0] if len(found[0]) <= LONGEST else f"{found[0][:LONGEST]}…"
            yield f"{piece!r} is read as words: {way_out}"
