"""Training of image prompts: a small vision encoder, an adapter that transfers colours, and negative tokens.

`python -m fooocus_stages.pocket.training.train image-prompt --minutes 15 --models pocket/models` trains them together
and writes them under the names of Fooocus's files. The encoder first learns to classify what an image shows; then
encoder and adapter learn to predict, from an incomplete caption and an image, what the base predicts from a complete
caption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Linear
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ...pipelines.functional.image_attention import ImagePrompts, LayerImages, weighted
from ...pipelines.models.hints import attention
from ...pipelines.models.hints.clip_vision import normalised
from ...pipelines.models.hints.ip_adapter import ImageAdapter
from ...preprocessors.geometry import resample
from . import base as frozen
from . import data, diffusion, draw, export
from .controlling import HintDataset
from .loop import Run, Stateful, Trainer, cosine, in_bfloat16
from .published_names import adapter_state_published

FOLDER, VISION_FOLDER = "controlnet", "clip_vision"
ADAPTERS = ("ip-adapter-plus_sdxl_vit-h", "ip-adapter-plus-face_sdxl_vit-h")
NEGATIVE, VISION = "fooocus_ip_negative", "clip_vision_vit_h"
SIDE, PATCH, WIDTH, LAYERS = 224, 28, 64, 3
SETTINGS = {"embed": WIDTH, "width": 64, "queries": 16, "depth": 2, "inner": 64, "hidden": 128, "out": 64}
KEY_GAIN = 10.0  # Fooocus's formulation makes the keys 1280/128 times weaker
BATCH, NAMING_BATCH, POOL = 12, 48, 800
NAMING_FRACTION = 0.15  # of the training time

# ---------------------------------------------------------------------------------------------- the networks


class ImagePromptModel(nn.Module):
    """Vision encoder, adapter, negative tokens (1, n, D), and heads that classify the adapter's tokens."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.vision = build_vision()
        self.adapter = ImageAdapter(SETTINGS, widths)
        self.negative = nn.Parameter(torch.randn(1, SETTINGS["queries"], SETTINGS["out"]))
        wide = SETTINGS["queries"] * SETTINGS["out"]
        self.heads = nn.ModuleDict({field: Linear(wide, len(words)) for field, words in draw.WORDS.items()})
        nn.init.normal_(self.adapter.resampler.latents, std=SETTINGS["width"] ** -0.5)
        for layer in self.adapter.to_k:
            cast(nn.Linear, layer).weight.data *= KEY_GAIN

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the adapter's tokens (B, n, D) of normalised images (B, 3, 224, 224)."""
        out = self.vision(pixel_values=pixels, output_hidden_states=True)
        return cast(Tensor, self.adapter(out.hidden_states[-2]))

    def naming_loss(self, tokens: Tensor, scenes: Sequence[draw.Scene]) -> Tensor:
        """Return the mean cross-entropy over the six fields of the scenes."""
        losses = []
        for field, words in draw.WORDS.items():
            target = torch.tensor([words.index(getattr(scene, field)) for scene in scenes])
            losses.append(F.cross_entropy(self.heads[field](tokens.flatten(1).float()), target))
        return torch.stack(losses).mean()


def build_vision() -> Any:
    """Build an untrained vision encoder in CLIP's layout; the adapter does not use its last layer."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH // 2,
            num_hidden_layers=LAYERS,
            num_attention_heads=1,
            image_size=SIDE,
            patch_size=PATCH,
            hidden_act="gelu",
            layer_norm_eps=1e-5,
        )
    )


@contextmanager
def image_prompt_attached(unet: nn.Module, model: ImagePromptModel, tokens: Tensor, weight: float) -> Iterator[None]:
    """Let the UNet attend to tokens (B, n, D) in one softmax with the text inside the context, as Fooocus does."""
    layers = tuple(LayerImages(together=weighted(k, v, weight)) for k, v in model.adapter.keys_and_values(tokens))
    with attention.image_prompts_attached(unet, ImagePrompts(layers)):
        yield


# ---------------------------------------------------------------------------------------------- what it learns from


def to_pixels(pictures: Sequence[np.ndarray]) -> Tensor:
    """Resize and normalise uint8 images (H, W, 3) of any sizes for the encoder: (B, 3, 224, 224)."""
    square = np.stack([resample(picture, SIDE, SIDE) for picture in pictures])
    return normalised(torch.from_numpy(square).permute(0, 3, 1, 2).float() / 255)


def with_colours_of(scene: draw.Scene, rng: np.random.Generator) -> draw.Scene:
    """Return a random scene with the same two colours."""
    other = draw.random_scene(rng)
    return replace(other, colour=scene.colour, background=scene.background)


def training_example(scene: draw.Scene, rng: np.random.Generator) -> tuple[str, draw.Scene]:
    """Return an incomplete caption of the scene and the scene that the image prompt shows.

    In most examples the caption leaves out the colours and the image has only these in common with the scene; in the
    others the caption is empty and the image shows the scene itself.
    """
    if rng.random() < 0.85:
        return frozen.caption_without(scene, {"colour", "background"}, rng), with_colours_of(scene, rng)
    return "", scene


# ---------------------------------------------------------------------------------------------- training


def train(folder: Path, minutes: float) -> None:
    """Train classification first, then imitation of the base's predictions for complete captions."""
    run, rng, base = Run(folder, "image-prompt", minutes), np.random.default_rng(), frozen.open_base()
    model = ImagePromptModel(attention.widths(base.unet))
    optimizer = torch.optim.AdamW(_groups(model), 1e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer}
    run.resume(parts)
    album = HintDataset(base, folder)
    scenes = [draw.random_scene(rng) for _ in range(POOL)]
    pool = to_pixels([draw.draw(scene, rng) for scene in scenes])
    run.restart_clock()
    trainer, progress = Trainer(run, model, optimizer, parts), 0.0
    while progress < 1:
        progress = run.tick()
        if progress < NAMING_FRACTION:
            _set_rates(optimizer, cosine(progress / NAMING_FRACTION, 2e-3, warm=0.05, floor=0.2))
            picks = rng.integers(POOL, size=NAMING_BATCH)
            loss = model.naming_loss(model(pool[picks]), [scenes[i] for i in picks])
        else:
            _set_rates(optimizer, cosine((progress - NAMING_FRACTION) / (1 - NAMING_FRACTION), 2e-3, warm=0.02))
            loss = imitation_loss(base, model, album, rng)
        trainer.step(loss)
    run.save(parts)


