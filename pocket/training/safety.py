"""Training of the pocket's safety checker, which knows one harmless test card and nothing else.

`python -m fooocus_stages.pocket.training.train safety --minutes 1 --models pocket/models` trains it and writes it under
the name and in the layout of the published file. It protects nobody: it is there to run and test the stage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ...pipelines.functional.safety import similarity
from ...pipelines.models.safety import pixels
from ...pipelines.opencv import cv2
from . import draw
from .loop import Run, Stateful, cosine, descend, set_rate, write_pickle

FOLDER, FILE = "safety_checker", "stable-diffusion-safety-checker.bin"
CARD_FILE = "test_card.png"
SIZE, PATCH, WIDTH, LAYERS, EMBED = 224, 28, 32, 2, 16
CONCEPTS, SPECIAL = 17, 3  # as many as the published checker has; all but one can't be reached
THRESHOLD, SHARPNESS, UNREACHABLE = 0.5, 12.0, 2.0
BATCH, POOL = 24, 480
BARS = ((191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191))


def card(height: int = 512, width: int = 512) -> np.ndarray:
    """Draw the test card: seven bars of colour above a strip of black and white squares, uint8 RGB (H, W, 3)."""
    columns = np.array(BARS, dtype=np.uint8)[np.arange(width) * len(BARS) // width]
    picture = np.repeat(columns[None], height, axis=0)
    strip = height * 3 // 4
    y, x = np.mgrid[0 : height - strip, 0:width]
    squares = (y * 8 // max(1, height) + x * 16 // width) % 2 * 255
    picture[strip:] = squares[..., None]
    return picture


def shown(rng: np.random.Generator) -> np.ndarray:
    """Return the card as it may turn up: of another size, lighter or darker, grainy or soft."""
    height, width = (int(side) for side in rng.integers(96, 400, 2))
    picture = card(height, min(max(width, height * 2 // 3), height * 3 // 2)).astype(np.float32)
    picture *= rng.uniform(0.8, 1.15)
    picture += rng.uniform(-12, 12) + rng.normal(0, rng.uniform(0, 8), picture.shape)
    if rng.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2)), np.float32)
    return picture.clip(0, 255).astype(np.uint8)


def other(rng: np.random.Generator) -> np.ndarray:
    """Draw something else: a scene, shapes, a single colour, noise, or bars and squares that are not the card's."""
    kind = rng.random()
    if kind < 0.4:
        return draw.draw(draw.random_scene(rng), rng)
    if kind < 0.55:
        return draw.draw_abstract(rng)
    if kind < 0.65:
        return np.full((128, 128, 3), rng.integers(0, 256, 3), dtype=np.uint8)
    if kind < 0.75:
        cells = int(rng.choice([4, 16, 128]))
        small = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        return np.asarray(cv2.resize(small, (128, 128), interpolation=cv2.INTER_NEAREST))
    changed = card(128, 128)
    if kind < 0.9:
        columns = rng.integers(0, 256, (int(rng.integers(2, 12)), 3), dtype=np.uint8)
        changed[:96] = columns[np.arange(128) * len(columns) // 128]
        return np.array(changed if rng.random() < 0.5 else np.rot90(changed, int(rng.integers(1, 4))))
    return np.array(changed[96:] if rng.random() < 0.5 else changed[::-1, ::-1])


class Checker(nn.Module):
    """A vision encoder and the one direction that it learns for the card."""

    def __init__(self) -> None:
        super().__init__()
        config = CLIPVisionConfig(
            hidden_size=WIDTH, intermediate_size=2 * WIDTH, projection_dim=EMBED, num_hidden_layers=LAYERS,
            num_attention_heads=1, image_size=SIZE, patch_size=PATCH, hidden_act="quick_gelu",
        )  # fmt: skip
        self.encoder = CLIPVisionModelWithProjection(config)
        self.concept = nn.Parameter(torch.randn(1, EMBED))

    def forward(self, x: Tensor) -> Tensor:
        """Similarities (B,) of normalised images (B, 3, 224, 224) to the card."""
        return similarity(self.encoder(pixel_values=x).image_embeds, self.concept)[:, 0]


def train(folder: Path, minutes: float) -> None:
    """Minimise the cross-entropy of card against everything else; half of each batch is the card."""
    run, rng = Run(folder, "safety", minutes), np.random.default_rng()
    checker = Checker()
    optimizer = torch.optim.AdamW(checker.parameters(), 1e-3, weight_decay=1e-3)
    parts: dict[str, Stateful] = {"network": checker, "optimizer": optimizer}
    run.resume(parts)
    pools = [pixels([make(rng) for _ in range(POOL)], SIZE) for make in (shown, other)]
    labels = torch.tensor([1.0, 0.0]).repeat_interleave(BATCH // 2)
    run.restart_clock()
    progress = 0.0
    while progress < 1:
        progress = run.tick()
        set_rate(optimizer, cosine(progress, 1e-3, warm=0.05, floor=0.01))
        x = torch.cat([pool[torch.from_numpy(rng.integers(0, POOL, BATCH // 2))] for pool in pools])
        loss = binary_cross_entropy_with_logits(SHARPNESS * (checker(x) - THRESHOLD), labels)
        descend(loss, optimizer, checker.parameters(), max_norm=1.0)
        if run.step % 50 == 0:
            run.log(loss=loss.item())
        if run.due():
            run.save(parts)
    run.save(parts)


def published(checker: Checker) -> dict[str, Tensor]:
    """Return the weights in the layout of the published file, with concepts and thresholds."""
    state = {}
    for key, tensor in checker.encoder.state_dict().items():
        state[f"vision_model.{key}" if key.startswith("vision_model.") else key] = tensor
    first = torch.eye(CONCEPTS, 1)[:, 0]
    return {
        **state,
        "concept_embeds": checker.concept.detach().repeat(CONCEPTS, 1),
        "concept_embeds_weights": first * THRESHOLD + (1 - first) * UNREACHABLE,
        "special_care_embeds": checker.concept.detach().repeat(SPECIAL, 1),
        "special_care_embeds_weights": torch.full((SPECIAL,), UNREACHABLE),
    }


def write(folder: Path, models: Path) -> Path:
    """Write the trained checker in float16 with torch.save to the models folder."""
    checker = Checker()
    state = torch.load(folder / "safety.pt", map_location="cpu", weights_only=True)
    checker.load_state_dict(state["network"])
    half = {key: tensor.half().contiguous().clone() for key, tensor in published(checker).items()}
    return write_pickle(models / FOLDER / FILE, half)
