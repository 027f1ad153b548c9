"""Helpers shared by the training stages: time budget, checkpoints, learning rate, datasets of latents."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, distributed, nn
from torch.amp import autocast

from ...pipelines.files import encoded, write_file
from . import data, draw, networks, tokenizer


class Stateful(Protocol):
    """A module or an optimizer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


def in_bfloat16(enabled: bool = True) -> AbstractContextManager[object]:
    """Compute in bfloat16 where that is safe, while the context lasts.

    Without AVX-512 a processor emulates bfloat16 and is many times slower than in float32, which is used then.
    """
    return autocast("cpu", torch.bfloat16, enabled and torch.backends.cpu.get_cpu_capability().startswith("AVX512"))


class Run:
    """Time budget, log and checkpoint of a stage; progress is the fraction of its minutes that has been used."""

    def __init__(self, folder: Path, stage: str, minutes: float) -> None:
        self.folder, self.stage, self.budget = folder, stage, minutes * 60
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{stage}.pt"
        self.step, self.spent, self._last, self._saved = 0, 0.0, time.time(), time.time()

    def resume(self, parts: Mapping[str, Stateful]) -> None:
        """Load the state of all parts if the stage has a checkpoint."""
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        self.step, self.spent = state["step"], state["spent"]

    def save(self, parts: Mapping[str, Stateful]) -> None:
        """Write all parts to the checkpoint, atomically."""
        state = {name: part.state_dict() for name, part in parts.items()}
        write_pickle(self.path, {**state, "step": self.step, "spent": self.spent})
        self._saved = time.time()

    def tick(self) -> float:
        """Count one step and return the progress in 0..1."""
        now = time.time()
        self.spent += now - self._last
        self._last = now
        self.step += 1
        return min(1.0, self.spent / self.budget)

    def restart_clock(self) -> None:
        """Exclude the time since the last step from the budget."""
        self._last = time.time()

    def due(self, seconds: float = 180) -> bool:
        """Return True when the last checkpoint is older than that."""
        return time.time() - self._saved > seconds

    def log(self, **values: float) -> None:
        """Append a line of JSON to the stage's log."""
        line = {"step": self.step, "minutes": round(self.spent / 60, 2)}
        line.update({k: float(f"{v:.5g}") for k, v in values.items()})
        with (self.folder / f"{self.stage}.log").open("a") as file:
            file.write(json.dumps(line) + "\n")


def descend(
    loss: Tensor, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], max_norm: float = 1.0
) -> None:
    """Take one optimizer step along the gradient of a loss, clipped at `max_norm`."""
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(parameters, max_norm)
    optimizer.step()


class Trainer:
    """Takes optimizer steps, logs the mean loss every 25 steps and writes a checkpoint each minute."""

    def __init__(
        self, run: Run, module: nn.Module, optimizer: torch.optim.Optimizer, parts: Mapping[str, Stateful]
    ) -> None:
        self.run, self.module, self.optimizer, self.parts = run, module, optimizer, parts
        self.losses: list[float] = []

    def step(self, loss: torch.Tensor) -> None:
        """Take one step."""
        descend(loss, self.optimizer, self.module.parameters())
        self.losses.append(loss.item())
        if self.run.step % 25 == 0:
            self.run.log(loss=float(np.mean(self.losses)))
            self.losses.clear()
        if self.run.due(60):
            self.run.save(self.parts)


