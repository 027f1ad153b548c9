"""Prompt composition: from the typed prompt to the texts of each image (Fooocus async_worker.py: process_prompt)."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from ...errors import BadFile, BadValue, MissingFile, did_you_mean
from ...files import file_state
from ...host import Host, files_of
from ...names import base, match_file, match_name, same, stem
from ...settings import EXPANSION_STYLE, MAX_LORAS, MAX_SEED, NO_FILE, NO_STYLE, RANDOM_STYLE
from ...text.expansion import Expander, safe_str, stand_in_expander
from ...text.styles import HOW_TO_GET, Style, Styles, bundled_styles, is_style_file, load_order, read_style_file
from ...text.unread import unread_syntax
from ...text.wildcards import Wildcards, apply_wildcards
from ...types import Lora, Prompt
from .expand import find_expander

LORA_TAG = re.compile(r"<lora:([^:]+):([+-]?(?:\d+(?:\.\d*)?|\.\d+))>")
PSEUDO_STYLES = (EXPANSION_STYLE, RANDOM_STYLE)
STYLE_KINDS = ("styles", "sdxl_styles")
FEW = 3

Notice = Callable[[str], None]


def _ignore(text: str) -> None:
    """Discard a notice."""


def compose(
    text: str,
    negative: str = "",
    styles: Sequence[str] = (),
    loras: Sequence[Lora] = (),
    seed: int = 0,
    count: int = 1,
    *,
    known: Styles | None = None,
    wildcards: Mapping[str, Sequence[str]] | None = None,
    available_loras: Sequence[str] = (),
    in_order: bool = False,
    increment_seed: bool = True,
    expander: Expander = stand_in_expander,
    notice: Notice = _ignore,
) -> tuple[tuple[Prompt, ...], tuple[Lora, ...]]:
    """Compose the texts of `count` (>= 1) images, and collect the wired LoRAs and those tagged in the first line.

    The first line of each prompt is its primary line, to which styles apply; arrays, LoRA tags and the expansion apply
    only to the positive one. Image i has the seed (seed + i) mod 2**63, or `seed` without `increment_seed`; one
    `random.Random` of that seed draws wildcards (primary, negative, further lines) and then random styles.
    Raises UnknownName for a style that is not in `known`, BadValue for a LoRA weight or wildcard out of bounds.
    """
    if count < 1:
        raise BadValue(f"the number of images should be at least 1, not {count}")
    book = known if known is not None else Styles()
    positives, negatives = _lines(text), _lines(negative)
    expands = _expands(styles, positives)
    notice = _once(notice)
    chosen = [name if name == RANDOM_STYLE else book.named(name).name for name in styles if name != EXPANSION_STYLE]
    primary, all_loras = take_lora_tags(positives[0], loras, available_loras, notice)
    fill = partial(_fill_in, words=wildcards or {}, in_order=in_order, missing=partial(_no_wildcard, notice, wildcards))

    prompts = []
    for index in range(count):
        image_seed = (seed + index * increment_seed) % (MAX_SEED + 1)
        rng = random.Random(image_seed)
        line = apply_arrays(fill(primary, rng, index), index)
        negative = fill(negatives[0], rng, index)
        more = [fill(extra, rng, index) for extra in positives[1:]]
        negative_more = [fill(extra, rng, index) for extra in negatives[1:]]
        lines, negative_lines = (line, *more), (negative, *negative_more)
        for sentence in (sentence for part in (*lines, *negative_lines) for sentence in unread_syntax(part)):
            notice(sentence)
        resolved = [_draw_style(book, rng) if name == RANDOM_STYLE else name for name in chosen]
        expansion = expander(line, image_seed) if expands else None
        prompts.append(_prompt(lines, negative_lines, [book[name] for name in resolved], image_seed, expansion))
    return tuple(prompts), all_loras


def _prompt(
    lines: Sequence[str], negative_lines: Sequence[str], styles: Sequence[Style], seed: int, expansion: str | None
) -> Prompt:
    """Apply the styles to the lines of one image, the primary line first. `expansion` is None if it is off."""
    styled, style_negatives = _apply_styles(styles, lines[0])
    positive = _without_empty([*styled, *lines[1:]], lines[0])
    negative = _without_empty([*style_negatives, *negative_lines], negative_lines[0])
    names = [style.name for style in styles]
    return Prompt(
        positive=tuple(positive) if expansion is None else (*positive, expansion),
        negative=tuple(negative),
        positive_top_k=len(positive),
        negative_top_k=len(negative),
        seed=seed,
        text="\n".join(lines),
        negative_text="\n".join(negative_lines),
        styles=tuple(names) if expansion is None else (EXPANSION_STYLE, *names),
        expansion=expansion or "",
    )


def compose_with(
    host: Host,
    text: str,
    negative: str = "",
    styles: str | Iterable[str] = "",
    loras: Sequence[Lora] = (),
    seed: int = 0,
    count: int = 1,
    in_order: bool = False,
    increment_seed: bool = True,
    styles_dir: Path | None = None,
    wildcards_dir: Path | None = None,
) -> tuple[tuple[Prompt, ...], tuple[Lora, ...]]:
    """Call `compose` with the host's styles, wildcards and LoRA files; the folders given here are searched first.

    `styles`: names, or one text of comma-separated names. A notice reports stand-ins, missing wildcards and LoRA tags
    without a file. The expansion model is loaded only if it is used. Raises MissingFile for a missing folder or an
    incomplete expansion model, and BadFile for a broken file.
    """
    known = find_styles(host, styles_dir)
    names = split_styles(styles, known) if isinstance(styles, str) else _real_names(styles)
    _notice_stand_ins(host, known, names)
    return compose(
        text, negative, names, loras, seed, count,
        known=known, wildcards=find_wildcards(host, wildcards_dir), available_loras=host.names("loras"),
        in_order=in_order, increment_seed=increment_seed, notice=host.notice,
        expander=find_expander(host) if _expands(names, _lines(text)) else stand_in_expander,
    )  # fmt: skip


def style_names(host: Host, styles_dir: Path | None = None) -> list[str]:
    """List every available style: the two pseudo styles, those in files, the pack's own and its stand-ins.

    A broken style file is skipped with a notice, so that a list can always be shown.
    """
    return [*PSEUDO_STYLES, *find_styles(host, styles_dir, broken=lambda error: host.notice(str(error)))]


def check_styles(host: Host, names: Iterable[str | None], styles_dir: Path | None = None) -> None:
    """Raise UnknownName for the first unknown style; None, '' and 'None' mean no style."""
    known = find_styles(host, styles_dir)
    for text in _real_names(names):
        for name in split_styles(text, known):
            if name not in PSEUDO_STYLES:
                known.named(name)


def join_styles(names: Iterable[str]) -> str:
    """Join style names, or lists of them, into one text, in order; '' and 'None' are left out."""
    return ", ".join(_real_names(names))


def split_styles(text: str, known: Iterable[str] = ()) -> list[str]:
    """Split a text into style names at commas and line ends; a name in `known` may contain commas."""
    pieces = [piece.strip() for piece in re.split(r"[,\n]", text)]
    with_commas = {name for name in known if "," in name}
    names = []
    while pieces:
        fits = (n for n in range(len(pieces), 1, -1) if ", ".join(pieces[:n]) in with_commas)
        taken = next(fits, 1)
        names.append(", ".join(pieces[:taken]))
        del pieces[:taken]
    return _real_names(names)


def find_styles(host: Host, styles_dir: Path | None = None, broken: Callable[[BadFile], None] | None = None) -> Styles:
    """Collect the styles of `styles_dir`, of the host's folders `styles` and `sdxl_styles`, and of the pack.

    The first style of a name, in that order, wins. `broken` is called with the error of a broken file; without it, the
    error is raised.
    """
    folders = [[styles_dir / name for name in _listed("styles", styles_dir)]] if styles_dir else []
    folders += [[host.find(kind, name) for name in load_order(host.names(kind))] for kind in STYLE_KINDS]
    found: dict[str, Style] = {}
    listed = [*(files_of("styles", styles_dir) if styles_dir else ()), *chain(*map(host.names, STYLE_KINDS))]
    unread = [name for name in listed if not is_style_file(name)]
    for files in folders:
        for name, style in Styles(_read_all(host, files, broken)).items():
            found.setdefault(name, style)
    for style in bundled_styles():
        found.setdefault(style.name, style)
    return Styles(found.values(), unread)


def find_wildcards(host: Host, wildcards_dir: Path | None = None) -> Wildcards:
    """Collect the word lists of `wildcards_dir`, then of the host's folder `wildcards`; each is read on first use."""
    sources: list[tuple[str, Callable[[], Path]]] = []
    if wildcards_dir:
        sources += [(n, partial(wildcards_dir.joinpath, n)) for n in _listed("wildcards", wildcards_dir)]
    sources += [(name, partial(host.find, "wildcards", name)) for name in host.names("wildcards")]
    return Wildcards(sources)


