"""Training of the LoRAs: three distilled for few steps without guidance, two that change the look.

The distilled ones learn the endpoint of the guided teacher's trajectory: from a noisy latent, up to five second-order
guided steps lead to a clean one, which the student must predict in a single call (a consistency function, Song et al.
2023, with the guidance distilled as by Luo et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from . import data, diffusion, draw, low_rank, networks
from .diffusion import SIGMAS, Condition
from .loop import (
    LatentDataset,
    Run,
    Stateful,
    Workers,
    cosine,
    descend,
    in_bfloat16,
    load_tokenizer,
    load_vae,
    set_rate,
    to_tensor,
)

CFG = 4.0
TIMESTEPS = {
    "lcm": (999, 879, 759, 639, 499, 379, 259, 139),
    "lightning": (999, 749, 500, 250),
    "hyper": (999, 860, 687, 407, 146, 14),
}
RANKS = {"lcm": 5, "lightning": 3, "hyper": 3, "offset": 1, "film": 1}
WEIGHT_OF_HYPER = 0.8


def load_model(folder: Path) -> tuple[nn.Module, diffusion.TextEncoders]:
    """Load the averaged UNet and text encoders of the unet stage, frozen."""
    text = diffusion.TextEncoders(load_tokenizer(folder))
    unet = networks.build_unet()
    state = torch.load(folder / "unet.pt", map_location="cpu", weights_only=True)["ema"]
    for name, part in (("unet", unet), ("text", text)):
        part.load_state_dict({k.removeprefix(name + "."): v for k, v in state.items() if k.startswith(name + ".")})
    return unet.eval().requires_grad_(False), text.eval().requires_grad_(False)


@torch.no_grad()
def solve_guided_ode(
    unet: nn.Module, x: torch.Tensor, sigma: float, positive: Condition, negative: Condition, steps: int = 5
) -> torch.Tensor:
    """Solve the guided ODE from x at sigma with DPM-Solver++(2M) (Lu et al. 2022) on Karras sigmas."""
    sigmas = diffusion.karras(steps, high=sigma)
    denoise = diffusion.guided(unet, positive, negative, CFG)
    before, h_before = None, 1.0
    for now, following in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        denoised = denoise(x, now)
        if following == 0:
            return denoised
        h = float(np.log(now / following))
        lead = denoised if before is None else denoised + (denoised - before) * h / (2 * h_before)
        x = following / now * x - float(np.expm1(-h)) * lead
        before, h_before = denoised, h
    return x


def draw_step(rng: np.random.Generator) -> int:
    """Draw a timestep that one of the fast modes uses, or any; high noise more often."""
    kind = rng.choice(["lcm", "lightning", "hyper", "any"], p=(0.5, 0.18, 0.2, 0.12))
    if kind == "any":
        return int(rng.integers(20, 1000))
    steps = TIMESTEPS[str(kind)]
    weights = np.linspace(1.6, 0.6, len(steps))
    return int(rng.choice(steps, p=weights / weights.sum()))


def plain_ids(height: int, width: int, count: int) -> torch.Tensor:
    """Return the size conditioning of the fast modes, (B, 6)."""
    ids = data.size_ids(height, width, np.random.default_rng(0), wild=False)
    return torch.tensor([ids], dtype=torch.float32).repeat(count, 1)


def make_targets(folder: Path, minutes: float) -> None:
    """Write noisy latents, their prompts and trajectory endpoints in files of sixteen batches; can be resumed."""
    workers, run, rng = Workers(), Run(folder, "targets", minutes), np.random.default_rng()
    unet, text = load_model(folder)
    gallery = LatentDataset(load_vae(folder), 600, folder)
    store = folder / "targets"
    store.mkdir(exist_ok=True)
    kept = sorted(store.glob(f"{workers.rank}-*.pt"))
    torch.seed()
    run.restart_clock()
    progress, batches = 0.0, []
    while progress < 1:
        progress = run.tick()
        scenes, x0, height, width = gallery.batch(32)
        t = draw_step(rng)
        sigma = float(SIGMAS[t])
        if sigma > 1.5:
            mismatched = torch.from_numpy(rng.random(len(scenes)) < 0.3)
            x0 = torch.where(mismatched.view(-1, 1, 1, 1), x0.roll(1, 0), x0)
        x = x0 + sigma * torch.randn_like(x0)
        captions = [draw.caption(scene, rng) for scene in scenes]
        ids = plain_ids(height, width, len(scenes))
        with torch.no_grad(), in_bfloat16():
            positive = text.condition([[caption] for caption in captions], ids)
            negative = text.condition([[""]] * len(scenes), ids)
            end = solve_guided_ode(unet, x, sigma, positive, negative, 5 if sigma > 3 else 4 if sigma > 1 else 3)
        batches.append({"x": x.half(), "t": t, "end": end.half(), "captions": captions, "size": (height, width)})
        if len(batches) == 16 or progress >= 1:
            torch.save(batches, store / f"{workers.rank}-{len(kept):03d}.pt")
            kept.append(store)
            batches = []
    run.log(batches=16 * len(kept))


def train_fast(kind: str, folder: Path, minutes: float) -> None:
    """Train a LoRA to predict the endpoint in one call at the timesteps of its mode (lcm: at all of them)."""
    workers, run, rng = Workers(), Run(folder, kind, minutes), np.random.default_rng()
    unet, text = load_model(folder)
    torch.manual_seed(0)
    added = low_rank.attach(unet, RANKS[kind])
    optimizer = torch.optim.AdamW(added.parameters(), 2e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    parts: dict[str, Stateful] = {"added": added, "optimizer": optimizer}
    if kind != "lcm" and (folder / "lcm.pt").exists():
        low_rank.init_from(added, torch.load(folder / "lcm.pt", map_location="cpu", weights_only=True)["added"])
    run.resume(parts)
    ema = [p.detach().clone() for p in added.parameters()]
    batches = [b for file in sorted((folder / "targets").glob("*.pt")) for b in torch.load(file, weights_only=True)]
    if kind != "lcm":
        batches = [b for b in batches if is_near_any(b["t"], TIMESTEPS[kind])]
    torch.seed()
    run.restart_clock()
    progress, losses = 0.0, []
    while progress < 1:
        progress = workers.broadcast(run.tick())
        set_rate(optimizer, cosine(progress, 2e-3 if kind == "lcm" else 8e-4, warm=0.03, floor=0.02))
        error, sigma = endpoint_error(unet, text, batches[int(rng.integers(len(batches)))], rng)
        loss = ((error + 1e-4).sqrt() / (0.3 + sigma.sqrt())).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        workers.average_gradients(list(added.parameters()))
        nn.utils.clip_grad_norm_(added.parameters(), 1.0)
        optimizer.step()
        if workers.rank > 0:
            continue
        torch._foreach_lerp_(ema, [p.detach() for p in added.parameters()], 0.01)
        losses.append(error.mean().item())
        if run.step % 50 == 0:
            run.log(error=float(np.mean(losses)), loss=loss.item())
            losses.clear()
        if run.due():
            run.save(parts)
    if workers.rank > 0:
        return
    with torch.no_grad():
        for parameter, average in zip(added.parameters(), ema, strict=True):
            parameter.copy_(average)
    run.save(parts)


def endpoint_error(
    unet: nn.Module, text: diffusion.TextEncoders, batch: Mapping[str, Any], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the squared error of each predicted endpoint of a batch of targets, (B,), and its sigma, (B,)."""
    x, end, t = batch["x"].float(), batch["end"].float(), batch["t"]
    height, width = batch["size"]
    sigma = torch.full((len(x),), float(SIGMAS[t]))
    sections = int(rng.choice([1, 2, 3], p=(0.75, 0.15, 0.1)))
    texts = [data.positive_sections(caption, sections, rng) for caption in batch["captions"]]
    kept = torch.from_numpy(np.stack([data.pooled_weights(sections, rng) for _ in texts]))
    with in_bfloat16():
        with torch.no_grad():
            condition = text.condition(texts, plain_ids(height, width, len(x)), kept)
        eps = diffusion.predict_noise(unet, x, sigma, torch.full((len(x),), t), condition)
    denoised = x - sigma.view(-1, 1, 1, 1) * eps
    return ((denoised - end) ** 2).mean((1, 2, 3)), sigma


