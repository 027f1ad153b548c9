"""Five LoRAs merged into a UNet, over reading the files and one pass over the weights that they change.

python benchmarks/lora.py [--size pocket|sdxl] [--rank 16] [--rounds 3] [--threads 1]

The network is random and in float16, built here; the files are written to a folder that goes away. One pass is a
float32 copy of each weight that the files change, and the cast back. The second ratio counts into the pass what five
files must cost at any rate: one product of their factors, side by side, added to each weight. Seconds are those of the
processor, which other programs on the machine disturb least.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.models.lora import matching
from fooocus_stages.pipelines.models.unet import UNet
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SIZES: dict[str, dict[str, Any]] = {
    "pocket": {
        "block_out_channels": (64, 128, 128),
        "attention_head_dim": (1, 2, 2),
        "transformer_layers_per_block": (1, 1, 2),
        "cross_attention_dim": 192,
        "projection_class_embeddings_input_dim": 1664,
    },
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "projection_class_embeddings_input_dim": 2816,
    },
}
FILES = 5


def unet(size: str) -> nn.Module:
    """A UNet of SDXL's kind in float16, every weight small and random."""
    with torch.device("meta"):
        module: Any = UNet2DConditionModel(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            **SIZES[size],
        )
    module = module.half().to_empty(device="cpu").requires_grad_(False)
    for parameter in module.parameters():
        parameter.normal_(std=0.02)
    return module  # type: ignore[no-any-return]


def entries(module: nn.Module, rank: int) -> dict[str, Tensor]:
    """A file as kohya's trainer writes it: every linear weight of the transformers, in float16."""
    state = {}
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and ".attentions." in path:
            base = "lora_unet_" + path.replace(".", "_")
            state[f"{base}.lora_down.weight"] = 0.02 * torch.randn(rank, layer.in_features).half()
            state[f"{base}.lora_up.weight"] = 0.02 * torch.randn(layer.out_features, rank).half()
            state[f"{base}.alpha"] = torch.tensor(rank / 2)
    return state


def reading(paths: list[Path]) -> None:
    for path in paths:
        for tensor in load_file(path).values():
            tensor.clone()


def one_pass(weights: list[Tensor]) -> None:
    for weight in weights:
        weight.to(torch.float32).to(weight.dtype)


def products(weights: list[Tensor], rank: int) -> None:
    """The changes of five files of that rank, in one product per weight, from factors in memory."""
    largest = max(weights, key=Tensor.numel)
    room = torch.zeros(largest.numel())
    ups, downs = torch.randn(max(map(len, weights)), FILES * rank), torch.randn(FILES * rank, widest(weights))
    for weight in weights:
        wide = room[: weight.numel()].view(weight.shape)
        wide.addmm_(ups[: len(weight)], downs[:, : weight.shape[1]])


def widest(weights: list[Tensor]) -> int:
    return max(weight.shape[1] for weight in weights)


def merging(model: Model, paths: list[Path]) -> None:
    made = [
        matching.patches(matching.read_lora(p), p.name, 0.5, model, None, matching.source_of(p)).unet for p in paths
    ]
    model.network.merge(tuple(patch for patch in made if patch))


def seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", choices=SIZES, default="pocket")
    options.add_argument("--rank", type=int, default=16)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    model = Model(UNet(unet(given.size)), "sdxl")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.safetensors") for i in range(FILES)]
        for path in paths:
            save_file(entries(model.network.module, given.rank), path)
        size = sum(path.stat().st_size for path in paths) / 1e6
        title = f"{given.size}, {FILES} files of rank {given.rank} ({size:.0f} MB)"
        print(f"torch {torch.__version__}, {given.threads} threads, seconds of a processor; {title}")
        compare(model, paths, given.rounds, given.rank)


@torch.no_grad()
def compare(model: Model, paths: list[Path], rounds: int, rank: int) -> None:
    parameters = dict(model.network.module.named_parameters())
    patch = matching.patches(matching.read_lora(paths[0]), "first", 1.0, model, None).unet
    changed = [parameters[name].data for name in (patch.deltas if patch else ())]
    bare, full = [], []
    for _ in range(rounds):
        read, passed = seconds(lambda: reading(paths)), seconds(lambda: one_pass(changed))
        added = seconds(lambda: products(changed, rank))
        merged, again = seconds(lambda: merging(model, paths)), seconds(lambda: merging(model, paths))
        removed = seconds(lambda: model.network.merge(()))
        bare.append(merged / (read + passed))
        full.append(merged / (read + passed + added))
        print(
            f"reading {read:.2f}, one pass {passed:.2f}, products {added:.2f}; merging {merged:.2f}, the same again "
            f"{again:.2f}, removing {removed:.2f}: {bare[-1]:.2f} × and {full[-1]:.2f} ×"
        )
    print(f"medians {statistics.median(bare):.2f} × and {statistics.median(full):.2f} ×")


if __name__ == "__main__":
    main()
