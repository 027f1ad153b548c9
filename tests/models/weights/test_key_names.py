"""Names of weights against diffusers' own converters, and there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import single_file_utils as theirs
from fooocus_stages.pipelines.models.weights import key_names
from fooocus_stages.pocket.training import published_names
from torch import Tensor, nn

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def keys_of(manifest: str, prefix: str) -> list[str]:
    content = json.loads((GOLDEN / f"{manifest}.json").read_text("utf-8"))
    return [key.split(prefix, 1)[1] for key in content if prefix in key]


UNETS = {
    "nano-sdxl-unet": key_names.UNetLayout(((0, 0), (2, 2), (10, 10)), 10, ((10,) * 3, (2,) * 3, (0,) * 3)),
    "nano-refiner-unet": key_names.UNetLayout(
        ((0, 0), (4, 4), (4, 4), (0, 0)), 4, ((0,) * 3, (4,) * 3, (4,) * 3, (0,) * 3)
    ),
    "nano-sd15-unet": key_names.UNetLayout(
        ((1, 1), (1, 1), (1, 1), (0, 0)), 1, ((0,) * 3, (1,) * 3, (1,) * 3, (1,) * 3)
    ),
}


@pytest.mark.parametrize("manifest", UNETS)
def test_unet_names_are_those_of_diffusers(manifest: str) -> None:
    keys = keys_of(manifest, key_names.UNET)
    # their converter moves whatever value stands under a key: here the key itself
    config: dict[str, Any] = {
        "layers_per_block": 2,
        "class_embed_type": None,
        "addition_embed_type": "text_time" if "sd15" not in manifest else None,
        "num_class_embeds": None,
    }
    converted = theirs.convert_ldm_unet_checkpoint({key_names.UNET + key: key for key in keys}, config)
    assert key_names.unet_to_diffusers(keys) == {old: new for new, old in converted.items()}


@pytest.mark.parametrize("manifest", UNETS)
def test_unet_names_there_and_back(manifest: str) -> None:
    keys = keys_of(manifest, key_names.UNET)
    there = key_names.unet_to_diffusers(keys)
    assert len(there) == len(keys)
    assert key_names.unet_to_ldm(there.values()) == {new: old for old, new in there.items()}
    assert key_names.layout_of_ldm(keys) == UNETS[manifest] == key_names.layout_of_diffusers(there.values())


def test_a_unet_of_uneven_depths_and_one_middle_resnet() -> None:
    """SSD-1B's shape."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            mid_block_type="UNetMidBlock2D",
            transformer_layers_per_block=[1, [2, 2], [4, 4]],
            reverse_transformer_layers_per_block=[[4, 4, 10], [2, 1, 1], 1],
            use_linear_projection=True,
        )
    keys = unet.state_dict().keys()
    layout = key_names.layout_of_diffusers(keys)
    assert layout == key_names.UNetLayout(((0, 0), (2, 2), (4, 4)), None, ((4, 4, 10), (2, 1, 1), (0, 0, 0)))
    ldm = key_names.unet_to_ldm(keys)
    assert len(ldm) == len(keys)
    assert key_names.layout_of_ldm(ldm.values()) == layout
    assert "output_blocks.2.1.transformer_blocks.9.attn2.to_k.weight" in ldm.values()


@pytest.mark.parametrize("manifest", ["nano-sdxl-vae", "nano-sd15-vae"])
def test_vae_names_are_those_of_diffusers(manifest: str) -> None:
    keys = keys_of(manifest, key_names.VAE)
    values = {key_names.VAE + key: torch.full((1, 1, 1, 1), float(i)) for i, key in enumerate(keys)}
    config = {"down_block_types": [None] * 4, "up_block_types": [None] * 4}
    converted = theirs.convert_ldm_vae_checkpoint(values, config)
    theirs_by_key = {keys[int(value.item())]: new for new, value in converted.items()}
    ours = key_names.vae_to_diffusers(keys)
    assert ours == theirs_by_key
    assert published_names.vae_to_ldm(ours.values()) == {new: old for old, new in ours.items()}


def test_vae_names_of_old_diffusers_files() -> None:
    old = ["decoder.mid_block.attentions.0.query.weight", "decoder.mid_block.attentions.0.proj_attn.bias"]
    assert list(key_names.vae_to_diffusers(old).values()) == [
        "decoder.mid_block.attentions.0.to_q.weight",
        "decoder.mid_block.attentions.0.to_out.0.bias",
    ]


def test_openclip_is_read_as_diffusers_reads_it(modules: dict[str, nn.Module], state: dict[str, Tensor]) -> None:
    prefix = "conditioner.embedders.1.model."
    published = {key: tensor for key, tensor in state.items() if key.startswith(prefix)}
    converted = theirs.convert_open_clip_checkpoint(modules["g"], published, prefix)
    parts = key_names.openclip_to_transformers(key.removeprefix(prefix) for key in published)
    assert parts.keys() == converted.keys() == {key_names.clip_key(key) for key in modules["g"].state_dict()}
    for key, part in parts.items():
        ours = part.take(published[prefix + part.key])
        assert torch.equal(ours, modules["g"].state_dict()[key]), key
        if "position_ids" not in key:
            assert torch.equal(ours, converted[key]), key
