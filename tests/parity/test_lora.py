"""Merged weights for each file format, and the inpaint patch."""

from __future__ import annotations

from typing import Any

import torch
from fooocus_stages.pipelines.models.lora import matching
from fooocus_stages.pipelines.models.weights import key_names

from . import nano
from .golden import Case, each_case

ALPHAS = {"kohya": 2.0, "loha": 4.0, "lokr": 1.0}  # of the files that Fooocus read; not among the inputs
PART = {
    "lora_up.weight": "up",
    "lora_down.weight": "down",
    "to_k_lora.up.weight": "up",
    "to_k_lora.down.weight": "down",
}
PATCHED = {
    "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": "linear",
    "diffusion_model.input_blocks.1.0.in_layers.2.weight": "conv",
}


@each_case("lora")
def test_merged_weights(case: Case) -> None:
    checkpoint = nano.sdxl()
    network = checkpoint.model.network
    weights = dict(network.module.named_parameters())
    ours = {ldm: key for key, ldm in key_names.unet_to_ldm(weights).items()}
    made = matching.patches(file_of(case), case.name, case.params["weight"], checkpoint.model, nano.sdxl_clip())
    patch = made.unet
    assert patch is not None
    assert made.encoders == (None, None)
    assert made.left_out == ()
    try:
        network.merge((patch,))
        for name in case.output_names:
            assert (weights[ours[name]] - case.output(name)).abs().max() <= 1e-5
    finally:
        network.merge(())


def file_of(case: Case) -> dict[str, Any]:
    """The entries of the case's file."""
    if "file_keys" not in case.params:
        return {key: quantised(case, layer) for key, layer in PATCHED.items()}
    state = {}
    for key in case.params["file_keys"]:
        layer = "conv" if "in_layers" in key else "proj" if "proj_in" in key else "linear"
        suffix = key.split(".processor.")[-1] if ".processor." in key else key.split(".", 1)[1]
        if suffix == "alpha":
            state[key] = torch.tensor(ALPHAS[case.params["format"]])
        else:
            state[key] = case.inputs(f"{layer}.{PART.get(suffix, suffix)}")
    return state


def quantised(case: Case, layer: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    levels = (40 * case.inputs(f"{layer}.u8_normal") + 128).clamp(0, 255).to(torch.uint8)
    return levels, torch.tensor(-0.11), torch.tensor(0.13)