def take_lora_tags(
    line: str, loras: Sequence[Lora], available: Sequence[str], notice: Notice = _ignore
) -> tuple[str, tuple[Lora, ...]]:
    """Remove the tags `<lora:name:weight>` from a line, tidy its commas, and return all LoRAs: wired, tagged, required.

    A tag selects the first available file of that stem or path; a file that is already wired or required is not added
    again. Tags add LoRAs up to five in all, not counting required ones
    (Fooocus modules/util.py: parse_lora_references_from_prompt, remove_performance_lora).
    """
    required = [lora for lora in loras if lora.required]
    wired = [lora for lora in loras if not lora.required and lora.name != NO_FILE]
    wired_files = {match_file(lora.name, available) or lora.name for lora in wired}
    required_names = [lora.name for lora in required]
    others = [file for file in available if not any(same(base(file), base(name)) for name in required_names)]

    tagged: list[Lora] = []
    pieces = line.split(",")
    for i, piece in enumerate(pieces):
        for tag in LORA_TAG.finditer(piece):
            file = match_file(tag[1], others)
            if file is None and match_file(tag[1], required_names) is None:
                notice(
                    f"no LoRA file is called {tag[1]!r}{did_you_mean(tag[1], map(stem, others))}: its tag is removed"
                )
            if file is not None and file not in wired_files:
                lora = Lora(file, _weight(tag))
                tagged += [lora] if lora not in tagged else []
            pieces[i] = pieces[i].replace(tag[0], "")
    room = max(0, MAX_LORAS - len(wired))
    if left_out := [lora.name for lora in tagged[room:]]:
        notice(f"an image takes at most {MAX_LORAS} LoRAs, so the tags of {', '.join(left_out)} are left out")
    return _tidy(", ".join(pieces)), (*wired, *tagged[:room], *required)


