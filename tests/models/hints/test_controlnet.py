"""Control networks: files in each layout, a control-LoRA against merged weights in diffusers, and what is shared."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from fooocus_stages.pipelines.errors import BadFile, BadValue
from fooocus_stages.pipelines.models.hints.controlnet import embedded, load_controlnet, on_unet, residuals
from fooocus_stages.pipelines.models.protocols import NetworkInputs
from fooocus_stages.pipelines.models.weights import key_names
from safetensors.torch import save_file
from torch import Tensor, nn

from ..conftest import WIDTH_G, WIDTH_L, unet_of

Make = Callable[[nn.Module], dict[str, Tensor]]
OWN = {
    r"controlnet_down_blocks\.(\d+)\.": r"zero_convs.\1.0.",
    r"controlnet_mid_block\.": "middle_block_out.0.",
    r"controlnet_cond_embedding\.conv_in\.": "input_hint_block.0.",
    r"controlnet_cond_embedding\.conv_out\.": "input_hint_block.14.",
}


@pytest.fixture
def unet(modules: dict[str, nn.Module]) -> nn.Module:
    return modules["unet"]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Tensor]], Path]:
    def write(state: dict[str, Tensor]) -> Path:
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, tmp_path / "net.safetensors")
        return tmp_path / "net.safetensors"

    return write


def whole(unet: nn.Module) -> ControlNetModel:
    """A ControlNet whose every weight counts."""
    torch.manual_seed(2)
    made = ControlNetModel.from_unet(unet, conditioning_channels=3)
    for parameter in made.parameters():
        parameter.data += torch.randn(parameter.shape) * 0.05
    return made.eval()


def merged(unet: nn.Module, lora: dict[str, Tensor]) -> ControlNetModel:
    """diffusers' network with W + up·down written out."""
    made = ControlNetModel.from_unet(unet, conditioning_channels=3)
    state = made.state_dict()
    ldm = {**key_names.unet_to_ldm(unet.state_dict()), **{key: own_name(key) for key in state if "controlnet" in key}}
    for key, weight in state.items():
        layer = ldm[key].removesuffix(".weight")
        if layer + ".up" in lora:
            up, down = lora[layer + ".up"], lora[layer + ".down"]
            weight += torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)).reshape(weight.shape)
        elif ldm[key] in lora:
            weight.copy_(lora[ldm[key]])
    made.load_state_dict(state)
    return made.eval()


def own_name(key: str) -> str:
    if match := re.match(r"controlnet_cond_embedding\.blocks\.(\d+)\.(.*)", key):
        return f"input_hint_block.{2 * int(match[1]) + 2}.{match[2]}"
    return next(re.sub(pattern, name, key) for pattern, name in OWN.items() if re.match(pattern, key))


def inputs(dtype: torch.dtype = torch.float32) -> NetworkInputs:
    """Inputs of the UNet for two rows of 16×8 cells."""
    draw = torch.Generator().manual_seed(3)
    pooled = torch.randn(2, WIDTH_G, generator=draw).to(dtype)
    tokens = torch.randn(2, 77, WIDTH_L + WIDTH_G, generator=draw).to(dtype)
    x = torch.randn(2, 4, 16, 8, generator=draw).to(dtype)
    return NetworkInputs(x, torch.full((2,), 500.0), tokens, pooled, torch.tensor([[64.0, 128, 0, 0, 64, 128]] * 2))


def picture() -> Tensor:
    return torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(4))


def answer(network: nn.Module) -> list[Tensor]:
    return residuals(network, embedded(network, picture()), inputs())


def expected(network: ControlNetModel) -> list[Tensor]:
    given = inputs()
    added = {"text_embeds": given.pooled, "time_ids": given.time_ids}
    images = picture().expand(2, -1, -1, -1)
    args = (given.x, given.timesteps, given.tokens, images)
    down, middle = network(*args, added_cond_kwargs=added, return_dict=False)
    return [*down, middle]


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())


def test_a_control_lora_is_the_network_with_merged_weights(unet: nn.Module, control_lora_of: Make, write: Any) -> None:
    lora = control_lora_of(unet)
    network = on_unet(load_controlnet(write(lora), torch.float32), unet)
    assert_same(answer(network), expected(merged(unet, lora)))


@pytest.mark.parametrize(
    "pattern", [r".*attn1.*\.(up|down)", r".*\.bias", r"input_blocks\.1\.0\.out.*", "lora_controlnet"]
)
def test_weights_missing_in_a_control_lora_are_the_models(
    unet: nn.Module, control_lora_of: Make, write: Any, pattern: str
) -> None:
    full = control_lora_of(unet)
    own = ("zero_convs", "middle_block_out", "input_hint")
    lora = {key: value for key, value in full.items() if key.startswith(own) or not re.fullmatch(pattern, key)}
    assert len(lora) < len(full)
    assert_same(answer(on_unet(load_controlnet(write(lora), torch.float32), unet)), expected(merged(unet, lora)))


def test_it_follows_what_is_merged_into_the_model(control_lora_of: Make, write: Any) -> None:
    torch.manual_seed(5)
    unet = unet_of().eval()
    lora = control_lora_of(unet)
    control = load_controlnet(write(lora), torch.float32)
    network = on_unet(control, unet)
    unet.down_blocks[1].attentions[0].transformer_blocks[0].attn2.to_k.weight.data += 0.3
    unet.mid_block.resnets[0].conv1.weight.data = unet.mid_block.resnets[0].conv1.weight.data * 1.5
    assert_same(answer(network), expected(merged(unet, lora)))


