"""Training of the refiner's UNet, and of the interposer that converts the base's latents to the refiner's."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...pipelines.models.interposer import Interposer, Norm
from . import data, diffusion, draw, export, refiner
from .loop import LatentDataset, Run, Stateful, cosine, descend, in_bfloat16, set_rate, to_tensor, update_ema

# ---------------------------------------------------------------------------------------------- the interposer

FOLDER, FILE = "vae_approx", "xl-to-v1_interposer-v4.0"
WIDTH, BLOCKS = 20, 4
PAIRS = 384
BATCH = 20


def build_interposer() -> Interposer:
    """Build an untrained interposer with batch norms, which are folded when it is loaded."""
    network = Interposer(WIDTH, BLOCKS)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Norm):
                parent.add_module(name, nn.BatchNorm2d(WIDTH))
    return network


def latent_pairs(folder: Path) -> tuple[Tensor, Tensor]:
    """Return unscaled latents (N, 4, 16, 16) of the same images from both autoencoders; computed once and cached."""
    path = folder / "latent_pairs.pt"
    if path.exists():
        kept = torch.load(path, weights_only=True)
        return kept["base"], kept["refiner"]
    rng = np.random.default_rng(41)
    scenes = [draw.draw(draw.random_scene(rng), rng) for _ in range(PAIRS * 7 // 8)]
    shown = to_tensor(np.stack([*scenes, *(draw.draw_abstract(rng) for _ in range(PAIRS - len(scenes)))]))
    shown = shown[torch.from_numpy(rng.permutation(PAIRS))]
    base = refiner.encode_means(refiner.base_vae(), shown)
    other = refiner.encode_means(refiner.load_vae(folder), shown)
    torch.save({"base": base, "refiner": other}, path)
    return base, other


def train_interposer(folder: Path, minutes: float) -> None:
    """Minimise L1 + L2 between scaled latents; a sixteenth of the pairs is held out for validation."""
    run, rng = Run(folder, "interposer", minutes), np.random.default_rng()
    network = build_interposer()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer}
    run.resume(parts)
    base, other = latent_pairs(folder)
    kept = PAIRS // 16
    run.restart_clock()
    progress = 0.0
    while progress < 1:
        progress = run.tick()
        set_rate(optimizer, cosine(progress, 3e-3, warm=0.03, floor=0.005))
        picks = torch.from_numpy(rng.integers(kept, PAIRS, 24))
        error = (network(base[picks]) - other[picks]) * refiner.SCALING_FACTOR
        loss = error.abs().mean() + (error**2).mean()
        descend(loss, optimizer, network.parameters())
        if run.step % 200 == 0:
            run.log(loss=loss.item(), rms_error=rms_error(network, base[:kept], other[:kept]))
        if run.due():
            run.save(parts)
    run.save(parts)


@torch.no_grad()
def rms_error(network: Interposer, base: Tensor, other: Tensor) -> float:
    """Return the root mean square error in the refiner's scale, where latents have deviation 1."""
    network.eval()
    error = (network(base) - other) * refiner.SCALING_FACTOR
    network.train()
    return float((error**2).mean().sqrt())


def write_interposer(folder: Path, models: Path) -> Path:
    """Write the interposer under its published names, float16, to the models folder."""
    state = torch.load(folder / "interposer.pt", map_location="cpu", weights_only=True)["network"]
    description = (
        "Turns latents of the Fooocus Stages pocket model into those of its refiner. It is not the interposer whose "
        "file name it carries."
    )
    path = models / FOLDER / f"{FILE}.safetensors"
    export.write(path, state, export.metadata("Fooocus Stages pocket interposer", description, "latent-interposer"))
    return path


# ---------------------------------------------------------------------------------------------- the UNet


def sample_timesteps(count: int) -> Tensor:
    """Draw timesteps (B,): three of four uniform in log sigma below sigma 4, the rest uniform."""
    low, high = np.log(0.03), np.log(4.0)
    sigma = torch.exp(low + (high - low) * torch.rand(count))
    anywhere = torch.randint(0, 1000, (count,))
    return torch.where(torch.rand(count) < 0.75, diffusion.nearest_step(sigma), anywhere)


def predict_noise(unet: nn.Module, x: Tensor, sigma: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """Predict eps of x = x0 + sigma n, float32 (B, 4, h, w); sigma and t are (B,)."""
    noise: Tensor = unet(x / (sigma.view(-1, 1, 1, 1) ** 2 + 1).sqrt(), t.float(), context).sample.float()
    return noise


def texts_for(scenes: list[draw.Scene], rng: np.random.Generator, sections: int, empty: float = 0.1) -> list[list[str]]:
    """Return B prompts of `sections` texts; a fraction `empty` of them has no content."""
    return [
        data.negative_sections(sections, rng)
        if rng.random() < empty
        else data.positive_sections(draw.caption(scene, rng), sections, rng)
        for scene in scenes
    ]


def train_unet(folder: Path, minutes: float) -> None:
    """Train noise prediction with min-SNR-5 weights (Hang et al. 2023), the layout loss and an EMA."""
    run, rng = Run(folder, "refiner", minutes), np.random.default_rng()
    unet = refiner.build_unet()
    ema = copy.deepcopy(unet).requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    parts: dict[str, Stateful] = {"unet": unet, "ema": ema, "optimizer": optimizer}
    run.resume(parts)
    read = refiner.TextReader(refiner.open_base()[1])
    gallery = LatentDataset(refiner.load_vae(folder), 900, folder, "refiner_gallery")
    run.restart_clock()
    progress, losses = 0.0, []
    while progress < 1:
        progress = run.tick()
        set_rate(optimizer, cosine(progress, 1.5e-3, warm=0.02, floor=0.01))
        scenes, x0, _, _ = gallery.batch(BATCH, fresh=int(run.step % 10 == 0))
        sections = np.random.default_rng(run.step).choice([1, 2, 3, 4], p=(0.8, 0.12, 0.05, 0.03))
        context = read(texts_for(scenes, rng, int(sections)))
        t = sample_timesteps(len(scenes))
        sigma, noise = diffusion.SIGMAS[t], torch.randn_like(x0)
        with in_bfloat16():
            eps = predict_noise(unet, x0 + sigma.view(-1, 1, 1, 1) * noise, sigma, t, context)
        weight = (sigma**2 * 5).clamp(max=1)
        loss = (weight * ((eps - noise) ** 2).mean((1, 2, 3))).mean() + 0.1 * diffusion.layout_loss(eps - noise, sigma)
        descend(loss, optimizer, unet.parameters())
        update_ema(ema, unet, run.step)
        losses.append(loss.item())
        if run.step % 100 == 0:
            run.log(loss=float(np.mean(losses)))
            losses.clear()
        if run.due():
            run.save(parts)
    run.save(parts)
    gallery.save(folder)


def write_checkpoint(folder: Path, models: Path) -> Path:
    """Write the averaged UNet and the rotated autoencoder as one file to the models folder."""
    unet = refiner.build_unet()
    unet.load_state_dict(torch.load(folder / "refiner.pt", map_location="cpu", weights_only=True)["ema"])
    return refiner.write(models, unet, refiner.load_vae(folder))
