"""Train the pocket's inpaint engine: a head that encodes the hole for the UNet, and changes to a few weights.

The head is a convolution of the mask and of the image with a grey hole, added to the output of the UNet's first one.
The changes are quantised to bytes (Fooocus modules/inpaint_worker.py, modules/lora.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...pipelines.functional.latents import from_uint8, grey_out, latent_mask
from ...pipelines.host import LocalHost
from ...pipelines.models.handles import Model
from ...pipelines.models.hints.inpaint_patch import HEAD_INPUTS, HEAD_KERNEL, feature, head_attached
from ...pipelines.models.weights import key_names
from ...pipelines.opencv import cv2
from ...pipelines.settings import INPAINT_HEAD, INPAINT_PATCHES
from ...pipelines.stages import inpaint, vae
from ...pipelines.types import InpaintRegion
from . import base as frozen
from . import data, diffusion, draw, refiner
from .loop import Run, Stateful, Trainer, cosine, in_bfloat16, write_pickle
from .networks import SCALING_FACTOR

FOLDER = "inpaint"
HOST = LocalHost(device="cpu", on_notice=lambda _: None)
BATCH = 12
SCENES = 2400
REACH = 0.34  # half the side of a square hole, as a fraction of the image's

MIDDLE = ("mid_block.attentions.0.transformer_blocks.0.attn1.",)
LOW = ("down_blocks.2.attentions.0.transformer_blocks.0.attn1.", "up_blocks.0.attentions.0.transformer_blocks.0.attn1.")
FIRST = (
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.resnets.0.conv2",
    "down_blocks.1.resnets.0.conv1",
    "down_blocks.1.resnets.0.conv2",
    "mid_block.resnets.0.conv1",
)
CHANGED = {"v1": MIDDLE, "v2.5": (*MIDDLE, *LOW), "v2.6": (".attn1.", *FIRST)}  # each includes the one before
PROBABILITIES = {"v1": 0.2, "v2.5": 0.2, "v2.6": 0.6}

# ---------------------------------------------------------------------------------------------- the engine


class Change(nn.Module):
    """Parametrization weight + difference, which can be switched off."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.difference = nn.Parameter(torch.zeros_like(weight))
        self.on = True

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return weight + self.difference if self.on else weight


class Engine(nn.Module):
    """The head (C, 5, 3, 3) and the weight changes, attached to a frozen UNet; initially zero."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        width = unet.get_parameter("conv_in.weight").shape[0]
        self.head = nn.Parameter(torch.zeros(width, HEAD_INPUTS, HEAD_KERNEL, HEAD_KERNEL))
        self.changes = nn.ModuleDict()
        for name, module in list(unet.named_modules()):
            if isinstance(module, nn.Linear | nn.Conv2d) and is_changed_by("v2.6", name):
                change = Change(module.weight)
                parametrize.register_parametrization(module, "weight", change)
                self.changes[name.replace(".", "|")] = change

    def choose(self, version: str) -> None:
        """Switch on the changes of this version of the engine, and the others off."""
        for name, change in self.changes.items():
            cast(Change, change).on = is_changed_by(version, name.replace("|", "."))

    def differences(self) -> dict[str, Tensor]:
        """Return the changes by the names of the UNet's weights."""
        return {
            name.replace("|", ".") + ".weight": cast(Change, change).difference.detach()
            for name, change in self.changes.items()
        }


def is_changed_by(version: str, weight: str) -> bool:
    """Return True if that version of the engine changes the weight of that name."""
    return any(part in weight for part in CHANGED[version])


# ---------------------------------------------------------------------------------------------- its pictures


def square_hole(position: str, height: int = 128, width: int = 128) -> np.ndarray:
    """Return a square mask (H, W), bool, that covers any small or medium shape at that position."""
    fx, fy = draw.POSITIONS[position]
    reach = REACH * min(height, width)
    y, x = np.mgrid[:height, :width] + 0.5
    hole: np.ndarray = np.maximum(abs(x - fx * width), abs(y - fy * height)) < reach
    return hole


def edge_of(hole: np.ndarray, pixels: int) -> np.ndarray:
    """Return the rim of a hole (H, W), bool, that many pixels wide."""
    inner = cv2.erode(hole.astype(np.uint8), np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8))
    edge: np.ndarray = hole & (inner == 0)
    return edge