def test_the_models_weights_are_shared_and_stay(unet: nn.Module, control_lora_of: Make, write: Any) -> None:
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    lora = control_lora_of(unet)
    control = load_controlnet(write(lora), torch.float32)
    network = on_unet(control, unet)
    answer(network)
    of_unet = {id(parameter) for parameter in unet.parameters()}
    more = [parameter for parameter in network.parameters() if id(parameter) not in of_unet]
    assert sum(id(parameter) in of_unet for parameter in network.parameters()) > 50
    assert sum(p.nbytes for p in more) <= sum(value.nbytes for value in lora.values())
    assert {id(p) for p in more} <= {id(p) for p in control.tensors.parameters()}
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())


def test_two_pictures_on_one_network(unet: nn.Module, control_lora_of: Make, write: Any) -> None:
    control = load_controlnet(write(control_lora_of(unet)), torch.float32)
    first, second = on_unet(control, unet), on_unet(control, unet)
    with_black = residuals(second, embedded(second, torch.zeros(1, 3, 128, 64)), inputs())
    assert_same(residuals(first, embedded(first, torch.zeros(2, 3, 128, 64)), inputs()), with_black)
    assert not torch.allclose(answer(on_unet(control, unet))[0], with_black[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_another_dtype(unet: nn.Module, control_lora_of: Make, write: Any, dtype: torch.dtype) -> None:
    control = load_controlnet(write(control_lora_of(unet)), torch.float32)
    half = unet_of().to(torch.bfloat16)
    half.load_state_dict(unet.state_dict())
    network = on_unet(load_controlnet(write(control_lora_of(unet)), dtype), half)
    added = residuals(network, embedded(network, picture().bfloat16()), inputs(torch.bfloat16))
    for ours, exact in zip(added, answer(on_unet(control, unet)), strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - exact).norm() / exact.norm() < 0.1


@pytest.mark.parametrize("layout", ["diffusers", "ldm", "ldm with prefix"])
def test_a_whole_controlnet_is_read(unet: nn.Module, write: Any, layout: str) -> None:
    net = whole(unet)
    state = net.state_dict()
    if layout != "diffusers":
        ldm = {**key_names.unet_to_ldm(state), **{key: own_name(key) for key in state if key.startswith("controlnet")}}
        prefix = "control_model." if layout.endswith("prefix") else ""
        state = {prefix + ldm[key]: value for key, value in state.items()}
    control = load_controlnet(write(state), torch.float32)
    assert not control.is_lora
    assert_same(answer(on_unet(control, unet)), expected(net))


def test_a_controlnet_without_transformers_fits_too(unet: nn.Module, write: Any) -> None:
    torch.manual_seed(6)
    net = ControlNetModel(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D",) * 3,
        mid_block_type="UNetMidBlock2D",
        layers_per_block=1,
        attention_head_dim=1,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=WIDTH_G + 6 * 256,
    ).eval()
    for parameter in net.parameters():
        parameter.data += torch.randn(parameter.shape) * 0.05
    assert_same(answer(on_unet(load_controlnet(write(net.state_dict()), torch.float32), unet)), expected(net))


def test_files_of_something_else_are_refused(unet: nn.Module, control_lora_of: Make, write: Any) -> None:
    lora, net = control_lora_of(unet), whole(unet).state_dict()
    plain = {key: value for key, value in net.items() if not key.startswith("add_embedding")}
    cases = {
        "contains no control network": unet.state_dict(),
        "has no place for 1 weight (strange.weight)": {**lora, "strange.weight": torch.zeros(1)},
        "Stable Diffusion 1.5 or 2": plain,
        "is missing 1 weight (controlnet_mid_block.bias)": {
            k: v for k, v in net.items() if k != "controlnet_mid_block.bias"
        },
        "has no place for 1 weight (task_embedding)": {**net, "task_embedding": torch.zeros(6, 64)},
        "have other shapes": {**net, "controlnet_mid_block.bias": torch.zeros(5)},
    }
    for words, state in cases.items():
        with pytest.raises(BadFile, match=re.escape(words)):
            load_controlnet(write(state), torch.float32)


def test_a_control_lora_without_its_own_layers_is_refused(unet: nn.Module, control_lora_of: Make, write: Any) -> None:
    lora = {key: value for key, value in control_lora_of(unet).items() if key != "zero_convs.2.0.weight"}
    with pytest.raises(BadFile, match=r"is missing 1 weight \(controlnet_down_blocks.2.weight\)"):
        on_unet(load_controlnet(write(lora), torch.float32), unet)


OTHERS = {
    "wider": {"block_out_channels": (64, 128, 128)},
    "other text": {"cross_attention_dim": 128},
    "more levels": {
        "block_out_channels": (32, 64, 64, 64),
        "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
        "up_block_types": (*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 2, 2),
    },
}


@pytest.mark.parametrize("change", list(OTHERS))
@pytest.mark.parametrize("kind", ["lora", "whole"])
def test_a_network_for_another_model_is_refused(
    unet: nn.Module, control_lora_of: Make, write: Any, kind: str, change: str
) -> None:
    other: UNet2DConditionModel = unet_of(**OTHERS[change])
    state = control_lora_of(other) if kind == "lora" else whole(other).state_dict()
    control = load_controlnet(write(state), torch.float32)
    with pytest.raises(BadValue, match=r"net.safetensors is not for mine: its .* choose a control network"):
        on_unet(control, unet, "mine")