def apply_arrays(text: str, index: int) -> str:
    """Fill in combination `index` of the arrays `[[a,b]]`, the first array varying fastest (Fooocus apply_arrays)."""
    for array in _arrays(text):
        entries = array.split(",")
        index, entry = divmod(index, len(entries))
        text = text.replace(f"[[{array}]]", entries[entry], 1)
    return text


def _arrays(text: str) -> list[str]:
    """Return the contents of each `[[…]]`, in linear time for any text."""
    found, start = [], text.find("[[")
    while start >= 0 and (end := text.find("]]", start + 2)) >= 0:
        found.append(text[start + 2 : end])
        start = text.find("[[", end + 2)
    return found


def _lines(text: str) -> list[str]:
    return _without_empty([safe_str(line) for line in text.splitlines()], "")


def _expands(styles: Iterable[str], lines: Sequence[str]) -> bool:
    return EXPANSION_STYLE in styles and lines[0] != ""


def _once(notice: Notice) -> Notice:
    """Wrap `notice` so that each text is passed on only once."""
    shown: set[str] = set()

    def show(text: str) -> None:
        if text not in shown:
            shown.add(text)
            notice(text)

    return show


def _without_empty(texts: Iterable[str], default: str) -> list[str]:
    return [text for text in texts if text] or [default]


