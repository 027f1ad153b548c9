"""Names of LoRA entries: every prefix, dialect, separator and factor spelling of the known trainers, in any mixture."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.models.checkpoint import Checkpoint
from fooocus_stages.pipelines.models.lora import matching
from fooocus_stages.pipelines.models.lora.target_names import canonical, text_names, unet_names
from fooocus_stages.pipelines.models.weights import key_names
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ..conftest import text_of, unet_of

PREFIXES = {
    "unet": (
        "unet.", "lora_unet_", "lora_unet.", "lycoris_unet_", "diffusion_model.", "model.diffusion_model.",
        "unet.base_model.model.", "base_model.model.unet.", "unet._orig_mod.", "module.unet.", "lora_unet_module_",
        "model.unet._orig_mod.", "model.lora_unet_", "pipeline.unet.", "model.model.diffusion_model.",
        "lora.lora_unet_", "unet.unet.", "unet_lora.", "lora_UNet_", "unet.lycoris_", "network.lora_sdxl_unet_",
    ),
    "clip_l": (
        "te.", "te1.", "lora_te_", "lora_te1_", "lora_te1.", "text_encoder.", "text_encoder_1.", "clip_l.",
        "clip_l.transformer.", "text_encoders.clip_l.transformer.", "lycoris_text_encoder_",
        "text_encoder.base_model.model.", "cond_stage_model.transformer.", "conditioner.embedders.0.transformer.",
        "text_encoder_one.", "text_encoder1.", "text_encoders.0.", "te_1.",
    ),
    "clip_g": (
        "te2.", "lora_te2_", "lora_te2.", "text_encoder_2.", "clip_g.", "clip_g.transformer.",
        "text_encoders.clip_g.transformer.", "lycoris_text_encoder_2_", "text_encoder_2.base_model.model.",
        "conditioner.embedders.1.model.", "conditioner.embedders.1.transformer.", "text_encoder_two.",
        "text_encoder2.", "text_encoders.1.", "lora_te_2_",
    ),
}  # fmt: skip
BARE = ("", "lycoris_", "lora_", "base_model.model.", "_orig_mod.", "model.", "model.module.")
UP_AND_DOWN = (
    (".lora_up.weight", ".lora_down.weight"), (".lora.up.weight", ".lora.down.weight"),
    ("_lora.up.weight", "_lora.down.weight"), (".lora_B.weight", ".lora_A.weight"),
    (".lora_B.default.weight", ".lora_A.default.weight"), (".lora_B.my own-1.weight", ".lora_A.my own-1.weight"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    ("_lora_up.weight", "_lora_down.weight"), ("lora_up.weight", "lora_down.weight"), (".lora_up", ".lora_down"),
    (".lora_B", ".lora_A"),
)  # fmt: skip


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {"unet": unet_of(), "clip_l": text_of(64, False), "clip_g": text_of(128, True)}


@pytest.fixture(scope="module")
def tables(networks: dict[str, nn.Module]) -> dict[str, dict[str, str]]:
    """Parameters by canonical path, for each network."""
    return {
        owner: dict(unet_names(module) if owner == "unet" else text_names(module)) for owner, module in networks.items()
    }


def dialects(owner: str, module: nn.Module) -> list[tuple[str, str]]:
    """(path in one dialect, parameter) for every weight of a network."""
    keys = [key for key, _ in module.named_parameters() if key.endswith(".weight")]
    if owner == "unet":
        ldm = key_names.unet_to_ldm(keys)
        return [(path, key) for key in keys for path in (key, ldm[key])]
    full = {key: key_names.clip_key(key) for key in keys}
    paths = [(path, key) for key, path in full.items()]
    paths += [(path.removeprefix("text_model."), key) for key, path in full.items()]
    return paths + [(openclip, key) for key, path in full.items() if (openclip := key_names.openclip_key(path))]


@pytest.mark.parametrize("owner", PREFIXES)
def test_every_prefix_dialect_and_separator(
    owner: str, networks: dict[str, nn.Module], tables: dict[str, dict[str, str]]
) -> None:
    paths = dialects(owner, networks[owner])
    for prefix, separator in itertools.product(PREFIXES[owner], "._"):
        for path, parameter in paths:
            module = path.removesuffix(".weight")
            for name in (prefix + module.replace(".", separator), (prefix + module).replace(".", separator)):
                found = canonical(name)
                assert (found.owner, tables[owner].get(found.path)) == (owner, parameter), name


@pytest.mark.parametrize("owner", PREFIXES)
def test_names_without_a_network(owner: str, networks: dict[str, nn.Module], tables: dict[str, dict[str, str]]) -> None:
    """The path alone tells a UNet from a text encoder, not which text encoder."""
    for prefix, separator in itertools.product(BARE, "._"):
        for path, parameter in dialects(owner, networks[owner]):
            if path.startswith(("token_embedding", "positional", "ln_final")):
                continue  # OpenCLIP's, which nobody writes without a prefix
            found = canonical((prefix + path.removesuffix(".weight")).replace(".", separator))
            assert found.owner == ("" if owner == "unet" else "text"), path
            assert tables[owner].get(found.path) == parameter, path


@given(data=st.data())
def test_dots_and_underscores_mixed(
    data: st.DataObject, networks: dict[str, nn.Module], tables: dict[str, dict[str, str]]
) -> None:
    owner = data.draw(st.sampled_from(list(PREFIXES)))
    prefix = data.draw(st.sampled_from(PREFIXES[owner]))
    path, parameter = data.draw(st.sampled_from(dialects(owner, networks[owner])))
    parts = (prefix + path.removesuffix(".weight")).split(".")
    separators = data.draw(st.lists(st.sampled_from("._"), min_size=len(parts) - 1, max_size=len(parts) - 1))
    name = parts[0] + "".join(separator + part for separator, part in zip(separators, parts[1:], strict=True))
    found = canonical(name)
    assert (found.owner, tables[owner].get(found.path)) == (owner, parameter)


def test_no_two_weights_of_a_network_share_a_path(networks: dict[str, nn.Module]) -> None:
    for owner, module in networks.items():
        pairs = set(unet_names(module) if owner == "unet" else text_names(module))
        assert len({path for path, _ in pairs}) == len(pairs), owner


@pytest.mark.parametrize("name", ["text_encoder_3.encoder.block.0.q", "lora_te3_encoder_layers_0", "t5xxl.encoder.x"])
def test_a_third_text_encoder_is_no_other(name: str, tables: dict[str, dict[str, str]]) -> None:
    assert not any(canonical(name).path in table for table in tables.values())


SIDES = {
    "unet": ("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 64, 192),
    "clip_l": ("text_model.encoder.layers.1.mlp.fc1", 128, 64),
    "clip_g": ("text_model.encoder.layers.1.mlp.fc1", 256, 128),
}


@pytest.mark.parametrize("spelling", UP_AND_DOWN, ids=str)
def test_every_spelling_of_the_factors(tiny: Checkpoint, spelling: tuple[str, str]) -> None:
    """Each acts as kohya's: alpha/r · up·down on the UNet and on both text encoders."""
    state: dict[str, Any] = {}
    for owner, (path, out, inner) in SIDES.items():
        for prefix in PREFIXES[owner][:1]:
            base = prefix + path
            state |= {base + spelling[0]: torch.ones(out, 2), base + spelling[1]: torch.ones(2, inner)}
            state[base + ".alpha"] = torch.tensor(1.0)
    made = matching.patches(state, "file", 1.0, tiny.model, tiny.clip)
    assert made.left_out == ()
    for patch, (_, out, inner) in zip((made.unet, *made.encoders), SIDES.values(), strict=True):
        assert patch is not None
        (change,) = next(iter(patch.deltas.values()))
        assert torch.equal(change(torch.zeros(out, inner)), torch.ones(out, inner))


