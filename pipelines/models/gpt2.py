"""GPT-2, which continues a prompt with words of a list (Fooocus extras/expansion.py: FooocusExpansion).

The loop is our own: `generate` differs between versions of transformers, and draws from the global generator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from ..errors import BadFile
from ..text.expansion import ExpansionFiles, read_words, safe_str, tidy_spaces, tokens_to_add
from .weights.files import Weights, open_weights
from .weights.filling import build, derive_for_file, fill, to_dtype
from .weights.key_names import Part
from .weights.networks import LanguageModule

END, COMMA, SPACE = "<|endoftext|>", ",", "\u0120"
BANNED = -8192.0
TOP_K = 100
SEEDS = 2**32
FROM_CONFIG = (
    "n_head", "activation_function", "layer_norm_epsilon", "scale_attn_weights", "scale_attn_by_inverse_layer_idx",
    "reorder_and_upcast_attn",
)  # fmt: skip
_NOT_WEIGHTS = re.compile(r"\.attn\.(masked_)?bias$")
_LAYER = re.compile(r"transformer\.h\.(\d+)\.")


@dataclass(frozen=True)
class ExpansionModel:
    """The network, its tokenizer, and the bias (V,) on its scores: 0 for words that may be added, -8192 for others.

    `comma` is the comma's id, `words` the length of the word list, and `unknown` are its words that are not tokens of
    the vocabulary and therefore never added.
    """

    module: nn.Module
    tokenizer: Tokenizer
    bias: Tensor
    comma: int
    words: int
    unknown: tuple[str, ...] = ()


def load_expansion(files: ExpansionFiles, dtype: torch.dtype = torch.float32) -> ExpansionModel:
    """Load the expansion model on the CPU. Raises BadFile, naming the file that is damaged or of another model."""
    tokenizer = read_tokenizer(files.tokenizer)
    words = read_words(files.words)
    bias, unknown = word_bias(tokenizer, words)
    if len(unknown) == len(words):
        raise BadFile(f"word list {files.words}: none of its {len(words)} words is a token of the vocabulary")
    with open_weights(files.weights) as weights:
        module = _network(weights, files.config, tokenizer, dtype)
    return ExpansionModel(module, tokenizer, bias, tokenizer.get_vocab()[COMMA], len(words), unknown)


def continued(
    model: ExpansionModel,
    text: str,
    seed: int,
    device: torch.device,
    check: Callable[[], None] = lambda: None,
) -> str:
    """Return the text with its continuation, up to a multiple of 75 tokens; '' for ''. The network is on `device`.

    Draws the numbers that torch's global generator of that device would draw after `manual_seed(seed mod 2³²)`. A text
    too long for the network's positions is returned unchanged. `check` is called before each word.
    """
    if not text:
        return ""
    text = safe_str(_without_surrogates(text))
    ids = model.tokenizer.encode(text + COMMA).ids
    count = min(tokens_to_add(len(ids)), _positions(model.module) - len(ids))
    if count <= 0:
        return text
    generator = torch.Generator(device).manual_seed(int(seed) % SEEDS)
    prompt = torch.tensor([ids], device=device)
    chosen = sample(model.module, prompt, model.bias.to(device), model.comma, count, generator, check)
    return safe_str(tidy_spaces(model.tokenizer.decode(chosen[0].tolist(), skip_special_tokens=True)))


@torch.no_grad()
def sample(
    module: nn.Module,
    ids: Tensor,
    bias: Tensor,
    comma: int,
    count: int,
    generator: torch.Generator,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Append `count` sampled tokens to ids (1, n): (1, n + count). Scores keep the network's dtype."""
    fresh: Tensor = ids
    past: object = None
    for _ in range(count):
        check()
        out = cast(LanguageModule, module)(input_ids=fresh, past_key_values=past, use_cache=True)
        scores = out.logits[:, -1, :]
        scores = keep_best(scores + bias_of_unused(bias.to(scores), ids, comma), TOP_K)
        fresh, past = torch.multinomial(scores.softmax(-1), 1, generator=generator), out.past_key_values
        ids = torch.cat([ids, fresh], dim=1)
    return ids


def bias_of_unused(bias: Tensor, used: Tensor, comma: int) -> Tensor:
    """Return the bias (V,) that also bans the tokens of `used` (1, n), except the comma, which is always allowed."""
    bias = bias.clone()
    bias[used[0]] = BANNED
    bias[comma] = 0.0
    return bias


