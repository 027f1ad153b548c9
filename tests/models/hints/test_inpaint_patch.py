"""The inpaint engine's files and its head: Fooocus's worked numbers, files that are none, a UNet that is as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.models.checkpoint import Checkpoint
from fooocus_stages.pipelines.models.hints import inpaint_patch
from fooocus_stages.pipelines.settings import INPAINT_HEAD, INPAINT_PATCHES
from torch import Tensor, nn
from torch.nn.functional import conv2d

PATCH = INPAINT_PATCHES["v2.6"]
WEIGHT = "diffusion_model.input_blocks.1.0.in_layers.2.weight"
BYTES = torch.tensor([[0, 51, 255], [128, 1, 254]], dtype=torch.uint8)
Write = Callable[[Path, nn.Module], None]


def waves(scale: float, rate: float, *shape: int) -> Tensor:
    """scale · sin(rate · n) over the flat index n."""
    values = scale * np.sin(rate * np.arange(int(np.prod(shape)), dtype=np.float64))
    return torch.from_numpy(values.astype(np.float32)).view(shape)


def test_the_head_s_worked_numbers() -> None:
    together = waves(1.0, 0.1, 1, 5, 6, 7)
    made = inpaint_patch.feature(waves(0.1, 0.01, 320, 5, 3, 3), together[:, :1], together[:, 1:])
    assert made.shape == (1, 320, 6, 7)
    assert made[0, 0, 0, :3].tolist() == pytest.approx([-0.2124623, -0.2078489, -0.2002171], abs=1e-6)
    assert made[0, 319, 5, -3:].tolist() == pytest.approx([-0.1940338, -0.1386195, -0.1008992], abs=1e-6)
    assert made.sum().item() == pytest.approx(5.0727615, abs=1e-3)


def test_the_engine_s_files(tiny: Checkpoint, tmp_path: Path, write_inpaint_engine: Write) -> None:
    unet = tiny.model.network.module
    write_inpaint_engine(tmp_path, unet)
    head = inpaint_patch.load_head(tmp_path / "inpaint" / INPAINT_HEAD, tiny.model)
    patch = inpaint_patch.load_patch(tmp_path / "inpaint" / PATCH, tiny.model)
    assert head.shape == (32, 5, 3, 3)
    assert (patch.name, patch.weight, len(patch.deltas)) == (PATCH, 1.0, 2)
    assert patch == inpaint_patch.load_patch(tmp_path / "inpaint" / PATCH, tiny.model), "read twice it is the same"
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    tiny.model.network.merge((patch,))
    levels, low, high = torch.load(tmp_path / "inpaint" / PATCH)[WEIGHT]
    changed = unet.state_dict()["down_blocks.0.resnets.0.conv1.weight"]
    expected = before["down_blocks.0.resnets.0.conv1.weight"] + levels / 255 * (high - low) + low
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-6)
    tiny.model.network.merge(())
    assert all(torch.equal(weight, before[name]) for name, weight in unet.state_dict().items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"head": torch.zeros(320, 5, 3, 3)}, r"shape \(320, 5, 3, 3\), .* needs \(32, 5, 3, 3\)"),
        ({"head": torch.zeros(32, 5)}, r"shape \(32, 5\),"),
        ({"body": torch.zeros(32, 5, 3, 3)}, "contains no inpaint head"),
        ({}, "contains no inpaint head"),
    ],
)
def test_a_head_that_is_none(tiny: Checkpoint, tmp_path: Path, content: dict[str, Tensor], message: str) -> None:
    torch.save(content, tmp_path / INPAINT_HEAD)
    with pytest.raises(BadFile, match=message):
        inpaint_patch.load_head(tmp_path / INPAINT_HEAD, tiny.model)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({WEIGHT: (BYTES, 0.0, 1.0)}, "is for another model family: 1 of its 1 changes"),
        ({"diffusion_model.input_blocks.99.0.weight": (BYTES, 0.0, 1.0)}, "1 of its 1 entries match no weight"),
        ({WEIGHT: torch.zeros(32, 32, 3, 3)}, f"is not an inpaint patch: 1 of its 1 entries .* first {WEIGHT}"),
        ({}, "is not an inpaint patch: 0 of its 0"),
        (
            {WEIGHT: (torch.zeros(32, 32, 3, 3, dtype=torch.uint8), torch.tensor(0.0), torch.tensor(float("nan")))},
            "NaN",
        ),
    ],
)
def test_a_patch_that_is_none(tiny: Checkpoint, tmp_path: Path, content: dict[str, Any], message: str) -> None:
    torch.save(content, tmp_path / PATCH)
    with pytest.raises(BadFile, match=message):
        inpaint_patch.load_patch(tmp_path / PATCH, tiny.model)


def test_a_file_cut_short_or_missing(tiny: Checkpoint, tmp_path: Path, write_inpaint_engine: Write) -> None:
    write_inpaint_engine(tmp_path, tiny.model.network.module)
    path = tmp_path / "inpaint" / PATCH
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadFile, match="truncated"):
        inpaint_patch.load_patch(path, tiny.model)
    with pytest.raises(MissingFile):
        inpaint_patch.load_patch(tmp_path / "none.patch", tiny.model)


@pytest.mark.parametrize("rows", [1, 2])
def test_every_side_gets_the_head_until_it_is_removed(tiny: Checkpoint, rows: int) -> None:
    conv: Any = tiny.model.network.module
    x, added = torch.randn(4, 4, 6, 5), torch.randn(rows, 32, 6, 5)
    plain = conv.conv_in(x)
    with inpaint_patch.head_attached(conv, added):
        torch.testing.assert_close(conv.conv_in(x), plain + added.repeat(4 // rows, 1, 1, 1))
    assert torch.equal(conv.conv_in(x), plain)
    with pytest.raises(KeyError), inpaint_patch.head_attached(conv, added):
        raise KeyError
    assert torch.equal(conv.conv_in(x), plain)


def test_the_border_is_repeated() -> None:
    mask, masked = torch.rand(2, 1, 3, 4), torch.rand(2, 4, 3, 4)
    head = torch.rand(6, 5, 3, 3)
    wide = torch.cat([mask, masked], 1)[:, :, [0, 0, 1, 2, 2]][..., [0, 0, 1, 2, 3, 3]]
    torch.testing.assert_close(inpaint_patch.feature(head, mask, masked), conv2d(wide, head))
