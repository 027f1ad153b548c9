"""The pocket's prompt expansion model: a two-layer GPT-2 that continues captions with words that change nothing.

`python -m fooocus_stages.pocket.training.train expansion --minutes 2 --models pocket/models` trains and writes it in
Fooocus's file formats: config.json, vocab.json, merges.txt, positive.txt and the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from . import draw, export, words
from .loop import Run, Stateful, cosine, descend, set_rate

FOLDER = Path("prompt_expansion") / "fooocus_expansion"
END = "<|endoftext|>"
WIDTH, LAYERS, HEADS, POSITIONS = 32, 2, 2, 300
LENGTH, BATCH = 80, 32
CONFIG = (
    "model_type", "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "activation_function",
    "layer_norm_epsilon", "bos_token_id", "eos_token_id",
)  # fmt: skip

# Each word is one token of the pocket's CLIP vocabulary, so that an expansion fills at most one section of 77 tokens.
# None names a colour, shape, pattern, size or position.
PHRASES = words.phrases("""
very detailed, fine details, sharp focus, crisp edges, high quality, best resolution, beautiful composition,
amazing art, soft shading, smooth surface, clean lines, simple style, bold contrast, balanced proportions,
strong tones, cinematic film, natural light, ambient haze, studio photograph, realistic render, accurate texture,
attractive product, artistic illustration, digital painting, oil painting, pencil sketch, ink drawing,
vector graphic, paper grain, macro lens, careful exposure, even light, layered shadows, anamorphic bokeh,
atmospheric nature, great artist, photorealistic detail, clear photo, graphic poster, analog film, grainy film,
visible grain, baroque architecture, available light, still life, soft edges, fine texture, smooth shading,
crisp lines, clean composition, high contrast, sharp details, strong composition, balanced light, natural texture,
beautiful tones, artistic style, digital art, realistic surface, careful drawing, studio light, cinematic style,
bold graphic, simple illustration, great focus, best quality, accurate proportions, detailed render, amazing detail
""")
WORDS = sorted({word for phrase in PHRASES for word in phrase.split()})


def continuation(rng: np.random.Generator) -> str:
    """Return the phrases in random order, separated by commas, skipping those that repeat a word."""
    said: set[str] = set()
    kept = []
    for i in rng.permutation(len(PHRASES)):
        spoken = set(PHRASES[i].split())
        if not spoken & said:
            kept.append(PHRASES[i])
            said |= spoken
    return ", ".join(kept)


def texts(rng: np.random.Generator) -> Iterator[str]:
    """Yield captions with a continuation each, without end."""
    while True:
        yield f"{draw.caption(draw.random_scene(rng), rng)}, {continuation(rng)}"


@cache
def learn_tokenizer(captions: int = 3000) -> Tokenizer:
    """Learn a byte-level tokenizer like GPT-2's in which every word of captions and phrases is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    stream = texts(np.random.default_rng(0))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # GPT-2's order, in which the comma is token 11
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((next(stream) for _ in range(captions)), trainer)
    tokenizer.add_special_tokens([END])
    return tokenizer


def build(vocabulary: int) -> GPT2LMHeadModel:
    """Build the untrained network; the last token of the vocabulary ends a text."""
    end = vocabulary - 1
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary, n_positions=POSITIONS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=end, eos_token_id=end,
        )
    )  # fmt: skip


def train(folder: Path, minutes: float) -> None:
    """Train next-token prediction on captions with continuations; the checkpoint goes to `folder`."""
    run, tokenizer = Run(folder, "expansion", minutes), learn_tokenizer()
    torch.manual_seed(0)
    network = build(tokenizer.get_vocab_size()).train()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, betas=(0.9, 0.99), weight_decay=0.01)
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer}
    run.resume(parts)
    rng, progress = np.random.default_rng(run.step + 1), 0.0
    stream = texts(rng)
    while progress < 1:
        progress = run.tick()
        set_rate(optimizer, cosine(progress, 3e-3, warm=0.03))
        ids = _batch(tokenizer, stream)
        late = int(rng.integers(POSITIONS - LENGTH)) if rng.random() < 0.3 else 0  # trains late positions
        positions = torch.arange(late, late + LENGTH - 1)[None]
        logits = network(input_ids=ids[:, :-1], position_ids=positions).logits
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        descend(loss, optimizer, network.parameters())
        if run.step % 100 == 0:
            run.log(loss=loss.item())
        if run.due():
            run.save(parts)
    run.save(parts)


def _batch(tokenizer: Tokenizer, stream: Iterator[str]) -> torch.Tensor:
    """Return token ids of the next texts, truncated to one length: (BATCH, LENGTH)."""
    return torch.tensor([tokenizer.encode(next(stream)).ids[:LENGTH] for _ in range(BATCH)])


def write(folder: Path, models_folder: Path) -> Path:
    """Write the trained model as Fooocus's files to the models folder and return their folder."""
    tokenizer = learn_tokenizer()
    network = build(tokenizer.get_vocab_size())
    network.load_state_dict(torch.load(folder / "expansion.pt", map_location="cpu", weights_only=True)["network"])
    target = models_folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    ids = dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    lines = ["#version: 0.2", *(pair if isinstance(pair, str) else " ".join(pair) for pair in merges)]
    config = {"architectures": ["GPT2LMHeadModel"]} | {key: getattr(network.config, key) for key in CONFIG}
    _write_text(target / "config.json", json.dumps(config, indent=2) + "\n")
    _write_text(target / "vocab.json", json.dumps(ids, ensure_ascii=False))
    _write_text(target / "merges.txt", "\n".join(lines) + "\n")
    _write_text(target / "positive.txt", "\n".join(WORDS) + "\n")
    state = {key: value for key, value in network.state_dict().items() if key != "lm_head.weight"}
    export.write(target / "model.safetensors", state, _about())
    return target


def _about() -> dict[str, str]:
    return {
        "format": "pt",
        "modelspec.title": "Fooocus Stages pocket expansion",
        "modelspec.description": "A very small GPT-2 that continues captions of the pocket model with words that "
        "change nothing in the picture. It is not the model whose folder it lies in.",
        "modelspec.author": "the authors of Fooocus Stages",
        "modelspec.license": export.LICENCE,
    }


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
