"""Control networks: loading their files and building them for a UNet (Fooocus ldm_patched/modules/controlnet.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from ...errors import BadFile, BadValue
from ..handles import ControlNet
from ..protocols import NetworkInputs
from ..weights import key_names
from ..weights.configs import HEAD_WIDTH, TIME_WIDTH, Shapes
from ..weights.files import Weights, open_weights
from ..weights.filling import build, constructor_of, counted, derive_for_file, raise_for_names
from ..weights.networks import UNetModule
from ..weights.tensors import Tensors
from .control_lora import DOWN, UP, attach_low_rank, changed_layers, set_parameter

PREFIX = "control_model."
MARKER = "lora_controlnet"
EMBEDDING = "controlnet_cond_embedding"
UNET_MODULES = ("conv_in.", "time_embedding.", "add_embedding.", "down_blocks.", "mid_block.")


class Forward(Protocol):
    """The forward pass of diffusers' ControlNetModel; it returns the residuals of the skips and of the middle block."""

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        added_cond_kwargs: dict[str, Tensor],
        return_dict: bool,
    ) -> tuple[list[Tensor], Tensor]: ...


def load_controlnet(path: Path, dtype: torch.dtype) -> ControlNet:
    """Load a control-LoRA, or a ControlNet for SDXL in ldm's or diffusers' names, onto the CPU.

    Raises MissingFile, and BadFile for a file that is damaged, incomplete or not a control network.
    """
    with open_weights(path) as weights:
        is_lora = MARKER in weights.shapes or any(key.endswith(UP) for key in weights.shapes)
        new_names = _diffusers_names(weights)
        if not is_lora:
            _check_controlnet(path, {new: weights.shapes[old] for old, new in new_names.items()})
        tensors = {new: weights.read(old).to(dtype) for old, new in new_names.items()}
    return ControlNet(path.name, Tensors(tensors), is_lora)


def on_unet(control: ControlNet, unet: nn.Module, model: str = "") -> nn.Module:
    """Build the control network for a UNet, a ControlNetModel of diffusers, on the UNet's device.

    A control-LoRA shares the UNet's weights without copying them, so it includes the LoRAs that are merged into them.
    Raises BadValue if the control network is for a model of other sizes; `model` is the name of this one.
    """
    base = dict(unet.named_parameters())
    dtype = next(unet.parameters()).dtype
    own = {name: _parameter(value.to(dtype)) for name, value in control.tensors.named().items()}
    changes = changed_layers(own)
    factors = {layer: (own.pop(layer + UP), own.pop(layer + DOWN)) for layer in changes}
    mismatches = _lora_mismatches(own, factors, base) if control.is_lora else _controlnet_mismatches(own, unet)
    if mismatches:
        raise BadValue(
            f"{control.name} is not for {model or 'this model'}: {mismatches[0]}"
            f"{f' and {len(mismatches) - 1} more do not fit' if len(mismatches) > 1 else ' does not fit'}; choose a "
            "control network for the model's architecture"
        )
    network = _network({**base, **own} if control.is_lora else own, control.name)
    for layer in changes:
        attach_low_rank(network, layer, *factors[layer])
    return network


def embedded(network: nn.Module, image: Tensor) -> Tensor:
    """Compute the embedding (B, C, h, w) of control images (B, 3, 8h, 8w) in 0…1 once for all steps.

    Replaces the network's embedding layers by the identity, so that it takes the embedding in place of the images.
    """
    embedding: Tensor = network.get_submodule(EMBEDDING)(image)
    setattr(network, EMBEDDING, nn.Identity())
    return embedding