@dataclass(frozen=True)
class Bucket:
    """Scenes of one size: scaled latents (n, 4, h, w) of the images and of the images with grey holes, and the holes
    (n, 1, h, w)."""

    scenes: tuple[draw.Scene, ...]
    latents: Tensor
    masked: Tensor
    holes: Tensor

    def batch(self, count: int, rng: np.random.Generator) -> Bucket:
        """Return a random batch."""
        picks = rng.integers(len(self.scenes), size=count)
        return Bucket(tuple(self.scenes[i] for i in picks), self.latents[picks], self.masked[picks], self.holes[picks])


class InpaintDataset:
    """Training images with holes, in buckets by size; computed once and cached."""

    def __init__(self, folder: Path) -> None:
        self.rng = np.random.default_rng()
        path = folder / "inpaint-album.pt"
        if not path.exists():
            torch.save(_buckets(SCENES, np.random.default_rng(7)), path)
        kept = torch.load(path, weights_only=True)
        self.buckets = [Bucket(tuple(draw.Scene(*words) for words in scenes), *rest) for scenes, *rest in kept]
        self.probabilities = np.array([len(bucket.scenes) for bucket in self.buckets], float)

    def batch(self, count: int) -> Bucket:
        """Return a random batch of one size."""
        bucket = self.buckets[int(self.rng.choice(len(self.buckets), p=self.probabilities / self.probabilities.sum()))]
        return bucket.batch(count, self.rng)