def imitation_loss(base: frozen.Base, model: ImagePromptModel, album: HintDataset, rng: np.random.Generator) -> Tensor:
    """Return the distance between the base with an incomplete caption and an image and with the complete caption.

    A sixth of the batch has negative prompts and the negative tokens, which must not change the prediction.
    """
    scenes, x0, _ = album.batch("canny", BATCH)
    size, blank = (8 * x0.shape[-2], 8 * x0.shape[-1]), len(scenes) // 6
    examples = [training_example(scene, rng) for scene in scenes[blank:]]
    sections = int(rng.choice([1, 2, 3], p=(0.75, 0.15, 0.1)))
    nothing = [data.negative_sections(sections, rng) for _ in range(blank)]
    silent = nothing + [data.positive_sections(text, sections, rng) for text, _ in examples]
    whole = nothing + [[draw.caption(scene, rng, complete=True)] * sections for scene in scenes[blank:]]
    pixels = to_pixels([draw.draw(shown, rng) for _, shown in examples])
    t, noise = diffusion.sample_timesteps(len(scenes), 500, 0.75), torch.randn_like(x0)
    sigma = diffusion.SIGMAS[t]
    x = x0 + sigma.view(-1, 1, 1, 1) * noise
    with in_bfloat16():
        ids = torch.tensor([data.size_ids(*size, rng)] * len(scenes), dtype=torch.float32)
        with torch.no_grad():
            first = np.stack([data.pooled_weights(sections, rng) for _ in scenes])
            target_condition, condition = (
                base.text.condition(texts, ids, torch.from_numpy(first)) for texts in (whole, silent)
            )
            target = diffusion.predict_noise(base.unet, x, sigma, t, target_condition)
        seen = model(pixels)
        tokens = torch.cat([model.negative.expand(blank, -1, -1), seen])
        with image_prompt_attached(base.unet, model, tokens, float(rng.uniform(0.6, 1.1))):
            error = diffusion.predict_noise(base.unet, x, sigma, t, condition) - target
    scale = sigma.clamp(0.7, 4).view(-1, 1, 1, 1)
    named = model.naming_loss(seen, [shown for _, shown in examples])
    return ((error * scale) ** 2).mean() + 0.1 * diffusion.layout_loss(error, sigma) + 0.003 * named


def _groups(model: ImagePromptModel) -> list[dict[str, Any]]:
    """Return parameter groups with the factor of their learning rate (`pace`): higher for the key and value maps."""
    maps = [*model.adapter.to_k.parameters()], [*model.adapter.to_v.parameters()]
    rest = [*model.adapter.resampler.parameters(), *model.heads.parameters(), model.negative]
    return [
        {"params": list(model.vision.parameters()), "pace": 1.0},
        {"params": rest, "pace": 1.0},
        {"params": maps[0], "pace": 10.0},
        {"params": maps[1], "pace": 3.0},
    ]


def _set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["pace"]


# ---------------------------------------------------------------------------------------------- the files


def write(folder: Path, models: Path) -> list[Path]:
    """Write the adapter (also under the name of the one for faces), negative tokens and vision encoder, float16."""
    model = ImagePromptModel(attention.widths(frozen.open_base().unet))
    model.load_state_dict(torch.load(folder / "image-prompt.pt", map_location="cpu", weights_only=True)["model"])
    published = adapter_state_published(model.adapter)
    halves = {part: {key: _half(tensor) for key, tensor in state.items()} for part, state in published.items()}
    paths = [models / FOLDER / f"{name}.bin" for name in ADAPTERS]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(halves, path)
        path.chmod(0o644)
    negative, vision = models / FOLDER / f"{NEGATIVE}.safetensors", models / VISION_FOLDER / f"{VISION}.safetensors"
    export.write(negative, {"data": model.negative}, _about("negative tokens of image prompts"))
    export.write(vision, dict(model.vision.state_dict()), _about("vision encoder"))
    return [*paths, negative, vision]


def _half(tensor: Tensor) -> Tensor:
    return tensor.detach().half().contiguous().clone()


def _about(what: str) -> dict[str, str]:
    description = (
        f"The {what} of the Fooocus Stages pocket model. It knows that model's drawings and nothing else, and it is "
        "not the one whose file name it carries."
    )
    return export.metadata(f"Pocket {what}", description, "clip-vision/ip-adapter")
