"""Detection of prompt syntax that is read as plain words because it is another program's or in the wrong place."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST = 60
_LORA = r"(?:loras?|lyco|loha|locon)"
_LEFT, _RIGHT, _COLON = "[<\uff1c]", "[>\uff1e]", "[:\uff1a]"
READ_AS_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            rf"{_LEFT}\s*{_LORA}\s*{_COLON}[^<>\n\uff1c\uff1e]*{_RIGHT}?"  # also in the wide signs of Asian keyboards
            rf"|(?<![<\w\uff1c:]){_LORA}:[^\s,:<>]+:\d*\.?\d+",
            re.IGNORECASE,
        ),
        "a LoRA tag is <lora:NAME:WEIGHT>, in the first line of the prompt",
    ),
    (
        re.compile(rf"<\s*(?!\s*{_LORA}\s*:)[a-z]+(?:\[[^\]\n]*\])?\s*:[^<>\n]*>", re.IGNORECASE),
        "only <lora:NAME:WEIGHT> is a tag here",
    ),
    (
        re.compile(r"(?<=[^\s()])embedding:\S+|(?<!\w)(?!(?-i:embedding:\S))embedding\s*:\s*[\w.\\/-]+", re.IGNORECASE),
        "an embedding is written embedding:NAME, in lower case and after a space",
    ),
    (re.compile(r"\[\[[^\[\]\n]*,[^\[\]\n]*\]\]"), "arrays [[a,b]] belong to the first line of the prompt"),
    (re.compile(r"\$\{[^{}\n]*\}"), "a prompt has no variables"),
    (re.compile(r"\{[^{}\n]*\|[^{}\n]*\}"), "alternatives are written as an array [[a,b]] or a wildcard __NAME__"),
    (
        re.compile(
            r"\[[^\[\]\n:]*:[^\[\]\n:]*:\s*\d*\.?\d+\s*\]"  # [from:to:when]
            r"|\[[^\[\]\n:]*[^\W\d][^\[\]\n:]*:\s*\d*\.?\d+\s*\]"  # [to:when]
            r"|(?<!\[)\[[^\[\]\n|]*\|[^\[\]\n]*\](?!\])"  # [one|other]
        ),
        "a prompt can't change during the steps",
    ),
    (
        re.compile(r"\((?:[^()\n:]*:\s*\d+,\s*\d+\s*\)|[^()\n:]*\)(?:\+{1,4}(?!\w)|\d\.\d+))"),
        "emphasis is written (words:1.2)",
    ),
    (
        re.compile(r"\b(?:BREAK|ADDCOMM|ADDBASE|ADDCOL|ADDROW)\b"),
        "a prompt can't be cut into parts; a further line is encoded by itself",
    ),
    (re.compile(r"(?<=[^A-Z\s])\s+AND\s+(?=[^A-Z\s])"), "prompts can't be combined with AND"),
    (
        re.compile(
            r"(?<!\S)--(?:ar|aspect|v|version|niji|no|neg|style|stylize|chaos|seed|quality|iw|[cs]ref)\b[^,\n-]*"
        ),
        "options of other programs are inputs of nodes here",
    ),
    (re.compile(r"^\s*negative prompt\s*:", re.IGNORECASE), "the negative prompt is an input of its own"),
    (re.compile(r"__[\w-]+__"), "its list names itself again and again"),
)


def unread_syntax(text: str) -> Iterator[str]:
    """Yield a notice for each piece of a composed text that looks like syntax but is read as words."""
    for pattern, way_out in READ_AS_WORDS:
        for found in pattern.finditer(text):
            piece = found[0] if len(found[0]) <= LONGEST else f"{found[0][:LONGEST]}…"
            yield f"{piece!r} is read as words: {way_out}"