class Workers:
    """The processes of data-parallel training, or the only one when not started by torchrun.

    On a busy machine two processes with one thread each are faster than one with two: they synchronise once a step.
    """

    def __init__(self) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.size > 1:
            distributed.init_process_group("gloo")

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Replace the gradients in every process by their mean over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        pieces = torch.split(flat / self.size, [g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)])

    def broadcast(self, value: float) -> float:
        """Return the first process's value in all processes."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(shared, 0)
        return float(shared)


def cosine(progress: float, peak: float, warm: float = 0.01, floor: float = 0.02) -> float:
    """Return the learning rate: a short warm-up, then half a cosine down to floor x peak."""
    if progress < warm:
        return peak * max(progress / warm, 0.02)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def update_ema(ema: nn.Module, fast: nn.Module, step: int, decay: float = 0.999) -> None:
    """Update the exponential moving average of the weights."""
    rate = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(fast.parameters()), rate)


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Convert uint8 (B, H, W, 3) to float32 (B, 3, H, W) in -1..1."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
    return x.contiguous().float() / 127.5 - 1


FOOOCUS_SIZES = """704*1408 704*1344 768*1344 768*1280 832*1216 832*1152 896*1152 896*1088 960*1088 960*1024 1024*960
1088*960 1088*896 1152*896 1152*832 1216*832 1280*768 1344*768 1344*704 1408*704 1472*704 1536*640 1600*640 1664*576
1728*576"""


def buckets() -> list[tuple[int, int, float]]:
    """Return (height, width, probability) of Fooocus's sizes divided by eight; the square and 9:7 are most likely."""
    pairs = [tuple(int(n) // 8 for n in size.split("*")) for size in FOOOCUS_SIZES.split()]
    common = {(144, 112), (112, 144)}
    rest = [p for p in pairs if p not in common]
    common_buckets = [(128, 128, 0.5), (112, 144, 0.13), (144, 112, 0.13)]
    return common_buckets + [(h, w, 0.24 / len(rest)) for w, h in rest]


def load_vae(folder: Path) -> AutoencoderKL:
    """Load the trained autoencoder with its latents' statistics folded in, which are computed once and cached."""
    path, vae = folder / "vae_folded.pt", networks.build_vae().eval().requires_grad_(False)
    if path.exists():
        vae.load_state_dict(torch.load(path, weights_only=True))
        return vae
    vae.load_state_dict(torch.load(folder / "vae.pt", weights_only=True)["vae"])
    rng = np.random.default_rng(5)
    pictures = [draw.draw(draw.random_scene(rng), rng) for _ in range(256)]
    with torch.no_grad(), in_bfloat16():
        latents = torch.cat(
            [vae.encode(to_tensor(np.stack(pictures[i : i + 16]))).latent_dist.mean.float() for i in range(0, 256, 16)]
        )
    networks.fold_statistics(vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    torch.save(vae.state_dict(), path)
    return vae


def load_tokenizer(folder: Path) -> tokenizer.Tokenizer:
    """Load the tokenizer of this training; it is learned on the first call."""
    if not (folder / "tokenizer" / "merges.txt").exists():
        data.learn_tokenizer().save(folder / "tokenizer")
    return tokenizer.load(folder / "tokenizer")


class LatentDataset:
    """Scenes and their scaled latents by image size; every batch replaces a few with new ones."""

    def __init__(self, vae: AutoencoderKL, pictures: int, folder: Path, name: str = "gallery") -> None:
        self.vae, self.rng, self.name = vae, np.random.default_rng(), name
        self.sizes = buckets()
        self.probabilities = np.array([probability for *_, probability in self.sizes])
        self.scenes: list[list[draw.Scene]] = []
        self.latents: list[torch.Tensor] = []
        if (folder / f"{name}.pt").exists():
            kept = torch.load(folder / f"{name}.pt", weights_only=True)
            self.latents = kept["latents"]
            self.scenes = [[draw.Scene(*words) for words in scenes] for scenes in kept["scenes"]]
            return
        for height, width, probability in self.sizes:
            scenes = [draw.random_scene(self.rng) for _ in range(max(24, round(pictures * probability)))]
            self.scenes.append(scenes)
            self.latents.append(
                torch.cat([self.encode(scenes[i : i + 16], height, width) for i in range(0, len(scenes), 16)])
            )
        self.save(folder)

    def save(self, folder: Path) -> None:
        """Write all scenes and latents for the next run or stage."""
        scenes = [[astuple(scene) for scene in bucket] for bucket in self.scenes]
        torch.save({"latents": self.latents, "scenes": scenes}, folder / f"{self.name}.tmp")
        (folder / f"{self.name}.tmp").replace(folder / f"{self.name}.pt")

    @torch.no_grad()
    def encode(self, scenes: list[draw.Scene], height: int, width: int) -> torch.Tensor:
        """Draw scenes and encode them to scaled latents (B, 4, height / 8, width / 8)."""
        pictures = to_tensor(np.stack([draw.draw(scene, self.rng, height, width) for scene in scenes]))
        with in_bfloat16():
            mean: Tensor = self.vae.encode(pictures).latent_dist.mean
        return mean.float() * float(self.vae.config["scaling_factor"])

    def batch(self, count: int, fresh: int = 1) -> tuple[list[draw.Scene], torch.Tensor, int, int]:
        """Return scenes, latents, height and width of a random batch of one size."""
        n = int(self.rng.choice(len(self.sizes), p=self.probabilities / self.probabilities.sum()))
        height, width, _ = self.sizes[n]
        new = [draw.random_scene(self.rng) for _ in range(fresh)]
        if fresh:
            latents = self.encode(new, height, width)
            for i, scene, latent in zip(self.rng.integers(len(self.scenes[n]), size=fresh), new, latents, strict=True):
                self.scenes[n][i], self.latents[n][i] = scene, latent
        picks = self.rng.integers(len(self.scenes[n]), size=count)
        return [self.scenes[n][i] for i in picks], self.latents[n][picks], height, width


def write_pickle(path: Path, state: Mapping[str, Any]) -> Path:
    """Write a state with torch.save, whole or not at all, and return the path."""
    return write_file(path, encoded(partial(torch.save, dict(state))))
