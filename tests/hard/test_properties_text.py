"""What holds of every prompt: weights, sections, wildcards, arrays, LoRA tags and composing, by random texts."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.pipelines.settings import MAX_LORAS, MAX_SEED
from fooocus_stages.pipelines.stages.prompts.prompt import apply_arrays, compose, take_lora_tags
from fooocus_stages.pipelines.text.emphasis import LARGE, SECTION, pack, weighted_segments
from fooocus_stages.pipelines.text.wildcards import apply_wildcards
from fooocus_stages.pipelines.types import Lora
from hypothesis import given, settings
from hypothesis import strategies as st

START, END, PAD = 1, 2, 3
MANY = settings(max_examples=150)


@dataclass(frozen=True)
class Group:
    """Round parentheses around parts, with a weight written in or without one."""

    parts: tuple[Part, ...]
    weight: float | None


Part = str | Group

plain = st.text(alphabet="ab ,.\n0", min_size=1, max_size=6)
numbers = st.sampled_from([0.5, 1.0, 1.3, 2.0, -1.0, 0.25])


def parts_of(inner: st.SearchStrategy[Part]) -> st.SearchStrategy[tuple[Part, ...]]:
    """Parts in a row, no two texts beside each other: they would be one."""
    return st.lists(inner, min_size=1, max_size=4).filter(apart).map(tuple)


def apart(row: Sequence[Part]) -> bool:
    return not any(isinstance(a, str) and isinstance(b, str) for a, b in itertools.pairwise(row))


groups = st.recursive(
    plain, lambda inner: st.builds(Group, parts_of(inner), st.none() | numbers), max_leaves=12
)  # fmt: skip


def written(part: Part) -> str:
    """A part as a person writes it; the parentheses of plain words are escaped."""
    if isinstance(part, str):
        return part.replace(".", "\\(").replace("0", "\\)")
    weight = "" if part.weight is None else f":{part.weight}"
    return "(" + "".join(map(written, part.parts)) + weight + ")"


def weighed(part: Part, around: float) -> list[tuple[str, float]]:
    """The segments that a part stands for: a written weight holds as it is, others are 1.1 times those around."""
    if isinstance(part, str):
        return [(part.replace(".", "(").replace("0", ")"), around)]
    inside = around * 1.1 if part.weight is None else part.weight
    return [segment for one in part.parts for segment in weighed(one, inside)]


@MANY
@given(parts_of(groups))
def test_weights_are_those_of_the_parentheses_around(parts: tuple[Part, ...]) -> None:
    expected = [segment for part in parts for segment in weighed(part, 1.0)]
    assert weighted_segments("".join(map(written, parts))) == expected


@MANY
@given(st.lists(st.integers(0, 100), max_size=40))
def test_sections_hold_every_token_once_and_keep_short_words_whole(lengths: list[int]) -> None:
    ids = itertools.count(10)
    words = [[(next(ids), 1.0) for _ in range(length)] for length in lengths]
    sections = [[token for token, _ in section] for section in pack(words, START, END, PAD)]
    assert all(len(section) == SECTION and section[0] == START for section in sections)
    kept = [[token for token in section if token >= 10] for section in sections]
    assert [token for section in kept for token in section] == [token for word in words for token, _ in word]
    for section, tokens in zip(sections, kept, strict=True):
        assert section == ([START, *tokens, END] + [PAD] * SECTION)[:SECTION]
    places = {token: number for number, tokens in enumerate(kept) for token in tokens}
    for word in words:
        if 0 < len(word) < LARGE:
            assert len({places[token] for token, _ in word}) == 1


entries = st.lists(st.text("xyz", min_size=1, max_size=2), min_size=1, max_size=3)
names = st.sampled_from(["colour", "animal", "nobody"])
LISTS = {"colour": ("red", "blue", "green"), "animal": ("cat", "dog")}
lines = st.lists(st.text(alphabet="ab ,", max_size=5) | names.map(lambda name: f"__{name}__"), max_size=8).map(" ".join)


@MANY
@given(lines, st.integers(0, 9), st.integers(0, 2**32))
def test_wildcards_are_filled_in_from_the_left(text: str, index: int, seed: int) -> None:
    def ordered(found: re.Match[str]) -> str:
        words = LISTS.get(found[1])
        return words[index % len(words)] if words else found[1]

    def drawn(found: re.Match[str]) -> str:
        words = LISTS.get(found[1])
        return chance.choice(words) if words else found[1]

    untouched, chance = random.Random(seed), random.Random(seed)
    assert apply_wildcards(text, LISTS, untouched, index, in_order=True) == re.sub("__([a-z]+)__", ordered, text)
    assert untouched.getstate() == random.Random(seed).getstate()
    assert apply_wildcards(text, LISTS, untouched) == re.sub("__([a-z]+)__", drawn, text)


@MANY
@given(st.lists(entries, max_size=3), st.integers(0, 99))
def test_arrays_go_through_every_combination(arrays: list[list[str]], index: int) -> None:
    arrays = [[f"{i}{entry}" for entry in array] for i, array in enumerate(arrays)]
    text = "a " + " ".join("[[" + ",".join(array) + "]]" for array in arrays)
    every = [combination[::-1] for combination in itertools.product(*arrays[::-1])]
    assert apply_arrays(text, index) == " ".join(["a", *every[index % len(every)]]) + (" " if not arrays else "")


FILES = ["ink.safetensors", "sub/paint.safetensors", "oil.pt", "a.safetensors", "b.safetensors", "c.safetensors"]
tags = st.lists(st.tuples(st.sampled_from([PurePosixPath(f).stem for f in FILES] + ["nobody"]), numbers), max_size=8)


@MANY
@given(tags, st.lists(st.sampled_from(FILES), unique=True, max_size=4), st.booleans())
def test_tags_add_the_files_that_are_there_up_to_five(
    tags: list[tuple[str, float]], wired: list[str], required: bool
) -> None:
    loras = [Lora(name, 0.5) for name in wired] + ([Lora("mode.safetensors", 1.0, required=True)] if required else [])
    line = "a fox" + "".join(f", <lora:{name}:{weight}>" for name, weight in tags)
    text, taken = take_lora_tags(line, loras, FILES)
    stems = {PurePosixPath(file).stem: file for file in FILES}
    asked = [Lora(stems[name], weight) for name, weight in tags if name in stems and stems[name] not in wired]
    chosen = [lora for lora in taken if not lora.required]
    assert text == "a fox"
    assert chosen[: len(wired)] == loras[: len(wired)]
    assert chosen[len(wired) :] == list(dict.fromkeys(asked))[: MAX_LORAS - len(wired)]
    assert [lora for lora in taken if lora.required] == [lora for lora in loras if lora.required]


def composed(text: str, negative: str, seed: int, count: int) -> Sequence[object] | str:
    try:
        return compose(text, negative, seed=seed, count=count, wildcards=LISTS, available_loras=FILES)[0]
    except UserError as error:
        return str(error)


@MANY
@given(st.text(), st.text(), st.integers(0, MAX_SEED), st.integers(1, 4))
def test_any_text_is_composed_the_same_twice(text: str, negative: str, seed: int, count: int) -> None:
    prompts, _ = compose(text, negative, seed=seed, count=count, wildcards=LISTS, available_loras=FILES)
    assert [prompt.seed for prompt in prompts] == [(seed + i) % (MAX_SEED + 1) for i in range(count)]
    assert all(prompt.positive and prompt.negative for prompt in prompts)
    assert composed(text, negative, seed, count) == prompts
    assert composed(text, negative, seed, 1) == prompts[:1]