def _tidy(line: str) -> str:
    """Collapse spaces and commas, and put one space after each comma (Fooocus cleanup_prompt)."""
    pieces = re.sub(" +", " ", line).split(",")
    return ", ".join(stripped for piece in pieces if (stripped := piece.strip()))


def _weight(tag: re.Match[str]) -> float:
    weight = float(tag[2])
    if not math.isfinite(weight):
        raise BadValue(f"the weight of the LoRA tag {tag[1]!r} is too large: {tag[2][:20]}…")
    return weight


def _fill_in(
    text: str,
    rng: random.Random,
    index: int,
    words: Mapping[str, Sequence[str]],
    in_order: bool,
    missing: Callable[[str], None],
) -> str:
    return apply_wildcards(text, words, rng, index, in_order, missing)


def _no_wildcard(notice: Notice, words: Mapping[str, Sequence[str]] | None, name: str) -> None:
    others = words.unread(name) if isinstance(words, Wildcards) else ()
    more = f" and {len(others) - FEW} more" if len(others) > FEW else ""
    listed = f"; {', '.join(others[:FEW])}{more} can't be read: write one entry per line into {name}.txt"
    notice(f"the wildcard file {name}.txt is missing or empty: __{name}__ is read as text{listed if others else ''}")


def _draw_style(known: Styles, rng: random.Random) -> str:
    if not known.pool:
        raise BadValue(f"{RANDOM_STYLE!r} has no style to draw from; {HOW_TO_GET}")
    return rng.choice(known.pool)


def _apply_styles(styles: Sequence[Style], line: str) -> tuple[list[str], list[str]]:
    """Return the positive and negative lines of the styles, with `line` itself first if no style contains it."""
    positive: list[str] = [] if any(style.holds_prompt for style in styles) else [line]
    negative: list[str] = []
    for style in styles:
        lines, negative_lines = style.apply(line)
        positive += lines
        negative += negative_lines
    return positive, negative


def _real_names(names: Iterable[str | None]) -> list[str]:
    """The names of styles, the pseudo styles among them as they are spelled here; '' and 'None' are left out."""
    given = [name.strip() for name in names if name]
    return [match_name(name, PSEUDO_STYLES) or name for name in given if name and not same(name, NO_STYLE)]


def _notice_stand_ins(host: Host, known: Styles, names: Iterable[str]) -> None:
    used = [name for name in names if name not in PSEUDO_STYLES and known.named(name).origin == "stand-in"]
    if used:
        quoted = " and ".join(repr(known.named(name).name) for name in used)
        host.notice(f"{quoted}: a stand-in of this pack is used instead of Fooocus's style; {HOW_TO_GET}")


def _read_all(host: Host, files: Iterable[Path], broken: Callable[[BadFile], None] | None) -> Iterator[Style]:
    for file in files:
        try:
            yield from _read_once(host, file)
        except BadFile as error:
            if broken is None:
                raise
            broken(error)


def _listed(kind: str, folder: Path) -> list[str]:
    if not folder.is_dir():
        fault = "is a file" if folder.is_file() else "does not exist"
        raise MissingFile(f"the folder of {kind} {str(folder)!r} {fault}; name one that does")
    names = files_of(kind, folder)
    return load_order(names) if kind == "styles" else names


def _read_once(host: Host, file: Path) -> tuple[Style, ...]:
    """Read the styles of a file, again only after it has changed. Raises BadFile."""
    try:
        state = file_state(file)
    except OSError as error:
        raise BadFile(f"style file {file} can't be read: {error.strerror or error}") from error
    return host.keep(("styles", *state), lambda: read_style_file(file))
