"""Super-resolution by ESRGAN's RRDB network (Wang et al. 2018) and ESRGAN+, in every layout of their files.

Fooocus modules/upscaler.py; its own file writes `residual_block_` for the `RDB` of the first ESRGAN files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Conv2d
from torch.nn.functional import interpolate, pad, pixel_unshuffle

from ..errors import BadFile
from .upscaler_kinds import architecture_of
from .weights.files import Weights, read_content
from .weights.filling import build, derive_for_file, fill, to_dtype
from .weights.key_names import Part
from .weights.wrappers import plain_name, unwrapped

CONVOLUTIONS = 5
DENSE_BLOCKS = 3
PREFIX = re.compile(r"^(?:netG\.|generator\.)+")
REACH = 2  # receptive field of the convolutions after the trunk, in its cells
HEAD_BYTES = 1 << 28  # of activations at full size in the head

Shapes = Mapping[str, tuple[int, ...]]


class DenseBlock(nn.Module):
    """Five convolutions over the input and all previous outputs; the last is added to the input with the factor 0.2.

    `plus`: the residuals of ESRGAN+ (Rakotonirina and Rasoanaivo 2020, arXiv 2001.08073, figure 3) inside the block: a
    1×1 convolution of the input is added to the second output, and that sum to the fourth.
    """

    def __init__(self, features: int, growth: int, plus: bool = False) -> None:
        super().__init__()
        self.conv1x1 = Conv2d(features, growth, 1, bias=False) if plus else None
        for k in range(CONVOLUTIONS):
            out = growth if k < CONVOLUTIONS - 1 else features
            self.add_module(f"conv{k + 1}", Conv2d(features + k * growth, out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        known, residual = x, None if self.conv1x1 is None else self.conv1x1(x)
        for k in range(1, CONVOLUTIONS):
            output = _leaky(self.get_submodule(f"conv{k}")(known))
            if residual is not None and k % 2 == 0:
                output = residual = output + residual
            known = torch.cat([known, output], dim=1)
        last: Tensor = self.get_submodule(f"conv{CONVOLUTIONS}")(known)
        return x + 0.2 * last


class ResidualDense(nn.Module):
    """Three dense blocks, added to the input with the factor 0.2."""

    def __init__(self, features: int, growth: int, plus: bool = False) -> None:
        super().__init__()
        self.blocks = [f"rdb{j + 1}" for j in range(DENSE_BLOCKS)]
        for name in self.blocks:
            self.add_module(name, DenseBlock(features, growth, plus))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for name in self.blocks:
            y = self.get_submodule(name)(y)
        return x + 0.2 * y


class Upscaler(nn.Module):
    """RRDB network from images (B, 3, H, W) in 0…1 to (B, 3, k·H, k·W) of about 0…1, not clamped.

    `doublings` nearest-neighbour enlargements follow the trunk, which sees the image `unshuffle` times smaller
    (Real-ESRGAN's ×2 and ×1 networks), so k = 2^doublings / unshuffle. `plus`: the blocks are those of ESRGAN+.
    """

    def __init__(
        self, features: int, growth: int, blocks: int, doublings: int, unshuffle: int = 1, plus: bool = False
    ) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.enlarged: int = 2**doublings
        self.conv_first = Conv2d(3 * unshuffle**2, features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualDense(features, growth, plus) for _ in range(blocks)))
        self.conv_body = Conv2d(features, features, 3, padding=1)
        self.ups = nn.ModuleList(Conv2d(features, features, 3, padding=1) for _ in range(doublings))
        self.conv_hr = Conv2d(features, features, 3, padding=1)
        self.conv_last = Conv2d(features, 3, 3, padding=1)

    @property
    def scale(self) -> int:
        """The enlargement factor."""
        return self.enlarged // self.unshuffle

    def forward(self, x: Tensor) -> Tensor:
        height, width = (side * self.enlarged // self.unshuffle for side in x.shape[-2:])
        first = self.conv_first(self._unshuffled(x))
        return self.head(first + self.conv_body(self.body(first)))[..., :height, :width]

    def _unshuffled(self, x: Tensor) -> Tensor:
        if self.unshuffle == 1:
            return x
        right, below = (-side % self.unshuffle for side in (x.shape[-1], x.shape[-2]))
        return pixel_unshuffle(pad(x, (0, right, 0, below), mode="replicate"), self.unshuffle)

    def head(self, features: Tensor) -> Tensor:
        """Enlarge trunk features (B, C, h, w) to the image, in strips of rows to limit the memory of activations."""
        height = features.shape[-2]
        a_row = features[:1, :, :1].numel() * features.element_size() * self.enlarged**2 * len(features)
        rows = max(1, HEAD_BYTES // a_row)
        if rows >= height:
            return self._enlarge(features)
        strips = []
        for top in range(0, height, rows):
            start = max(0, top - REACH)
            strip = self._enlarge(features[..., start : top + rows + REACH, :])
            skip = (top - start) * self.enlarged
            strips.append(strip[..., skip : skip + min(rows, height - top) * self.enlarged, :])
        return torch.cat(strips, dim=-2)

    def _enlarge(self, x: Tensor) -> Tensor:
        for up in self.ups:
            x = _leaky(up(interpolate(x, scale_factor=2.0)))
        enlarged: Tensor = self.conv_last(_leaky(self.conv_hr(x)))
        return enlarged


def load_upscaler(path: Path) -> Upscaler:
    """Load a .bin, .pth or .safetensors file, float32 on the CPU; sizes are derived from the shapes.

    Raises MissingFile, and BadFile for a file that is damaged or of another architecture, which it names if it can.
    """
    state = _tensors(read_content(path))
    renamed = {key: _our_name(key, state) for key in state}
    parts = {new: Part(old) for old, new in renamed.items() if new}
    if not parts or len(parts) < len(renamed):  # a key of no known layout, or two keys for one parameter
        raise BadFile(
            f"{path.name} is {architecture_of(state)}, not an upscaler of the ESRGAN family (RRDB): choose one of it, "
            "or load this one with ComfyUI's Load Upscale Model and connect that"
        )
    weights = Weights(path, {key: tuple(tensor.shape) for key, tensor in state.items()}, state.__getitem__)
    plus = any(".conv1x1." in name for name in parts)
    settings = derive_for_file(path, _settings, {new: weights.shapes[part.key] for new, part in parts.items()})
    return fill(build(lambda: Upscaler(**settings, plus=plus)), weights, parts, to_dtype(torch.float32), "the upscaler")


def bytes_per_cell(upscaler: Upscaler) -> int:
    """Estimate the memory of float32 activations per pixel of the input."""
    widest = max(layer.in_channels for layer in upscaler.modules() if isinstance(layer, nn.Conv2d))
    return 4 * (2 * widest + 3 * upscaler.conv_first.out_channels)


def _leaky(x: Tensor) -> Tensor:
    return nn.functional.leaky_relu(x, 0.2, inplace=True)


def _tensors(content: Any) -> dict[str, Tensor]:
    """Return the named tensors of a file, without the wrappers of training programs."""
    content = unwrapped(content)
    if not isinstance(content, dict):
        return {}
    named = ((key, value) for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor))
    return {PREFIX.sub("", plain_name(key), count=1): value for key, value in named}


def _settings(shapes: Shapes) -> dict[str, int]:
    """Return the arguments of Upscaler for weights of these shapes. Raises BadFile."""
    features, inputs = shapes["conv_first.weight"][:2]
    unshuffle = {3: 1, 12: 2, 48: 4}.get(inputs)
    if unshuffle is None:
        raise BadFile(f"the upscaler reads {inputs} channels and an image has 3: choose an upscaler for color images")
    return {
        "features": features,
        "growth": shapes["body.0.rdb1.conv1.weight"][0],
        "blocks": 1 + max(int(key.split(".")[1]) for key in shapes if key.startswith("body.")),
        "doublings": len({key.split(".")[1] for key in shapes if key.startswith("ups.")}),
        "unshuffle": unshuffle,
    }


_PLAIN = {
    "conv_first": "conv_first", "conv_last": "conv_last",
    "trunk_conv": "conv_body", "conv_body": "conv_body", "HRconv": "conv_hr", "conv_hr": "conv_hr",
    "upconv1": "ups.0", "upconv2": "ups.1", "conv_up1": "ups.0", "conv_up2": "ups.1",
}  # fmt: skip
_BLOCK = re.compile(
    r"(?:model\.1\.sub|RRDB_trunk|body)\.(?:(\d+)\.)?(?:RDB|rdb|residual_block_)(\d)\.conv(\d|1x1)(?:\.0)?\.(weight|bias)"
)
_NUMBERED = re.compile(r"model\.(\d+)\.(weight|bias)")
_TRUNK_END = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")


def _our_name(key: str, state: Mapping[str, Tensor]) -> str | None:
    """Return the parameter that a key names, None for an unknown layout. A block without a number is the first."""
    module, _, leaf = key.rpartition(".")
    if found := _BLOCK.fullmatch(key):
        block, dense, convolution, leaf = found.groups()
        return f"body.{block or 0}.rdb{dense}.conv{convolution}.{leaf}"
    if module in _PLAIN:
        return f"{_PLAIN[module]}.{leaf}"
    if found := _TRUNK_END.fullmatch(key):
        return f"conv_body.{found[1]}"
    if found := _NUMBERED.fullmatch(key):
        return f"{_by_place(int(found[1]), state)}.{found[2]}"
    return None


def _by_place(number: int, state: Mapping[str, Tensor]) -> str:
    """Name a layer of ESRGAN's first layout: the first convolution is 0, the last two are the head, others enlarge."""
    numbers = sorted({int(found[1]) for key in state if (found := _NUMBERED.fullmatch(key))})
    place = numbers.index(number)
    named = {0: "conv_first", len(numbers) - 2: "conv_hr", len(numbers) - 1: "conv_last"}
    return named.get(place, f"ups.{place - 1}")