def keep_best(scores: Tensor, k: int) -> Tensor:
    """Set scores (1, V) below the k-th largest to -infinity; ties with it are kept."""
    worst = scores.topk(min(k, scores.shape[-1])).values[:, -1:]
    return scores.masked_fill(scores < worst, float("-inf"))


def word_bias(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Return the bias (V,) that allows only these words, each after a space, and the words that are not tokens."""
    bias = torch.full((tokenizer.get_vocab_size(),), BANNED)
    ids = {word: tokenizer.token_to_id(SPACE + word) for word in words}
    known = [i for i in ids.values() if i is not None]
    bias[known] = 0.0
    return bias, tuple(word for word, i in ids.items() if i is None)


def read_tokenizer(paths: Sequence[Path]) -> Tokenizer:
    """Load GPT-2's byte-level tokenizer from vocab.json and merges.txt, or from tokenizer.json. Raises BadFile."""
    try:
        tokenizer = _from_two(*paths) if len(paths) == 2 else Tokenizer.from_file(str(paths[0]))
    except Exception as error:  # the library raises plain exceptions
        names = " with ".join(path.name for path in paths)
        raise BadFile(f"the tokenizer {names} in {paths[0].parent} can't be read ({error}): fetch it again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = tokenizer.get_vocab()
    if sorted(ids.values()) != list(range(len(ids))) or not {END, COMMA} <= ids.keys():
        raise BadFile(f"{paths[0]} is not a vocabulary of GPT-2: it needs {END}, a comma, and ids counted from 0")
    return tokenizer


def _from_two(vocab: Path, merges: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return tokenizer


def _network(weights: Weights, config_path: Path, tokenizer: Tokenizer, dtype: torch.dtype) -> nn.Module:
    """Load the network of an open file; its output layer shares the token embedding."""
    shapes = {key: shape for key, shape in weights.shapes.items() if not _NOT_WEIGHTS.search(key)}
    shapes.pop("lm_head.weight", None)
    sizes = derive_for_file(weights.path, _sizes, shapes)
    if sizes["vocab_size"] != tokenizer.get_vocab_size():
        raise BadFile(
            f"{weights.path.name} has {sizes['vocab_size']} tokens and the vocabulary in {config_path.parent} has "
            f"{tokenizer.get_vocab_size()}: fetch both again"
        )
    end = tokenizer.token_to_id(END)
    read = _read_config(config_path)
    try:
        config = GPT2Config(**sizes, **read, bos_token_id=end, eos_token_id=end)
        module = build(lambda: GPT2LMHeadModel(config))
    except Exception as error:  # versions of transformers check in ways of their own
        raise BadFile(f"{config_path} does not match {weights.path.name}: {error}") from error
    parts = {key: Part(key) for key in shapes} | {"lm_head.weight": Part("transformer.wte.weight")}
    network = fill(module, weights, parts, to_dtype(dtype), "the expansion model")
    module.lm_head.weight = module.transformer.wte.weight  # one tensor, not two
    _restore_masks(network)
    return network


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return GPT-2's sizes, from the shapes of its weights."""
    vocabulary, width = shapes["transformer.wte.weight"]
    layers = {int(match[1]) for key in shapes if (match := _LAYER.match(key))}
    return {
        "vocab_size": vocabulary,
        "n_embd": width,
        "n_positions": shapes["transformer.wpe.weight"][0],
        "n_layer": len(layers),
        "n_inner": shapes["transformer.h.0.mlp.c_fc.weight"][1],
    }


def _read_config(path: Path) -> dict[str, Any]:
    """Read the settings that the shapes do not tell: heads, activation, attention scale. Raises BadFile."""
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("model_type") != "gpt2":
        raise BadFile(f"{path} should be the config of a GPT-2, with its model_type 'gpt2'")
    if not isinstance(config.get("n_head"), int) or config["n_head"] < 1:
        raise BadFile(f"{path}: n_head should be a count of heads, not {config.get('n_head')!r}")
    return {key: config[key] for key in FROM_CONFIG if key in config}


def _restore_masks(module: nn.Module) -> None:
    """Fill the causal masks, which were built on the meta device and are in no file."""
    for owner in module.modules():
        for name, buffer in list(owner.named_buffers(recurse=False)):
            if buffer.is_meta:
                mask = torch.ones(buffer.shape, dtype=torch.bool).tril() if buffer.ndim else torch.tensor(-1e4)
                owner.register_buffer(name, mask.to(buffer.dtype), persistent=False)


def _positions(module: nn.Module) -> int:
    return cast(LanguageModule, module).config.n_positions


def _without_surrogates(text: str) -> str:
    """Replace lone surrogates, which no tokenizer accepts, by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
