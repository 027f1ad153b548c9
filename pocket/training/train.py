"""Train the pocket model: `python -m fooocus_stages.pocket.training.train STAGE --out FOLDER --minutes N`.

The stages in order: vae, unet, targets, lcm, lightning, hyper, offset, film, export. Every stage can be resumed.
The stages expansion, upscaler and safety are independent: each trains its model and writes it. The stages canny, cpds,
image-prompt and inpaint train additions to the committed base and write them; so do refiner-vae, interposer and
refiner, in this order.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn
from torch.nn import Linear
from torch.nn import functional as F

from . import (
    controlling,
    data,
    diffusion,
    distil,
    draw,
    expansion,
    export,
    image_prompting,
    inpainting,
    low_rank,
    networks,
    refiner,
    refining,
    safety,
    upscaling,
)
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
    update_ema,
)

# ---------------------------------------------------------------------------------------------- the autoencoder


def _vae_picture(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.2:
        return draw.draw_abstract(rng)
    return draw.draw(draw.random_scene(rng), rng)


def train_vae(folder: Path, minutes: float) -> None:
    """Train the base's autoencoder, initialised as a thumbnail."""
    vae = networks.build_vae()
    networks.init_as_thumbnail(vae)
    learn_vae(vae.train(), Run(folder, "vae", minutes), kl_weight=3e-4)


def train_refiner_vae(folder: Path, minutes: float) -> None:
    """Train the refiner's autoencoder, initialised from half of the base's channels."""
    vae = refiner.build_vae()
    refiner.init_from(vae, refiner.base_vae())
    learn_vae(vae.train(), Run(folder, "refiner-vae", minutes), kl_weight=1e-6)


