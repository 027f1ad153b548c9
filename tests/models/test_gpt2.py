"""The expansion model against the `generate` of transformers, its words and its broken files."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.pipelines.models import gpt2
from fooocus_stages.pipelines.text.expansion import ExpansionFiles, safe_str
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessor,
    LogitsProcessorList,
    set_seed,
)

POCKETS = POCKET / "prompt_expansion" / "fooocus_expansion"
CPU = torch.device("cpu")
TEXTS = [
    "a red circle on a blue background",
    " a   fox , which isn ' t there..  ",
    "\u65e5\u672c café “naïve” \U0001f642\tx",
    "a small star, " * 11,
    "fine light, sharp focus",
    ",",
]


def files_in(folder: Path, weights: str = "model.safetensors") -> ExpansionFiles:
    vocabulary = (folder / "vocab.json", folder / "merges.txt")
    return ExpansionFiles(folder / "config.json", folder / "positive.txt", vocabulary, folder / weights)


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of strong random weights, written by transformers, with the pocket's vocabulary and words."""
    folder = tmp_path_factory.mktemp("gpt2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        end = {"bos_token_id": 699, "eos_token_id": 699}
        config = GPT2Config(
            vocab_size=700, n_positions=160, n_embd=48, n_layer=2, n_head=4, initializer_range=0.3, **end
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "positive.txt"):
        shutil.copy(POCKETS / name, folder)
    return folder


@pytest.fixture(params=["pocket", "random"])
def folder(request: pytest.FixtureRequest, random_folder: Path) -> Path:
    return POCKETS if request.param == "pocket" else random_folder


class OnlyFreshWords(LogitsProcessor):
    """Fooocus's rule, token by token."""

    def __init__(self, allowed: set[int], comma: int) -> None:
        self.allowed, self.comma = allowed, comma

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        used = set(input_ids[0].tolist())
        free = [i == self.comma or (i in self.allowed and i not in used) for i in range(scores.shape[1])]
        return scores + torch.tensor([[0.0 if ok else -8192.0 for ok in free]])


@cache
def published(folder: Path) -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval(), tokenizer


def generated(folder: Path, text: str, seed: int) -> str:
    """The same by transformers' own tokenizer, network, generator and loop."""
    network, tokenizer = published(folder)
    words = [f"\u0120{word}" for word in (folder / "positive.txt").read_text("utf-8").split()]
    allowed = {i for token, i in tokenizer.get_vocab().items() if token in words}
    prompt = safe_str(text) + ","
    inputs = tokenizer(prompt, return_tensors="pt")
    count = inputs["input_ids"].shape[1]
    set_seed(seed % 2**32)
    output = network.generate(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=True, top_k=100,
        max_new_tokens=75 * math.ceil(count / 75) - count, pad_token_id=699,
        logits_processor=LogitsProcessorList([OnlyFreshWords(allowed, tokenizer.get_vocab()[","])]),
    )  # fmt: skip
    decoded = tokenizer.decode(output[0], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return safe_str(tokenizer.clean_up_tokenization(decoded))


@pytest.mark.parametrize("text", TEXTS)
def test_it_writes_what_generate_writes(folder: Path, text: str) -> None:
    model = gpt2.load_expansion(files_in(folder))
    for seed in (7, 2**40 + 5):
        assert gpt2.continued(model, text, seed, CPU) == generated(folder, text, seed)


def test_global_generators_are_neither_used_nor_changed() -> None:
    model = gpt2.load_expansion(files_in(POCKETS))
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes())
    first = gpt2.continued(model, TEXTS[0], 3, CPU)
    after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.rand(5)
    assert gpt2.continued(model, TEXTS[0], 3 + 2**32, CPU) == first
    assert gpt2.continued(model, TEXTS[0], 4, CPU) != first


def test_words_come_from_the_list_and_only_once(folder: Path) -> None:
    model = gpt2.load_expansion(files_in(folder))
    words = set((folder / "positive.txt").read_text("utf-8").split())
    for seed in range(4):
        text = gpt2.continued(model, "a sharp red circle in fine light", seed, CPU)
        assert text.startswith("a sharp red circle in fine light, ")
        added = re.findall(r"\w+", text.removeprefix("a sharp red circle in fine light"))
        assert set(added) <= words - {"sharp", "fine", "light"}
        assert len(added) == len(set(added)) > 10


@pytest.mark.parametrize(("text", "expected"), [("", ""), ("\ud800 a", "? a,"), ("a<|endoftext|>b", "ab,")])
def test_odd_texts(text: str, expected: str) -> None:
    assert gpt2.continued(gpt2.load_expansion(files_in(POCKETS)), text, 0, CPU).startswith(expected)


@pytest.mark.parametrize("count", [75, 300, 310, 2000])
def test_a_full_text_and_one_beyond_the_positions_stay_as_they_are(count: int) -> None:
    text = " ".join(["a", *["red"] * (count - 2)])
    assert gpt2.continued(gpt2.load_expansion(files_in(POCKETS)), text + " .", 0, CPU) == text


def test_a_text_near_the_last_position_is_continued_up_to_it(random_folder: Path) -> None:
    model = gpt2.load_expansion(files_in(random_folder))
    text = " ".join(["a", *["red"] * 153])
    ids = model.tokenizer.encode(gpt2.continued(model, text, 0, CPU)).ids
    assert 155 < len(ids) <= 160


def test_each_word_can_be_stopped() -> None:
    asked = []

    def stop() -> None:
        asked.append(1)
        if len(asked) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gpt2.continued(gpt2.load_expansion(files_in(POCKETS)), "a", 0, CPU, stop)
    assert len(asked) == 5


def test_the_bias_bans_what_is_used_and_never_the_comma() -> None:
    bias = torch.tensor([0.0, 0.0, -8192.0, -8192.0, 0.0])
    used = torch.tensor([[1, 2, 3, 1]])
    assert gpt2.bias_of_unused(bias, used, comma=3).tolist() == [0.0, -8192.0, -8192.0, 0.0, 0.0]
    assert bias.tolist() == [0.0, 0.0, -8192.0, -8192.0, 0.0]


@pytest.mark.parametrize(
    ("k", "kept"), [(1, {1}), (2, {1, 2, 4}), (3, {1, 2, 4}), (4, {0, 1, 2, 4}), (100, set(range(5)))]
)
def test_the_best_scores_stay_with_their_ties(k: int, kept: set[int]) -> None:
    scores = gpt2.keep_best(torch.tensor([[0.5, 3.0, 2.0, -1.0, 2.0]]), k)
    assert {i for i, score in enumerate(scores[0].tolist()) if score > -math.inf} == kept


def test_the_published_form_reads_the_same(random_folder: Path, tmp_path: Path) -> None:
    """A pickle in half precision with causal masks and an output layer of its own, and tokenizer.json alone."""
    shutil.copytree(random_folder, tmp_path, dirs_exist_ok=True)
    state = {key: tensor.half() for key, tensor in load_file(random_folder / "model.safetensors").items()}
    state["lm_head.weight"] = torch.full_like(state["transformer.wte.weight"], 3.0)  # tied: never heard
    for layer in range(2):
        state[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 160, 160).tril().byte()
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(state, tmp_path / "fooocus_expansion.bin")
    expected = gpt2.load_expansion(files_in(random_folder))
    expected.tokenizer.save(str(tmp_path / "tokenizer.json"))
    files = replace(files_in(tmp_path, "fooocus_expansion.bin"), tokenizer=(tmp_path / "tokenizer.json",))
    expected.module.half().float()
    for seed, text in enumerate(TEXTS[:3]):
        theirs = gpt2.continued(expected, text, seed, CPU)
        assert gpt2.continued(gpt2.load_expansion(files), text, seed, CPU) == theirs


def test_words_that_are_no_token_are_counted(tmp_path: Path) -> None:
    shutil.copytree(POCKETS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "positive.txt").write_text("sharp\nunheardof\ntwo words\n", "utf-8")
    model = gpt2.load_expansion(files_in(tmp_path))
    assert model.unknown == ("unheardof", "two words")
    assert set(re.findall(r"\w+", gpt2.continued(model, "a", 0, CPU))) == {"a", "sharp"}


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("config.json", lambda p: p.write_text("{", "utf-8"), r"config\.json is not valid JSON"),
        ("config.json", lambda p: p.write_text("[1]", "utf-8"), r"config\.json should be the config of a GPT-2"),
        ("config.json", lambda p: rewrite(p, lambda c: c.update(model_type="bert")), "should be the config of a GPT-2"),
        ("config.json", lambda p: rewrite(p, lambda c: c.pop("n_head")), "n_head should be a count of heads, not None"),
        ("config.json", lambda p: rewrite(p, lambda c: c.update(n_head=3)), r"config\.json does not match model"),
        ("config.json", lambda p: rewrite(p, lambda c: c.update(activation_function="x")), "does not match"),
        ("vocab.json", lambda p: p.write_text("{", "utf-8"), r"vocab\.json with merges\.txt .* can't be read"),
        ("vocab.json", lambda p: rewrite(p, lambda c: c.update({"\u0120x y": 900})), "vocab.json is not a vocabulary"),
        ("vocab.json", lambda p: rewrite(p, lambda c: c.update({"\u0120x y": 700})), "has 700 tokens and .* has 701"),
        ("merges.txt", lambda p: p.write_text("#version: 0.2\nno such\n", "utf-8"), r"merges\.txt .* can't be read"),
        ("merges.txt", lambda p: p.unlink(), r"merges\.txt .* can't be read"),
        ("positive.txt", lambda p: p.write_text("nowhere\n", "utf-8"), r"positive\.txt: none of its 1 words"),
        ("model.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-9]), r"model\.safetensors is truncated"),
        ("model.safetensors", lambda p: p.write_text("<html>", "utf-8"), r"model\.safetensors is a web page"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path: Path, name: str, spoil: Callable[[Path], object], message: str) -> None:
    shutil.copytree(POCKETS, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path / name)
    with pytest.raises(BadFile, match=message):
        gpt2.load_expansion(files_in(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("transformer.ln_f.bias"), "is incomplete: the expansion model is missing 1 weight"),
        (lambda s: s.pop("transformer.wpe.weight"), "is incomplete: 'transformer.wpe"),
        (lambda s: s.update(foreign=torch.ones(2)), "has no place for 1 weight"),
        (lambda s: s.update({"transformer.h.1.ln_1.bias": torch.ones(3)}), "needs transformer.h.1.ln_1.bias of shape"),
    ],
)
def test_weights_that_fit_only_in_part_are_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    shutil.copytree(POCKETS, tmp_path, dirs_exist_ok=True)
    state = load_file(POCKETS / "model.safetensors")
    change(state)
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadFile, match=message):
        gpt2.load_expansion(files_in(tmp_path, "pytorch_model.bin"))


def test_no_weights() -> None:
    with pytest.raises(MissingFile, match=r"nothing\.bin"):
        gpt2.load_expansion(files_in(POCKETS, "nothing.bin"))
