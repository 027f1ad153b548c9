"""Training of the 4x upscaler: ESRGAN's network at two per cent of its size.

`python -m fooocus_stages.pocket.training.train upscaler --minutes 8 --models pocket/models` trains it and writes it
under the names of Fooocus's file.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...pipelines.models.upscaler import Upscaler
from ...pipelines.opencv import cv2
from . import draw, networks
from .loop import Run, Stateful, cosine, descend, in_bfloat16, set_rate, update_ema, write_pickle

FOLDER, FILE = "upscale_models", "fooocus_upscaler_s409985e5.bin"
FEATURES, GROWTH, BLOCKS, DOUBLINGS = 24, 12, 3, 2
SCALE = 2**DOUBLINGS
PATCH, BATCH = 28, 8
POOL = 400

HEAD = {"conv_first": "model.0", "ups.0": "model.3", "ups.1": "model.6", "conv_hr": "model.8", "conv_last": "model.10"}
CONVOLUTION = re.compile(r"body\.(\d+)\.rdb(\d)\.conv(\d)\.(weight|bias)")


def build() -> Upscaler:
    """Build a network initialised as bilinear interpolation, applied twice."""
    network = Upscaler(FEATURES, GROWTH, BLOCKS, DOUBLINGS)
    init_as_bilinear(network)
    return network


@torch.no_grad()
def init_as_bilinear(network: Upscaler) -> None:
    """Pass the colours through: nearest-neighbour doubling smoothed by 1 2 1 is bilinear interpolation."""
    smooth = torch.tensor([0.25, 0.5, 0.25])
    spot = torch.zeros(3, 3)
    spot[1, 1] = 1
    for parameter in networks.layer(network, "conv_body"):
        nn.init.zeros_(parameter)
    for name in ("conv_first", "ups.0", "ups.1", "conv_hr", "conv_last"):
        weight, bias = networks.layer(network, name)
        weight.mul_(0.3)
        nn.init.zeros_(bias)
        for colour in range(3):
            weight[colour] = 0
            weight[colour, colour] = torch.outer(smooth, smooth) if name.startswith("ups") else spot


def picture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw a scene or, one time in four, many shapes on a gradient: uint8 RGB (side, side, 3)."""
    if rng.random() < 0.25:
        return draw.draw_abstract(rng, side, side)
    return draw.draw(draw.random_scene(rng), rng, side, side)


def shrink(large: np.ndarray, filtering: str) -> np.ndarray:
    """Downscale an image four times, by area or by blur and bicubic interpolation."""
    size = (large.shape[1] // SCALE, large.shape[0] // SCALE)
    if filtering == "area":
        return cv2.resize(large, size, interpolation=cv2.INTER_AREA)
    softened = cv2.GaussianBlur(large, (0, 0), 0.4 * SCALE)
    return cv2.resize(softened, size, interpolation=cv2.INTER_CUBIC)


def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a drawing of 48 to 128 pixels and the same at four times that size, uint8."""
    large = picture(rng, SCALE * int(rng.choice([48, 64, 96, 128])))
    return shrink(large, str(rng.choice(["area", "cubic"]))), large


def patches(pool: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return small (B, 3, P, P) and large (B, 3, 4P, 4P) patches in 0…1, few of them of a single colour."""
    smalls: list[np.ndarray] = []
    larges: list[np.ndarray] = []
    while len(smalls) < BATCH:
        small, large = pool[int(rng.integers(len(pool)))]
        y, x = rng.integers(0, small.shape[0] - PATCH + 1, 2)
        patch = small[y : y + PATCH, x : x + PATCH]
        if np.ptp(patch) < 40 and rng.random() < 0.9:
            continue
        turn, flip = int(rng.integers(4)), int(rng.choice([1, -1]))
        part = large[SCALE * y : SCALE * (y + PATCH), SCALE * x : SCALE * (x + PATCH)]
        smalls.append(np.rot90(patch, turn)[:, ::flip])
        larges.append(np.rot90(part, turn)[:, ::flip])
    return to_unit(np.stack(smalls)), to_unit(np.stack(larges))


def to_unit(pictures: np.ndarray) -> Tensor:
    """Convert uint8 (B, H, W, 3) to float32 (B, 3, H, W) in 0…1, channels last in memory."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return x.contiguous(memory_format=torch.channels_last)


def train(folder: Path, minutes: float) -> None:
    """Minimise the Charbonnier loss (Lai et al. 2017) on patches, with an EMA of the weights."""
    run, rng = Run(folder, "upscaler", minutes), np.random.default_rng()
    network = build()
    ema = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    parts: dict[str, Stateful] = {"network": network, "ema": ema, "optimizer": optimizer}
    run.resume(parts)
    pool = [pair(rng) for _ in range(POOL)]
    run.restart_clock()
    progress, errors = 0.0, []
    while progress < 1:
        progress = run.tick()
        set_rate(optimizer, cosine(progress, 2e-3, warm=0.03, floor=0.01))
        pool[int(rng.integers(POOL))] = pair(rng)
        small, large = patches(pool, rng)
        with in_bfloat16(progress < 0.8):
            error = network(small).float() - large
        loss = (error**2 + 1e-5).sqrt().mean()
        descend(loss, optimizer, network.parameters(), max_norm=0.5)
        update_ema(ema, network, run.step, decay=0.995)
        errors.append(float((error.detach() ** 2).mean()))
        if run.step % 100 == 0:
            run.log(psnr=float(-10 * np.log10(np.mean(errors))))
            errors.clear()
        if run.due():
            run.save(parts)
    run.save(parts)


def published_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a network's weights as in Fooocus's file: ESRGAN's old names with `residual_block_` for `RDB`."""
    return {_published(key): tensor for key, tensor in state.items()}


def _published(key: str) -> str:
    if found := CONVOLUTION.fullmatch(key):
        block, dense, convolution, leaf = found.groups()
        return f"model.1.sub.{block}.residual_block_{dense}.conv{convolution}.0.{leaf}"
    module, _, leaf = key.rpartition(".")
    return f"model.1.sub.{BLOCKS}.{leaf}" if module == "conv_body" else f"{HEAD[module]}.{leaf}"


def write(folder: Path, models: Path) -> Path:
    """Write the averaged network in float16 with torch.save to the models folder."""
    state = torch.load(folder / "upscaler.pt", map_location="cpu", weights_only=True)["ema"]
    half = {key: tensor.half().contiguous().clone() for key, tensor in published_names(state).items()}
    return write_pickle(models / FOLDER / FILE, half)
