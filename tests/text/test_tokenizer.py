"""Tokens as Fooocus's tokenizer gives them; the installed transformers is the oracle where both agree."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import regex
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.text import tokenizer
from fooocus_stages.pipelines.text.tokenizer import ClipTokenizer, Vocabulary, clean, find_vocabulary, split_words
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

Write = Callable[[Path], None]
ORDINARY = (
    "a photo of a cat",
    "It's the dog's 3rd 12km run, they'll we've I'm you'd can't!",
    "Café naïve ÀÉÎ straße \u0130stanbul ŒUVRE \ufb01 e\u0301",
    "émoji \U0001f3a8\U0001f389",
    "\ud55c\uad6d\uc5b4 \u3072\u3089\u304c\u306a \u30ab\u30bf\u30ab\u30ca",
    "a_b-c/d\\e <tag> {x} [y] (z) :) ;-) ... !!!",
    "\uff11\uff12\uff13 \uff26\uff35\uff2c\uff2c ½ ² ³ \u2167 \u2463",
    "“quotes” ‘single’ don’t —dash–",
    "\ttabs\nand  spaces\u00a0nbsp",
    "<|endoftext|> x<|startoftext|>y !<|endoftext|>",
    "\u03a9 \u2248 ç \u221a \u222b"
    " \u0939\u093f\u0928\u094d\u0926\u0940"
    " \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u05e9\u05dc\u05d5\u05dd \u0639\u0631\u0628\u064a",
    "",
)
PATTERN = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    try:
        return find_vocabulary()
    except MissingFile as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def ours(vocabulary: Vocabulary) -> ClipTokenizer:
    return ClipTokenizer(vocabulary)


@pytest.fixture(scope="module")
def theirs(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("clip")
    (folder / "vocab.json").write_text(json.dumps(dict(vocabulary.ids)), "utf-8")
    merges = "\n".join(" ".join(pair) for pair in vocabulary.merges)
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges + "\n", "utf-8")
    return CLIPTokenizer.from_pretrained(str(folder))


def test_the_published_vocabulary(vocabulary: Vocabulary, ours: ClipTokenizer) -> None:
    assert len(vocabulary.ids) == 49408
    assert (ours.start, ours.end) == (49406, 49407)
    assert ours.ids("a photo of a cat") == [320, 1125, 539, 320, 2368]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_as_transformers_reads_it(ours: ClipTokenizer, theirs: CLIPTokenizer, text: str) -> None:
    assert ours.ids(text) == theirs(text)["input_ids"][1:-1]


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.characters(max_codepoint=0x24F, exclude_categories=("C",)), max_size=30))
def test_any_latin_text_as_transformers_reads_it(ours: ClipTokenizer, theirs: CLIPTokenizer, text: str) -> None:
    assert ours.ids(text) == theirs(text)["input_ids"][1:-1]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("\u732bcat", [163, 234, 360, 2368]),
        ("\u65e5\u672c", [37156, 19277, 361]),
        ("a\u200bb", [3937]),
        ("a\ufffdb", [3937]),
        ("a\u00adb", [3937]),
        ("a\x07b\x00", [3937]),
    ],
)
def test_what_fooocus_reads_otherwise(ours: ClipTokenizer, text: str, ids: list[int]) -> None:
    assert ours.ids(text) == ids


@given(st.text(alphabet="aZéß'stremlvd19²_ .,<|>\U0001f3a8\u017f\u5b57\u00a0", max_size=20))
def test_words_are_cut_by_clips_pattern(text: str) -> None:
    cleaned = clean(text).replace("\u017f", "s")  # whose case-blind matching takes the long s for an s
    assert list(split_words(cleaned)) == PATTERN.findall(cleaned)


def test_sections_have_start_end_padding_and_weights(ours: ClipTokenizer) -> None:
    assert ours.sections("", pad=0) == [[(49406, 1.0), (49407, 1.0), *[(0, 1.0)] * 75]]
    assert ours.sections("a (red:1.3)", pad=49407)[0][:4] == [(49406, 1.0), (320, 1.0), (736, 1.3), (49407, 1.0)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a embedding:x cat", [(320, 1.0), (49408, 1.0), (49409, 1.0), (2368, 1.0)]),
        ("a (embedding:x,:1.3) cat", [(320, 1.0), (49408, 1.3), (49409, 1.3), (267, 1.3), (2368, 1.0)]),
        ("embedding:y cat", [(2368, 1.0)]),
        ("Embedding:cat", [(19703, 1.0), (796, 1.0), (281, 1.0), (2368, 1.0)]),
    ],
)
def test_embedding_words(ours: ClipTokenizer, text: str, tokens: list[tuple[int, float]]) -> None:
    section = ours.sections(text, 0, {"x": range(49408, 49410)})[0]
    assert section[1 : section.index((49407, 1.0))] == tokens


def test_a_vocabulary_beside_the_model_comes_first(tmp_path: Path, write_tokenizer: Write) -> None:
    write_tokenizer(tmp_path / "small.tokenizer")
    found = find_vocabulary(tmp_path / "small.safetensors")
    assert list(found.merges) == [("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "t</w>")]
    tokens = ClipTokenizer(found)
    assert [len(tokens.ids(word)) for word in ("red", "cat", "cart")] == [1, 1, 3]
    assert (tokens.start, tokens.end) == (516, 517)


def test_the_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tokenizer: Write) -> None:
    for name in ("comfy", "open_clip"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(tokenizer, "_in_hub_cache", lambda: None)
    with pytest.raises(MissingFile, match="open_clip_torch"):
        find_vocabulary(tmp_path / "model.safetensors")
    write_tokenizer(tmp_path / "cache")
    monkeypatch.setattr(
        tokenizer, "_in_hub_cache", lambda: (tmp_path / "cache/vocab.json", tmp_path / "cache/merges.txt")
    )
    assert find_vocabulary().source == str(tmp_path / "cache")
    host = ModuleType("comfy")
    host.__path__ = [str(tmp_path)]
    write_tokenizer(tmp_path / "sd1_tokenizer")
    monkeypatch.setitem(sys.modules, "comfy", host)
    assert find_vocabulary().source == str(tmp_path / "sd1_tokenizer")


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        ("no json", "", "can't be read"),
        ("[]", "", "not a vocabulary"),
        ('{"a": 3}', "", "its ids"),
        ('{"a": 0, "b": 1}', "", "last two entries"),
        ('{"<|startoftext|>": 0, "<|endoftext|>": 1}', "a b c", "can't be read"),
    ],
)
def test_a_broken_vocabulary(tmp_path: Path, vocab: str, merges: str, message: str) -> None:
    folder = tmp_path / "m.tokenizer"
    folder.mkdir()
    (folder / "vocab.json").write_text(vocab, "utf-8")
    (folder / "merges.txt").write_text(merges, "utf-8")
    with pytest.raises(BadFile, match=message):
        find_vocabulary(tmp_path / "m.safetensors")