TRAINERS = {
    "kohya": ("lora_unet_{ldm_}", "lora_te1_{text_}", "lora_te2_{text_}", "lora_down.weight", "lora_up.weight"),
    "OneTrainer": ("lora_unet_{path_}", "lora_te1_{text_}", "lora_te2_{text_}", "lora_down.weight", "lora_up.weight"),
    "OneTrainer, OMI": ("unet.{ldm}", "clip_l.{text}", "clip_g.{text}", "lora_down.weight", "lora_up.weight"),
    "SimpleTuner": ("unet.{path}", "text_encoder.{text}", "text_encoder_2.{text}", "lora_A.weight", "lora_B.weight"),
    "ai-toolkit": ("lora_unet_{path_}", "lora_te1_{text_}", "lora_te2_{text_}", "lora_down.weight", "lora_up.weight"),
    "PEFT": (
        "unet.base_model.model.{path}", "text_encoder.base_model.model.{text}",
        "text_encoder_2.base_model.model.{text}", "lora_A.default.weight", "lora_B.default.weight",
    ),
    "diffusers until 0.23": (
        "unet.{path}", "text_encoder.{text}", "text_encoder_2.{text}",
        "lora_linear_layer.down.weight", "lora_linear_layer.up.weight",
    ),
    "ComfyUI": (
        "diffusion_model.{ldm}", "text_encoders.clip_l.transformer.{text}", "text_encoders.clip_g.transformer.{text}",
        "lora_down.weight", "lora_up.weight",
    ),
    "LyCORIS": ("lycoris_{path_}", "lycoris_{text_}", "lora_te2_{text_}", "lora_down.weight", "lora_up.weight"),
}  # fmt: skip


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer(tiny: Checkpoint, trainer: str) -> None:
    assert tiny.clip is not None
    networks = [tiny.model.network.module, *(encoder.network.module for encoder in tiny.clip.encoders)]
    *bases, down, up = TRAINERS[trainer]
    state: dict[str, Tensor] = {}
    wanted: list[set[str]] = []
    for module, base in zip(networks, bases, strict=True):
        weights = {key: w for key, w in module.named_parameters() if key.endswith("weight") and w.ndim == 2}
        weights = {key: w for key, w in weights.items() if "embeddings" not in key}
        ldm = key_names.unet_to_ldm(key for key, _ in module.named_parameters()) if module is networks[0] else {}
        for key, weight in weights.items():
            path, in_ldm = (name.removesuffix(".weight") for name in (key, ldm.get(key, "")))
            text = key_names.clip_key(key).removesuffix(".weight")
            names = {"path": path, "ldm": in_ldm, "text": text}
            full = base.format(**names, **{f"{k}_": name.replace(".", "_") for k, name in names.items()})
            state[f"{full}.{up}"], state[f"{full}.{down}"] = torch.ones(len(weight), 1), torch.ones(1, weight.shape[1])
        wanted.append(set(weights))
    made = matching.patches(state, "file", 1.0, tiny.model, tiny.clip)
    assert made.left_out == ()
    for patch, keys in zip((made.unet, *made.encoders), wanted, strict=True):
        assert patch is not None
        assert patch.deltas.keys() == keys