def _buckets(count: int, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    """Crop images as the inpaint stage does and group them by size, leaving out sizes that occur once or twice."""
    found: dict[tuple[int, ...], list[tuple[Any, ...]]] = {}
    model, _, autoencoder = refiner.open_base()
    for _ in range(count):
        scene, region = draw_region(model, rng)
        latents = vae.encode(HOST, autoencoder, region.crop, None)["samples"] * SCALING_FACTOR
        grey = grey_out(region.crop, region.mask)
        masked = vae.encode(HOST, autoencoder, grey, None, whole=True)["samples"] * SCALING_FACTOR
        entry = (astuple(scene), latents, masked, latent_mask(region.mask))
        found.setdefault(tuple(latents.shape), []).append(entry)
    grouped = [tuple(zip(*entries, strict=True)) for entries in found.values() if len(entries) > 2]
    return [(list(scenes), *(torch.cat(list(part)) for part in parts)) for scenes, *parts in grouped]


def draw_region(model: Model, rng: np.random.Generator) -> tuple[draw.Scene, InpaintRegion]:
    """Draw a scene and crop it around a hole: mostly at the shape, else anywhere or at one side."""
    scene = draw.random_scene(rng)
    kind = rng.choice(["shape", "anywhere", "side"], p=(0.7, 0.12, 0.18))
    width = 168 if kind == "side" else 128
    picture = draw.draw(scene, rng, 128, width)
    fields = {"shape": (0.0, 0.618, 0.618, 1.0), "anywhere": (0.618, 1.0), "side": (1.0,)}[kind]
    hole = _side(picture, rng) if kind == "side" else _box(scene.position if kind == "shape" else None, rng)
    images, mask = from_uint8(torch.from_numpy(picture))[None], torch.from_numpy(hole).float()[None]
    return scene, inpaint.crop(HOST, images, mask, float(rng.choice(fields)), model)


def _box(position: str | None, rng: np.random.Generator, side: int = 128) -> np.ndarray:
    """Return a box mask (H, W), bool, that covers a shape at that position, or a random box."""
    if position is None:
        height, width = rng.integers(side // 5, side * 2 // 3, size=2)
        top, left = rng.integers(0, side - height), rng.integers(0, side - width)
        rows, columns = (top, top + height), (left, left + width)
    else:
        centre = np.array(draw.POSITIONS[position]) * side
        reach = rng.uniform(0.3, 0.42, (2, 2)) * side
        columns, rows = (np.clip([c - a, c + b], 0, side).astype(int) for c, (a, b) in zip(centre, reach, strict=True))
    hole = np.zeros((side, side), bool)
    hole[slice(*rows), slice(*columns)] = True
    return hole


def _side(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mask (H, W), bool, of the left or right end of an image, as wide as outpainting makes it."""
    width = picture.shape[1]
    end = round(width * 0.3 / 1.3)
    hole = np.zeros(picture.shape[:2], bool)
    hole[:, slice(end) if rng.random() < 0.5 else slice(width - end, width)] = True
    return hole


# ---------------------------------------------------------------------------------------------- training


def noise_in_hole(
    unet: nn.Module, head: Tensor, bucket: Bucket, t: Tensor, noise: Tensor, condition: diffusion.Condition
) -> Tensor:
    """Predict eps of latents at timesteps t (B,), float32 (B, 4, h, w), with the head attached."""
    sigma = diffusion.SIGMAS[t]
    x = bucket.latents + sigma.view(-1, 1, 1, 1) * noise
    with head_attached(unet, feature(head, bucket.holes, bucket.masked)):
        return diffusion.predict_noise(cast(Any, unet), x, sigma, t, condition)


def loss_in_hole(error: Tensor, sigma: Tensor, holes: Tensor) -> Tensor:
    """Return the mean square error of the noise in the holes, weighted by sigma from 0.7 to 4, plus the layout loss.

    `error` (B, 4, h, w), `sigma` (B,), `holes` (B, 1, h, w). Known pixels are restored at every step of sampling, so
    their error does not matter.
    """
    inside = error * holes
    scaled = (inside * sigma.clamp(0.7, 4).view(-1, 1, 1, 1)) ** 2
    fraction = holes.mean((1, 2, 3))
    return (scaled.mean((1, 2, 3)) / fraction).mean() + 0.1 * diffusion.layout_loss(inside, sigma) / fraction.mean()


def prompts(scenes: Sequence[draw.Scene], rng: np.random.Generator) -> list[list[str]]:
    """Return prompts with the same number of sections, most of them complete; a tenth is empty, for guidance."""
    sections = int(rng.choice([1, 2, 3, 4], p=(0.6, 0.2, 0.15, 0.05)))
    return [
        data.negative_sections(sections, rng)
        if rng.random() < 0.1
        else data.positive_sections(draw.caption(scene, rng, complete=rng.random() < 0.8), sections, rng)
        for scene in scenes
    ]


def train(folder: Path, minutes: float) -> None:
    """Train noise prediction in holes; each step trains one version of the engine, so that each works by itself."""
    run, rng, base = Run(folder, FOLDER, minutes), np.random.default_rng(), frozen.open_base()
    base.unet.requires_grad_(False)
    engine = Engine(base.unet)
    groups = [{"params": [engine.head], "scale": 10.0}, {"params": list(engine.changes.parameters()), "scale": 1.0}]
    optimizer = torch.optim.AdamW(groups, 4e-4, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    parts: dict[str, Stateful] = {"engine": engine, "optimizer": optimizer}
    run.resume(parts)
    album = InpaintDataset(folder)
    run.restart_clock()
    trainer, progress = Trainer(run, engine, optimizer, parts), 0.0
    while progress < 1:
        progress = run.tick()
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * cosine(progress, 4e-4, warm=0.03, floor=0.02)
        engine.choose(str(rng.choice(list(PROBABILITIES), p=list(PROBABILITIES.values()))))
        bucket = album.batch(BATCH)
        t, noise = diffusion.sample_timesteps(BATCH, 400, 0.65), torch.randn_like(bucket.latents)
        size = (8 * noise.shape[-2], 8 * noise.shape[-1])
        with in_bfloat16():
            condition = frozen.condition_for_sections(base, prompts(bucket.scenes, rng), size, rng)
            error = noise_in_hole(base.unet, engine.head, bucket, t, noise, condition) - noise
        loss = loss_in_hole(error, diffusion.SIGMAS[t], bucket.holes)
        trainer.step(loss)
    run.save(parts)


# ---------------------------------------------------------------------------------------------- the files


def quantised(difference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise a difference to bytes, minimum and maximum: it is bytes / 255 * (maximum - minimum) + minimum."""
    low, high = difference.min().float(), difference.max().float()
    levels = ((difference - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
    return levels, low.clone(), high.clone()


def patch_state(
    version: str, differences: Mapping[str, Tensor], published: Mapping[str, str]
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Return the patch of a version under published names."""
    changed = [name for name in differences if is_changed_by(version, name)]
    return {f"diffusion_model.{published[name]}": quantised(differences[name]) for name in changed}


def write(folder: Path, models: Path) -> list[Path]:
    """Write the head and a patch for each version to the models folder."""
    unet = frozen.open_base().unet
    published = key_names.unet_to_ldm(list(unet.state_dict()))
    engine = Engine(unet)
    engine.load_state_dict(torch.load(folder / f"{FOLDER}.pt", map_location="cpu", weights_only=True)["engine"])
    states: dict[str, dict[str, Any]] = {INPAINT_HEAD: {"head": engine.head.detach().clone()}}
    for version in CHANGED:
        states[INPAINT_PATCHES[version]] = patch_state(version, engine.differences(), published)
    return [write_pickle(models / FOLDER / name, state) for name, state in states.items()]