@torch.no_grad()
def residuals(network: nn.Module, embedding: Tensor, inputs: NetworkInputs) -> list[Tensor]:
    """Return the residuals for the UNet's skip connections, in the order of the blocks, and for its middle block.

    `embedding` (from `embedded`) has one row, or one for each image of the batch.
    """
    down, middle = cast(Forward, network)(
        inputs.x,
        inputs.timesteps,
        encoder_hidden_states=inputs.tokens,
        controlnet_cond=embedding.repeat(len(inputs.x) // len(embedding), 1, 1, 1),
        added_cond_kwargs=added_conditions(inputs),
        return_dict=False,
    )
    return [*down, middle]


def added_conditions(inputs: NetworkInputs) -> dict[str, Tensor]:
    """The pooled text and the size ids as diffusers' `added_cond_kwargs`; empty for SD 1.5."""
    if inputs.pooled is None or inputs.time_ids is None:
        return {}
    return {"text_embeds": inputs.pooled, "time_ids": inputs.time_ids}


def controlnet_config(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of ControlNetModel from shapes by diffusers' names. Raises BadFile."""
    layout = key_names.layout_of_diffusers(shapes)
    layers = {len(depths) for depths in layout.down}
    depths = [set(level) for level in layout.down]
    if len(layers) != 1 or any(len(level) != 1 for level in depths):
        raise BadFile(f"the control network's levels have unequal layers: {layout.down}")
    channels = [shapes[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(len(layout.down))]
    blocks = sum(key.startswith(f"{EMBEDDING}.blocks.") and key.endswith(".weight") for key in shapes)
    embedding = ["conv_in", *(f"blocks.{i}" for i in range(1, blocks, 2))]
    return {
        "in_channels": shapes["conv_in.weight"][1],
        "block_out_channels": tuple(channels),
        "layers_per_block": layers.pop(),
        "down_block_types": tuple("CrossAttnDownBlock2D" if any(level) else "DownBlock2D" for level in layout.down),
        "mid_block_type": "UNetMidBlock2D" if layout.mid is None else "UNetMidBlock2DCrossAttn",
        "transformer_layers_per_block": [level.pop() or 1 for level in depths],
        "cross_attention_dim": next((s[1] for key, s in shapes.items() if key.endswith("attn2.to_k.weight")), None),
        "attention_head_dim": tuple(max(1, width // HEAD_WIDTH) for width in channels),
        "use_linear_projection": any(len(s) == 2 for key, s in shapes.items() if key.endswith(".proj_in.weight")),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": TIME_WIDTH,
        "projection_class_embeddings_input_dim": shapes["add_embedding.linear_1.weight"][1],
        "conditioning_channels": shapes[f"{EMBEDDING}.conv_in.weight"][1],
        "conditioning_embedding_out_channels": tuple(shapes[f"{EMBEDDING}.{layer}.weight"][0] for layer in embedding),
    }


def _diffusers_names(weights: Weights) -> dict[str, str]:
    """Map each key of the file to its name in diffusers. Raises BadFile if the file is not a control network."""
    keys = [key for key in weights.shapes if key.removeprefix(PREFIX) != MARKER]
    short = {key: key.removeprefix(PREFIX) for key in keys}
    if any(name.startswith(f"{EMBEDDING}.conv_in") for name in short.values()):
        return short
    if not any(name.startswith("input_hint_block.0.") for name in short.values()):
        raise BadFile(
            f"{weights.path.name} contains no control network: choose a control-LoRA such as PyraCanny's, or a "
            "ControlNet for SDXL"
        )
    of_unet = key_names.unet_to_diffusers(short.values())
    of_unet = {old: new for old, new in of_unet.items() if new.startswith(UNET_MODULES)}
    hint = sorted({int(n.split(".")[1]) for n in short.values() if n.startswith("input_hint_block.")})
    new_names = {key: of_unet.get(name) or _own_name(name, hint) for key, name in short.items()}
    raise_for_names(weights.path, "the control network", left_over=[key for key, new in new_names.items() if not new])
    return {key: new for key, new in new_names.items() if new}


def _own_name(name: str, hint: list[int]) -> str | None:
    """The name in diffusers of a weight that only control networks have; `hint`: the numbers of the image layers."""
    if match := re.fullmatch(r"zero_convs\.(\d+)\.0\.(weight|bias)", name):
        return f"controlnet_down_blocks.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"middle_block_out\.0\.(weight|bias)", name):
        return f"controlnet_mid_block.{match[1]}"
    if match := re.fullmatch(r"input_hint_block\.(\d+)\.(weight|bias)", name):
        place = hint.index(int(match[1]))
        layer = {0: "conv_in", len(hint) - 1: "conv_out"}.get(place, f"blocks.{place - 1}")
        return f"{EMBEDDING}.{layer}.{match[2]}"
    return None


def _check_controlnet(path: Path, shapes: Shapes) -> None:
    """Raise BadFile unless these are exactly the weights of a ControlNet for SDXL."""
    if "add_embedding.linear_1.weight" not in shapes:
        raise BadFile(f"{path.name} is a ControlNet for Stable Diffusion 1.5 or 2: choose one for SDXL")
    config = derive_for_file(path, controlnet_config, shapes)
    expected = build(lambda: constructor_of(ControlNetModel)(**config)).state_dict()
    missing, left_over = expected.keys() - shapes.keys(), shapes.keys() - expected.keys()
    raise_for_names(path, "the control network", missing, left_over)
    if misshapen := [name for name, value in expected.items() if _squeezed(value.shape) != _squeezed(shapes[name])]:
        raise BadFile(
            f"{path.name} does not fit: {counted(misshapen)} have other shapes than in a ControlNet; choose "
            "another file"
        )


def _network(given: Mapping[str, nn.Parameter], name: str) -> nn.Module:
    """Build a ControlNetModel that shares the given weights. Raises BadFile if one is missing or of another shape."""
    shapes = {key: tuple(value.shape) for key, value in given.items()}
    config = derive_for_file(Path(name), controlnet_config, shapes)
    network: nn.Module = build(lambda: constructor_of(ControlNetModel)(**config))
    expected = network.state_dict()
    raise_for_names(Path(name), "the control network", missing=expected.keys() - given.keys())
    for key, value in expected.items():
        if value.shape != given[key].shape and _squeezed(value.shape) != _squeezed(given[key].shape):
            raise BadFile(
                f"{name} does not fit: {key} has the shape {tuple(given[key].shape)}, not {tuple(value.shape)}"
            )
        set_parameter(
            network, key, given[key] if value.shape == given[key].shape else _parameter(given[key].view_as(value))
        )
    return network.eval().requires_grad_(False)


def _lora_mismatches(
    own: Mapping[str, Tensor], factors: Mapping[str, tuple[Tensor, Tensor]], base: Mapping[str, Tensor]
) -> list[str]:
    """The tensors of a control-LoRA that do not fit the UNet's weights, as words for an error."""
    shared = {name: value for name, value in own.items() if name.startswith(UNET_MODULES)}
    plain = [name for name, value in shared.items() if name not in base or base[name].shape != value.shape]
    changed = [layer for layer, pair in factors.items() if not _fits(base.get(f"{layer}.weight"), *pair)]
    return [f"its {name}" for name in plain + changed]


def _fits(weight: Tensor | None, up: Tensor, down: Tensor) -> bool:
    if weight is None or up.shape[1] != down.shape[0]:
        return False
    return (up.shape[0], prod(down.shape[1:])) == (weight.shape[0], prod(weight.shape[1:]))


def _controlnet_mismatches(own: Mapping[str, Tensor], unet: nn.Module) -> list[str]:
    """The differences between a ControlNet's sizes and the UNet's, as words for an error."""
    config = cast(UNetModule, unet).config
    mine = controlnet_config({name: tuple(value.shape) for name, value in own.items()})
    pairs = {
        "its channels": (mine["block_out_channels"], tuple(config.block_out_channels)),
        "its text width": (mine["cross_attention_dim"] or config.cross_attention_dim, config.cross_attention_dim),
        "its latent channels": (mine["in_channels"], config.in_channels),
    }
    return [f"{what} {ours} instead of {theirs}" for what, (ours, theirs) in pairs.items() if ours != theirs]


def _parameter(value: Tensor) -> nn.Parameter:
    return value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=False)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
