"""The small tokenizer: CLIP's format, with the same ids in training and in transformers."""

from __future__ import annotations

from collections import Counter

from fooocus_stages.pocket.training import tokenizer
from transformers import CLIPTokenizer

WORDS = Counter({"a": 4, "red": 2, "star": 1, "on": 2, "blue": 1, "background": 2, "square": 1, "green": 1})


def test_ids_are_in_clips_order():
    small = tokenizer.Tokenizer(tokenizer.learn_merges(WORDS, 20))
    assert len(small) == 512 + 20 + 2
    assert small.vocabulary[tokenizer.START] == small.start == len(small) - 2
    assert small.vocabulary[tokenizer.END] == small.end == len(small) - 1


def test_a_common_word_becomes_one_token():
    small = tokenizer.Tokenizer(tokenizer.learn_merges(WORDS, 60))
    assert len(small.ids("background")) == 1
    assert small.ids("Red  STAR") == small.ids("red star")


def test_a_section_holds_77_tokens():
    small = tokenizer.Tokenizer(tokenizer.learn_merges(WORDS, 20))
    section = small.section("red " * 200, pad=0)
    assert len(section) == 77
    assert (section[0], section[-1]) == (small.start, small.end)
    assert small.section("", pad=7) == [small.start, small.end] + [7] * 75


def test_saved_files_mean_the_same_to_transformers(tmp_path):
    small = tokenizer.Tokenizer(tokenizer.learn_merges(WORDS, 30))
    small.save(tmp_path)
    theirs = CLIPTokenizer.from_pretrained(str(tmp_path))
    assert tokenizer.load(tmp_path).vocabulary == small.vocabulary
    for text in ("a red star, on blue", "Café it's 12:30 — x"):
        assert theirs(text)["input_ids"][1:-1] == small.ids(text)
