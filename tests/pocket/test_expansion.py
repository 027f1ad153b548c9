"""The pocket's expansion model: its words change nothing in an image, and training can be resumed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.gpt2 import read_tokenizer
from fooocus_stages.pipelines.stages.prompts import expand
from fooocus_stages.pocket.training import draw, expansion, painting, tokenizer
from safetensors import safe_open
from transformers import AutoModelForCausalLM

COMMITTED = painting.MODELS / expansion.FOLDER


@pytest.fixture(scope="module")
def read() -> tokenizer.Tokenizer:
    """The pocket model's CLIP tokenizer."""
    return tokenizer.load(next((painting.MODELS / "checkpoints").glob("*.tokenizer")))


def test_the_words_tell_nothing_of_the_scene():
    places = {word for phrases in draw.PLACES.values() for phrase in phrases for word in phrase.split()}
    sizes = {"small", "little", "tiny", "large", "big", "huge", "medium", "centre"}
    told = {*draw.COLOURS, *draw.SHAPES, *draw.PATTERNS, *sizes, *places, "background"}
    assert not told & set(expansion.WORDS)


def test_the_committed_files_are_those_of_the_program():
    learned = expansion.learn_tokenizer()
    assert json.loads((COMMITTED / "vocab.json").read_text("utf-8")) == learned.get_vocab()
    assert (COMMITTED / "positive.txt").read_text("utf-8").split() == expansion.WORDS
    with safe_open(COMMITTED / "model.safetensors", "pt") as file:
        assert "It is not the model whose folder it lies in" in file.metadata()["modelspec.description"]


def test_every_word_is_one_token_for_the_expansion_and_for_the_reader(read):
    vocabulary = json.loads((COMMITTED / "vocab.json").read_text("utf-8"))
    assert vocabulary[","] == 11  # as in GPT-2
    assert [word for word in expansion.WORDS if f"\u0120{word}" not in vocabulary or len(read.ids(word)) != 1] == []


def test_an_expanded_caption_keeps_its_words_and_fits_one_section(read):
    rng = np.random.default_rng(2)
    host = LocalHost([painting.MODELS], device="cpu")
    for seed in range(5):
        caption = draw.caption(draw.random_scene(rng), rng)
        text = expand.expand(host, caption, seed)
        assert text.startswith(f"{caption}, ")
        assert 70 <= len(read.ids(text)) <= 75
        pieces = text.removeprefix(f"{caption}, ").split(", ")
        assert sum(piece in expansion.PHRASES for piece in pieces) > len(pieces) / 2


def test_a_training_can_be_resumed_and_its_files_open_in_transformers(tmp_path):
    for steps in (1, 2):
        expansion.train(tmp_path, minutes=1e-9)  # one step
        assert torch.load(tmp_path / "expansion.pt", weights_only=True)["step"] == steps
    begun = loss_of(expansion.write(tmp_path, tmp_path / "models"))
    assert 3 * loss_of(COMMITTED) < begun < 1.1 * np.log(700)


@torch.no_grad()
def loss_of(folder):
    """Mean cross-entropy of an unseen text, as transformers computes it."""
    network = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    text = next(expansion.texts(np.random.default_rng(99)))
    ids = torch.tensor([read_tokenizer((folder / "vocab.json", folder / "merges.txt")).encode(text).ids[:75]])
    return float(network(input_ids=ids, labels=ids).loss)
