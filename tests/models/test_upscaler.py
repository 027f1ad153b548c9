"""Upscaler files: every layout that they come in gives the same network, and what is none is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models import upscaler as upscalers
from fooocus_stages.pipelines.models.upscaler import Upscaler, load_upscaler
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, leaky_relu

State = dict[str, Tensor]
BLOCK = re.compile(r"body\.(\d)\.rdb(\d)\.conv(\d|1x1)\.(\w+)")


def network(doublings: int = 2, unshuffle: int = 1, plus: bool = False) -> Upscaler:
    torch.manual_seed(3)
    return Upscaler(6, 4, 2, doublings, unshuffle, plus).eval().requires_grad_(False)


def esrgan(key: str, doublings: int = 2) -> str:
    """A parameter's name in ESRGAN's first files: layers counted through, activations and resizes included."""
    if found := BLOCK.fullmatch(key):
        name = "model.1.sub.{}.RDB{}.conv{}.0.{}".format(*found.groups())
        return name.replace("conv1x1.0", "conv1x1")
    module, leaf = key.rsplit(".", 1)
    places = {"conv_first": "0", "conv_body": "1.sub.2", "conv_hr": str(3 * doublings + 2)}
    places |= {f"ups.{i}": str(3 * i + 3) for i in range(doublings)} | {"conv_last": str(3 * doublings + 4)}
    return f"model.{places[module]}.{leaf}"


def fooocus(key: str) -> str:
    return esrgan(key).replace("RDB", "residual_block_")


def basicsr(key: str) -> str:
    key = BLOCK.sub(r"RRDB_trunk.\1.RDB\2.conv\3.\4", key)
    for ours, theirs in (
        ("conv_body", "trunk_conv"),
        ("ups.0", "upconv1"),
        ("ups.1", "upconv2"),
        ("conv_hr", "HRconv"),
    ):
        key = key.replace(ours, theirs)
    return key


def real_esrgan(key: str) -> str:
    return key.replace("ups.0", "conv_up1").replace("ups.1", "conv_up2")


def by_hand(state: State, x: Tensor, blocks: int = 2, doublings: int = 2) -> Tensor:
    """ESRGAN written out; with the residuals of ESRGAN+ where there are weights for them."""

    def conv(name: str, value: Tensor) -> Tensor:
        return conv2d(value, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    first = conv("conv_first", x)
    y = first
    for i in range(blocks):
        into = y
        for j in (1, 2, 3):
            known = [y]
            for k in (1, 2, 3, 4):
                known.append(leaky_relu(conv(f"body.{i}.rdb{j}.conv{k}", torch.cat(known, 1)), 0.2))
                if (skip := state.get(f"body.{i}.rdb{j}.conv1x1.weight")) is not None and k in (2, 4):
                    known[k] = known[k] + (conv2d(y, skip) if k == 2 else known[2])
            y = y + 0.2 * conv(f"body.{i}.rdb{j}.conv5", torch.cat(known, 1))
        y = into + 0.2 * y
    y = first + conv("conv_body", y)
    for i in range(doublings):
        y = leaky_relu(conv(f"ups.{i}", interpolate(y, scale_factor=2.0)), 0.2)
    return conv("conv_last", leaky_relu(conv("conv_hr", y), 0.2))


@pytest.mark.parametrize("name", [esrgan, fooocus, basicsr, real_esrgan])
@pytest.mark.parametrize("wrapped", ["", "params_ema", "params", "state_dict"])
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_layout_is_the_same_network(
    name: Callable[[str], str], wrapped: str, plus: bool, prefix: str, tmp_path: Path
) -> None:
    made = network(plus=plus)
    state = {prefix + name(key): tensor.half() for key, tensor in made.state_dict().items()}
    torch.save({wrapped: state} if wrapped else state, tmp_path / "a.pth")
    loaded = load_upscaler(tmp_path / "a.pth")
    x = torch.rand(1, 3, 9, 7)
    halved = {key: tensor.half().float() for key, tensor in made.state_dict().items()}
    assert torch.allclose(loaded(x), by_hand(halved, x), atol=1e-6)
    assert loaded.scale == 4
    assert next(loaded.parameters()).dtype == torch.float32


@pytest.mark.parametrize("doublings", [0, 1, 3])
def test_other_scales_are_recognised_by_their_layers(doublings: int, tmp_path: Path) -> None:
    state = {esrgan(key, doublings): tensor.contiguous() for key, tensor in network(doublings).state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    loaded = load_upscaler(tmp_path / "a.safetensors")
    assert loaded.scale == 2**doublings
    assert loaded(torch.rand(1, 3, 5, 6)).shape == (1, 3, 5 * loaded.scale, 6 * loaded.scale)


@pytest.mark.parametrize(("unshuffle", "scale"), [(2, 2), (4, 1)])
def test_networks_that_see_a_smaller_picture(unshuffle: int, scale: int, tmp_path: Path) -> None:
    torch.save({real_esrgan(k): t for k, t in network(2, unshuffle).state_dict().items()}, tmp_path / "a.pth")
    loaded = load_upscaler(tmp_path / "a.pth")
    for height, width in ((8, 12), (7, 9), (1, 3)):
        assert loaded(torch.rand(1, 3, height, width)).shape == (1, 3, height * scale, width * scale)


@pytest.mark.parametrize("bytes_at_once", [1, 6 * 4 * 16 * 7 * 3, 6 * 4 * 16 * 7 * 5])
def test_strips_make_no_seam(bytes_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = network(), torch.rand(1, 3, 11, 7)
    whole = made(x)
    monkeypatch.setattr(upscalers, "HEAD_BYTES", bytes_at_once)
    assert torch.allclose(made(x), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"conv.weight": torch.zeros(3, 3)}, "not an upscaler of the ESRGAN family"),
        ({}, "not an upscaler of the ESRGAN family"),
        ({"params": [1, 2]}, "not an upscaler of the ESRGAN family"),
        ({**network().state_dict(), "attention.weight": torch.zeros(2)}, "not an upscaler of the ESRGAN family"),
        (
            {**network().state_dict(), "conv_first.weight": torch.zeros(6, 5, 3, 3)},
            "a.pth: the upscaler reads 5 channels",
        ),
        ({k: t for k, t in network().state_dict().items() if "rdb2" not in k}, "a.pth is incomplete"),
        (
            {k: t for k, t in network(plus=True).state_dict().items() if k != "body.1.rdb3.conv1x1.weight"},
            "a.pth is incomplete",
        ),
        ({f"body.rdb1.conv{i}.weight": torch.zeros(4, 6, 3, 3) for i in range(1, 6)}, "a.pth is incomplete"),
        ({"body.0.rdb1.conv1.weight": torch.zeros(1), "body.rdb1.conv1.weight": torch.zeros(1)}, "not an upscaler"),
    ],
)
def test_other_files_are_refused(state: State, message: str, tmp_path: Path) -> None:
    torch.save({real_esrgan(key): value for key, value in state.items()}, tmp_path / "a.pth")
    with pytest.raises(BadFile, match=re.escape(message)):
        load_upscaler(tmp_path / "a.pth")


OTHERS = {
    "body.0.weight": "Real-ESRGAN Compact",
    "f_HR_conv1.0.weight": "SPSR",
    "layers.0.residual_group.blocks.0.attn.qkv.weight": "SwinIR",
    "layers.0.residual_group.blocks.0.attn.logit_scale": "Swin2SR",
    "layers.0.residual_group.overlap_attn.qkv.weight": "HAT",
    "layers.0.blocks.0.attn.dwconv.0.weight": "DAT",
    "residual_layer.0.residual_layer.0.layer.0.fn.0.weight": "OmniSR",
    "block_1.c1_r.sk.weight": "SPAN",
    "body.0.body.0.weight": "EDSR",
    "feats.0.weight": "PLKSR",
    "stylegan_decoder.constant_input.weight": "CodeFormer or GFPGAN",
    "model.diffusion_model.input_blocks.0.0.weight": "a checkpoint",
    "lora_unet_mid_block.lora_up.weight": "a LoRA",
    "something.weight": "of an unknown architecture",
}


@pytest.mark.parametrize("key", OTHERS)
def test_other_architectures_are_named(key: str, tmp_path: Path) -> None:
    torch.save({"params": {key: torch.zeros(2, 2)}}, tmp_path / "a.pth")
    with pytest.raises(BadFile, match=f"a.pth is {OTHERS[key]}.* not an upscaler of the ESRGAN family"):
        load_upscaler(tmp_path / "a.pth")
