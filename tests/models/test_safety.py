"""Files of the safety checker: what is refused, and how an image is shown to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.models.hints.clip_vision import normalised
from fooocus_stages.pipelines.models.safety import load_safety_checker, pixels
from fooocus_stages.pocket.training import safety
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {key: tensor.contiguous().clone() for key, tensor in safety.published(safety.Checker()).items()}


def written(folder: Path, state: dict[str, Tensor]) -> Path:
    save_file(state, folder / "checker.safetensors")
    return folder / "checker.safetensors"


def test_a_file_is_loaded_with_its_own_sizes(tmp_path: Path, state: dict[str, Tensor]) -> None:
    checker = load_safety_checker(written(tmp_path, state))
    assert (checker.size, checker.width, checker.protects) == (safety.SIZE, safety.WIDTH, False)
    assert checker.concepts.embeds.shape == (17, safety.EMBED)
    assert checker.special.thresholds.shape == (3,)


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="is not a safety checker"):
        load_safety_checker(written(tmp_path, {"weight": torch.zeros(2)}))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        load_safety_checker(tmp_path / "checker.bin")


@pytest.mark.parametrize("lost", ["visual_projection.weight", "concept_embeds_weights"])
def test_an_incomplete_file_is_refused(tmp_path: Path, state: dict[str, Tensor], lost: str) -> None:
    del state[lost]
    with pytest.raises(BadFile, match="incomplete"):
        load_safety_checker(written(tmp_path, state))


def test_a_weight_that_is_no_number_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state["concept_embeds"][0, 0] = float("nan")
    with pytest.raises(BadFile, match="concept_embeds contains NaN"):
        load_safety_checker(written(tmp_path, state))


@pytest.mark.parametrize(("height", "width"), [(224, 224), (300, 500), (640, 200), (64, 96)])
def test_an_image_is_resized_cropped_and_normalised_by_pillow(height: int, width: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    scale = 224 / min(height, width)
    size = (int(width * scale) if width > height else 224, int(height * scale) if height > width else 224)
    large = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = (large.shape[0] - 224) // 2, (large.shape[1] - 224) // 2
    middle = torch.from_numpy(large[top : top + 224, left : left + 224].copy()).movedim(-1, 0)[None]
    torch.testing.assert_close(pixels([picture], 224), normalised(middle / 255), atol=1e-6, rtol=0)
