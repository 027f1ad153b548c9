"""Image prompt adapters: the resampler is diffusers', files in both layouts load, and what is none is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.models.hints.ip_adapter import ImageAdapter, load_adapter, load_negative
from fooocus_stages.pipelines.models.hints.resampler import Resampler
from fooocus_stages.pocket.training.published_names import adapter_state_published
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]
WIDTHS = (64, 128, 128)
EMBED, OUT, QUERIES = 64, 32, 4
SETTINGS = {"embed": EMBED, "width": 128, "queries": QUERIES, "depth": 2, "inner": 128, "hidden": 256, "out": OUT}
RENAMED = {
    "0.norm1": "ln0", "0.norm2": "ln1", "0.to_q": "attn.to_q", "0.to_out": "attn.to_out.0", "1.0": "ff.0",
    "1.1": "ff.1.net.0.proj", "1.3": "ff.1.net.2",
}  # fmt: skip


def adapter(widths: tuple[int, ...] = WIDTHS) -> ImageAdapter:
    torch.manual_seed(0)
    made = ImageAdapter(SETTINGS, widths).eval().requires_grad_(False)
    made.resampler.latents.normal_()
    return made


def flat(made: ImageAdapter) -> State:
    """Its weights as a safetensors file holds them."""
    return {
        f"{half}.{key}": tensor
        for half, of_it in adapter_state_published(made).items()
        for key, tensor in of_it.items()
    }


def nested(state: State) -> dict[str, State]:
    """The same in the two dictionaries of a .bin file."""
    halves: dict[str, State] = {}
    for key, tensor in state.items():
        half, _, rest = key.partition(".")
        halves.setdefault(half, {})[rest] = tensor
    return halves


def as_diffusers(state: State) -> State:
    """The resampler's weights under diffusers' names."""
    named: State = {}
    for key, tensor in state.items():
        parts = key.split(".")
        if parts[0] != "layers":
            named[key] = tensor
        elif parts[3] == "to_kv":
            for which, half in zip(("to_k", "to_v"), tensor.chunk(2), strict=True):
                named[f"layers.{parts[1]}.attn.{which}.weight"] = half
        else:
            named[f"layers.{parts[1]}.{RENAMED['.'.join(parts[2:4])]}.{parts[4]}"] = tensor
    return named


@pytest.mark.parametrize("queries", [1, 16])
def test_the_resampler_is_that_of_diffusers(queries: int) -> None:
    torch.manual_seed(3)
    ours = Resampler(**SETTINGS | {"queries": queries}).eval()
    ours.latents.data.normal_()
    theirs = IPAdapterPlusImageProjection(
        embed_dims=EMBED, output_dims=OUT, hidden_dims=128, depth=2, dim_head=64, heads=2, num_queries=queries,
        ffn_ratio=2,
    ).eval()  # fmt: skip
    theirs.load_state_dict(as_diffusers(ours.state_dict()))
    hidden = torch.randn(2, 5, EMBED)
    assert torch.allclose(ours(hidden), theirs(hidden), atol=1e-5)


@pytest.mark.parametrize("name", ["a.bin", "a.pt", "a.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_files_in_both_layouts_give_the_adapter(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    made = adapter().to(dtype)
    put(tmp_path / name, flat(made))
    loaded = load_adapter(tmp_path / name, torch.float32)
    assert loaded.widths == WIDTHS
    hidden = torch.randn(1, 5, EMBED)
    made.float()
    tokens = loaded(hidden)
    assert torch.equal(tokens, made(hidden))
    for (k, v), to_k, to_v in zip(loaded.keys_and_values(tokens), made.to_k, made.to_v, strict=True):
        assert torch.equal(k, to_k(tokens))
        assert torch.equal(v, to_v(tokens))


def test_layers_go_by_number_and_not_by_their_place_in_the_file(tmp_path: Path) -> None:
    made = adapter((64,) * 12)
    put(tmp_path / "a.bin", dict(sorted(flat(made).items())))
    loaded = load_adapter(tmp_path / "a.bin", torch.float32)
    tokens = torch.randn(1, QUERIES, OUT)
    for ours, theirs in zip(loaded.keys_and_values(tokens), made.keys_and_values(tokens), strict=True):
        assert torch.equal(ours[0], theirs[0])


def changed(without: str = "", **more: Tensor) -> State:
    """The file of a small adapter without the keys that hold the text, and with others."""
    state = {key: t for key, t in flat(adapter()).items() if not without or without not in key}
    return state | {key.replace("__", "."): tensor for key, tensor in more.items()}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"conv.weight": torch.zeros(3, 3)},
            "a.bin is not an image prompt adapter: choose ip-adapter-plus_sdxl_vit-h or",
        ),
        ({}, "a.bin is not an image prompt adapter"),
        (changed(without="ip_adapter."), "a.bin is not an image prompt adapter"),
        (changed(without="image_proj."), "a.bin is not an image prompt adapter"),
        (
            changed(without="image_proj.", image_proj__proj__weight=torch.zeros(3, 3)),
            "a.bin is an image prompt adapter without a resampler",
        ),
        (
            changed(without="ip_adapter.3.to_v"),
            "a.bin: 1 of its 3 layers have only a key or only a value (ip_adapter.3, …)",
        ),
        (changed(without="norm_out"), "a.bin is incomplete: the adapter is missing 2 weights (resampler.norm_out.bias"),
        (changed(without="proj_in.weight"), "a.bin is incomplete: 'proj_in.weight' is missing"),
        (changed(image_proj__more=torch.zeros(3)), "a.bin does not fit: the adapter has no place for 1 weight"),
        (changed(ip_adapter__9__lora=torch.zeros(3)), "a.bin does not fit: the adapter has no place for 1 weight"),
        (
            changed(ip_adapter__1__to_k_ip__weight=torch.zeros(64, 48)),
            "a.bin does not fit: the adapter needs to_k.0.weight of shape (64, 32), the file has (64, 48)",
        ),
    ],
)
def test_other_files_are_refused(state: State, message: str, tmp_path: Path) -> None:
    put(tmp_path / "a.bin", state)
    with pytest.raises(BadFile, match=re.escape(message)):
        load_adapter(tmp_path / "a.bin", torch.float32)


@pytest.mark.parametrize("content", [[1, 2], {"image_proj": 3}, {"image_proj": {"latents": "none"}}, {1: {2: 3}}])
def test_strange_contents_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.bin")
    with pytest.raises(BadFile, match=r"a\.bin is not an image prompt adapter"):
        load_adapter(tmp_path / "a.bin", torch.float32)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        load_adapter(tmp_path / "a.bin", torch.float32)


def test_negative_tokens_are_read_in_float32(tmp_path: Path) -> None:
    tokens = torch.randn(1, QUERIES, OUT).half()
    save_file({"data": tokens}, tmp_path / "a.safetensors")
    assert torch.equal(load_negative(tmp_path / "a.safetensors", adapter()), tokens.float())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"other": torch.zeros(1, 4, OUT)},
            "does not contain the negative tokens of image prompts: choose fooocus_ip_neg",
        ),
        ({"data": torch.zeros(4, OUT)}, "does not contain the negative tokens"),
        ({"data": torch.zeros(1, 4, OUT, dtype=torch.int32)}, "does not contain the negative tokens"),
        (
            {"data": torch.zeros(1, 4, 2048)},
            "contains negative tokens of shape (1, 4, 2048), but the adapter needs (1, 4, 32)",
        ),
        ({"data": torch.zeros(2, 4, OUT)}, "contains negative tokens of shape (2, 4, 32)"),
        ({"data": torch.zeros(1, 7, OUT)}, "contains negative tokens of shape (1, 7, 32)"),
        ({"data": torch.full((1, 4, OUT), torch.nan)}, "contains NaN or infinity"),
    ],
)
def test_other_negative_files_are_refused(state: State, message: str, tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(BadFile, match=re.escape(message)):
        load_negative(tmp_path / "a.safetensors", adapter())


def put(path: Path, state: State) -> None:
    """The state as a safetensors file, or in the two dictionaries of a .bin file."""
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    else:
        torch.save(nested(state), path)