def is_near_any(t: int, steps: tuple[int, ...]) -> bool:
    """Return True if t is within 12 of one of the steps."""
    return min(abs(t - step) for step in steps) <= 12


# ---------------------------------------------------------------------------------------------- looks


def darker(picture: np.ndarray) -> np.ndarray:
    """Darken an image and raise its contrast, uint8 (H, W, 3)."""
    x = picture.astype(np.float32) / 255
    toned: np.ndarray = np.clip(x**1.35 * 0.92 - 0.02, 0, 1) * 255 + 0.5
    return toned.astype(np.uint8)


def faded(picture: np.ndarray) -> np.ndarray:
    """Lift the blacks, warm the highlights and reduce the saturation of an image, uint8 (H, W, 3)."""
    x = picture.astype(np.float32) / 255
    grey = x.mean(-1, keepdims=True)
    x = (grey + 0.78 * (x - grey)) * 0.84 + 0.1
    toned: np.ndarray = np.clip(x * (1.05, 1.0, 0.88), 0, 1) * 255 + 0.5
    return toned.astype(np.uint8)


LOOKS = {"offset": darker, "film": faded}


def train_look(kind: str, folder: Path, minutes: float) -> None:
    """Train a small LoRA with the usual loss on images whose tones have been changed."""
    run, rng = Run(folder, kind, minutes), np.random.default_rng()
    unet, text = load_model(folder)
    vae = load_vae(folder)
    added = low_rank.attach(unet, RANKS[kind], only="up_blocks")
    optimizer = torch.optim.AdamW(added.parameters(), 2e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    parts: dict[str, Stateful] = {"added": added, "optimizer": optimizer}
    run.resume(parts)
    scenes = [draw.random_scene(rng) for _ in range(400)]
    encoded: list[torch.Tensor] = []
    for i in range(0, len(scenes), 16):
        pictures = to_tensor(np.stack([LOOKS[kind](draw.draw(scene, rng)) for scene in scenes[i : i + 16]]))
        with torch.no_grad(), in_bfloat16():
            encoded.append(vae.encode(pictures).latent_dist.mean.float() * networks.SCALING_FACTOR)
    x0s = torch.cat(encoded)
    torch.seed()
    run.restart_clock()
    progress = 0.0
    while progress < 1:
        progress = run.tick()
        set_rate(optimizer, cosine(progress, 2e-3, warm=0.05))
        picks = rng.integers(len(scenes), size=32)
        texts = [[draw.caption(scenes[i], rng)] if rng.random() > 0.1 else [""] for i in picks]
        t = torch.randint(0, 1000, (len(picks),))
        sigma, x0 = SIGMAS[t], x0s[picks]
        noise = torch.randn_like(x0)
        with in_bfloat16():
            condition = text.condition(texts, plain_ids(128, 128, len(picks)))
            eps = diffusion.predict_noise(unet, x0 + sigma.view(-1, 1, 1, 1) * noise, sigma, t, condition)
        weight = (sigma**2 * 5).clamp(max=1) * (1 + sigma)
        loss = (weight * ((eps - noise) ** 2).mean((1, 2, 3))).mean()
        descend(loss, optimizer, added.parameters())
        if run.step % 50 == 0:
            run.log(loss=loss.item())
    run.save(parts)