def learn_vae(vae: AutoencoderKL, run: Run, kl_weight: float) -> None:
    """Minimise L1 + L2/2 + `kl_weight` x KL on 64-pixel crops, and whole images in the last third."""
    rng = np.random.default_rng(int(time.time()))
    optimizer = torch.optim.AdamW(vae.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
    parts: dict[str, Stateful] = {"vae": vae, "optimizer": optimizer}
    run.resume(parts)
    pool = np.stack([_vae_picture(rng) for _ in range(1500)])
    progress = 0.0
    while progress < 1:
        progress = run.tick()
        set_rate(optimizer, cosine(progress, 4e-4, warm=0.05))
        for i in rng.integers(len(pool), size=4):
            pool[i] = _vae_picture(rng)
        x = to_tensor(_crops(pool, rng, 64 if progress < 0.66 else 128))
        with in_bfloat16():
            posterior = vae.encode(x).latent_dist
            decoded = vae.decode(posterior.sample()).sample
        error = decoded.float() - x
        reconstruction = error.abs().mean() + 0.5 * (error**2).mean()
        kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        loss = reconstruction + kl_weight * kl
        descend(loss, optimizer, vae.parameters())
        if run.step % 25 == 0:
            psnr = 10 * math.log10(4 / (error**2).mean().item())
            spread, noise = posterior.mean.float().std().item(), posterior.std.float().mean().item()
            run.log(l1=error.abs().mean().item(), psnr=psnr, kl=kl.item(), std=spread, noise=noise)
        if run.due():
            run.save(parts)
    run.save(parts)


def _crops(pool: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Return eight crops, none of a single colour, or two whole images: (B, size, size, 3)."""
    if size == pool.shape[1]:
        return pool[rng.integers(len(pool), size=2)]
    picks: list[np.ndarray] = []
    while len(picks) < 8:
        i, (y, x) = rng.integers(len(pool)), rng.integers(0, pool.shape[1] - size + 1, 2)
        crop = pool[i, y : y + size, x : x + size]
        if np.ptp(crop[::4, ::4]) > 60 and crop[::4, ::4].std(axis=(0, 1)).max() > 12:
            picks.append(crop)
    return np.stack(picks)


# ---------------------------------------------------------------------------------------------- the UNet


def prompts(
    scenes: list[draw.Scene], rng: np.random.Generator, sections: int, empty: float = 0.1
) -> tuple[list[list[str]], torch.Tensor, np.ndarray]:
    """Return texts (B lists of k sections), weights of pooled vectors (B, k) and which prompts are empty (B,)."""
    blank = rng.random(len(scenes)) < empty
    texts = [
        data.negative_sections(sections, rng)
        if nothing
        else data.positive_sections(draw.caption(scene, rng), sections, rng)
        for scene, nothing in zip(scenes, blank, strict=True)
    ]
    kept = np.stack([data.pooled_weights(sections, rng) for _ in scenes])
    return texts, torch.from_numpy(kept), blank


class SceneClassifiers(nn.Module):
    """Linear classifiers of the scene's six fields from the pooled vector: an auxiliary loss for the text encoders."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({k: Linear(networks.WIDTH_G, len(v)) for k, v in draw.WORDS.items()})

    def forward(self, pooled: torch.Tensor, scenes: list[draw.Scene]) -> torch.Tensor:
        """Return the mean cross-entropy over the fields; `pooled` is (B, 128)."""
        losses = []
        for field, values in draw.WORDS.items():
            target = torch.tensor([values.index(getattr(scene, field)) for scene in scenes])
            losses.append(F.cross_entropy(self.heads[field](pooled).float(), target))
        return torch.stack(losses).mean()


def train_unet(folder: Path, minutes: float) -> None:
    """Train UNet and text encoders: noise prediction with min-SNR-5 weights (Hang et al. 2023) and an EMA."""
    workers, run, rng = Workers(), Run(folder, "unet", minutes), np.random.default_rng()
    torch.manual_seed(0)
    text = diffusion.TextEncoders(load_tokenizer(folder))
    unet = networks.build_unet()
    readers = SceneClassifiers()
    model = nn.ModuleDict({"unet": unet, "text": text, "readers": readers})
    ema_unet, ema_text = copy.deepcopy(unet), copy.deepcopy(text)
    ema = nn.ModuleDict({"unet": ema_unet, "text": ema_text, "readers": copy.deepcopy(readers)})
    ema.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    parts: dict[str, Stateful] = {"model": model, "ema": ema, "optimizer": optimizer}
    run.resume(parts)
    vae = load_vae(folder)
    gallery = LatentDataset(vae, 1600, folder)
    torch.seed()
    run.restart_clock()
    progress, losses = 0.0, []
    while progress < 1:
        progress = workers.broadcast(run.tick())
        set_rate(optimizer, cosine(progress, 1e-3, warm=0.02, floor=0.01))
        sections = np.random.default_rng(run.step).choice([1, 2, 3, 4], p=(0.7, 0.17, 0.08, 0.05))
        loss, reading = unet_losses(unet, text, readers, gallery.batch(32 // workers.size), int(sections), rng)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss + 0.03 * reading)
        workers.average_gradients(list(model.parameters()))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if workers.rank > 0:
            continue
        update_ema(ema, model, run.step)
        losses.append(loss.item())
        if run.step % 100 == 0:
            run.log(loss=float(np.mean(losses)), reading=reading.item())
            losses.clear()
        if run.due():
            run.save(parts)
            gallery.save(folder)
        if run.step % 1000 == 0:
            run.log(**evaluate_unseen(ema_unet, ema_text, vae, 32))
            run.restart_clock()
    if workers.rank == 0:
        run.save(parts)
        run.log(**evaluate_unseen(ema_unet, ema_text, vae, 64))


def unet_losses(
    unet: nn.Module,
    text: diffusion.TextEncoders,
    readers: SceneClassifiers,
    batch: tuple[list[draw.Scene], torch.Tensor, int, int],
    sections: int,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of the predicted noise, and that of the scene classifiers on the prompts that are not empty."""
    scenes, x0, height, width = batch
    texts, kept, blank = prompts(scenes, rng, sections)
    ids = torch.tensor([data.size_ids(height, width, rng) for _ in scenes], dtype=torch.float32)
    t = torch.randint(0, 1000, (len(scenes),))
    sigma = diffusion.SIGMAS[t]
    noise = torch.randn_like(x0)
    with in_bfloat16():
        condition = text.condition(texts, ids, kept)
        x = x0 + sigma.view(-1, 1, 1, 1) * noise
        eps = diffusion.predict_noise(unet, x, sigma, t, condition)
        captioned = [i for i, is_blank in enumerate(blank) if not is_blank]
        reading = readers(condition.pooled[captioned], [scenes[i] for i in captioned])
    weight = (sigma**2 * 5).clamp(max=1)
    loss = (weight * ((eps - noise) ** 2).mean((1, 2, 3))).mean() + 0.1 * diffusion.layout_loss(eps - noise, sigma)
    return loss, reading


@torch.no_grad()
def evaluate_unseen(
    unet: nn.Module, text: diffusion.TextEncoders, vae: AutoencoderKL, count: int, steps: int = 14
) -> dict[str, float]:
    """Return the fractions of unseen captions with the right background, colour and position (Euler, cfg 4)."""
    rng = np.random.default_rng(99)
    scenes = [draw.random_scene(rng, unseen=True) for _ in range(count)]
    captions = [[draw.caption(scene, rng, complete=True)] for scene in scenes]
    ids = torch.tensor([[128.0, 128, 0, 0, 128, 128]]).repeat(count, 1)
    with in_bfloat16():
        positive, negative = text.condition(captions, ids), text.condition([[""]] * count, ids)
        noise = torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(7))
        x = diffusion.sample_euler(diffusion.guided(unet, positive, negative), noise, diffusion.karras(steps))
    return score(vae, x, scenes)


@torch.no_grad()
def score(vae: AutoencoderKL, x: torch.Tensor, scenes: list[draw.Scene]) -> dict[str, float]:
    """Decode scaled latents (B, 4, h, w) and return the fraction of images with each field right."""
    right = {"background": 0, "colour": 0, "position": 0}
    for latent, scene in zip(x, scenes, strict=True):
        picture = vae.decode(latent[None] / networks.SCALING_FACTOR).sample[0]
        verdict = draw.judge(((picture.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).byte().numpy())
        for field in right:
            right[field] += getattr(verdict, field) == getattr(scene, field)
    return {field: n / len(scenes) for field, n in right.items()}


def run_export(folder: Path, models: Path) -> None:
    """Write the checkpoint and the trained LoRAs to the models folder."""
    unet, text = distil.load_model(folder)
    export.write_checkpoint(models, unet, text, load_vae(folder))
    for kind, rank in distil.RANKS.items():
        path = folder / f"{kind}.pt"
        if path.exists():
            only = "up_blocks" if kind in distil.LOOKS else ""
            added = low_rank.attach(networks.build_unet(), rank, only)
            added.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["added"])
            scale = 1 / distil.WEIGHT_OF_HYPER if kind == "hyper" else 1.0
            export.write_lora(models, kind, low_rank.pairs(added, scale))


STAGES = ("vae", "unet", "targets", "lcm", "lightning", "hyper", "offset", "film", "export", "expansion", "upscaler",
          "safety", "refiner-vae", "interposer", "refiner", *controlling.FILES, "image-prompt",
          inpainting.FOLDER)  # fmt: skip


def run_stage(stage: str, folder: Path, minutes: float, models: Path) -> None:
    """Run one training stage."""
    if stage == "vae":
        train_vae(folder, minutes)
    elif stage == "unet":
        train_unet(folder, minutes)
    elif stage == "targets":
        distil.make_targets(folder, minutes)
    elif stage in distil.TIMESTEPS:
        distil.train_fast(stage, folder, minutes)
    elif stage in distil.LOOKS:
        distil.train_look(stage, folder, minutes)
    elif stage == "expansion":
        expansion.train(folder, minutes)
        expansion.write(folder, models)
    elif stage == "upscaler":
        upscaling.train(folder, minutes)
        upscaling.write(folder, models)
    elif stage == "safety":
        safety.train(folder, minutes)
        safety.write(folder, models)
    elif stage == "refiner-vae":
        train_refiner_vae(folder, minutes)
    elif stage == "interposer":
        refining.train_interposer(folder, minutes)
        refining.write_interposer(folder, models)
    elif stage == "refiner":
        refining.train_unet(folder, minutes)
        refining.write_checkpoint(folder, models)
    elif stage in controlling.FILES:
        controlling.train(stage, folder, minutes)
        controlling.write(stage, folder, models)
    elif stage == "image-prompt":
        image_prompting.train(folder, minutes)
        image_prompting.write(folder, models)
    elif stage == inpainting.FOLDER:
        inpainting.train(folder, minutes)
        inpainting.write(folder, models)
    else:
        run_export(folder, models)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--out", type=Path, default=Path("pocket_training"), help="folder of checkpoints and logs")
    parser.add_argument("--minutes", type=float, default=20.0, help="wall-clock time for this stage")
    parser.add_argument("--models", type=Path, default=Path("pocket_training/models"), help="models folder to write to")
    arguments = parser.parse_args()
    run_stage(arguments.stage, arguments.out, arguments.minutes, arguments.models)


if __name__ == "__main__":
    main()
