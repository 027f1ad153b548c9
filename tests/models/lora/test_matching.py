"""Every kind of LoRA entry for the UNet and both text encoders; files of which most entries do not fit are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models.checkpoint import Checkpoint
from fooocus_stages.pipelines.models.lora import matching
from safetensors.torch import save_file
from torch import Tensor

TO_K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"  # (64, 192)
CONV = "down_blocks.0.resnets.0.conv1.weight"  # (32, 32, 3, 3)
NORM = "down_blocks.0.resnets.0.norm1.weight"
LDM_TO_K = "lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k"
LDM_CONV = "lora_unet_input_blocks_1_0_in_layers_2"


def merged(tiny: Checkpoint, state: dict[str, Any], weight: float = 1.0) -> dict[str, Tensor]:
    """How much each UNet weight that the entries name has changed."""
    network = tiny.model.network
    before = {name: parameter.clone() for name, parameter in network.module.named_parameters()}
    on_unet = matching.patches(state, "file", weight, tiny.model, tiny.clip).unet
    assert on_unet is not None
    network.merge((on_unet,))
    after = dict(network.module.named_parameters())
    return {name: after[name] - before[name] for name in on_unet.deltas}


def entries(base: str, /, **factors: Tensor | float) -> dict[str, Any]:
    """Entries about one weight; '__' in a keyword stands for a dot."""
    return {f"{base}.{k.replace('__', '.')}": torch.as_tensor(v) for k, v in factors.items()}


@pytest.mark.parametrize(
    "base",
    [
        LDM_TO_K,
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k",
    ],
)
@pytest.mark.parametrize("style", [".lora_up.weight", "_lora.up.weight", ".lora_linear_layer.up.weight"])
def test_low_rank_under_every_name(tiny: Checkpoint, base: str, style: str) -> None:
    state = {base + style: torch.ones(64, 2), base + style.replace("up", "down"): torch.ones(2, 192)}
    state[base + ".alpha"] = torch.tensor(1.0)
    changes = merged(tiny, state, 0.5)
    assert changes.keys() == {TO_K}
    assert torch.allclose(changes[TO_K], torch.full((64, 192), 0.5), atol=1e-6)


def test_attention_outputs_lose_their_number_in_dotted_names(tiny: Checkpoint) -> None:
    base = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out"
    state = {base + "_lora.up.weight": torch.ones(64, 1), base + "_lora.down.weight": torch.ones(1, 64)}
    assert merged(tiny, state).keys() == {"mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0.weight"}
    flat = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert merged(tiny, entries(flat, diff=torch.ones(64, 64)))


def test_a_convolution_and_a_middle_factor(tiny: Checkpoint) -> None:
    up, down, mid = torch.randn(32, 4, 1, 1), torch.randn(4, 32, 1, 1), torch.randn(4, 4, 3, 3)
    state = entries(LDM_CONV, lora_up__weight=up, lora_down__weight=down, lora_mid__weight=mid, alpha=2.0)
    wanted = 0.5 * torch.einsum("orab,rskl,sicd->oikl", up, mid, down)
    assert torch.allclose(merged(tiny, state)[CONV], wanted, atol=1e-4)


@pytest.mark.parametrize("with_cores", [False, True])
def test_hadamard(tiny: Checkpoint, with_cores: bool) -> None:
    a1, a2 = torch.randn(4, 32), torch.randn(4, 32)
    b1, b2 = torch.randn(4, 32), torch.randn(4, 32)
    if with_cores:
        t1, t2 = torch.randn(4, 4, 3, 3), torch.randn(4, 4, 3, 3)
        factors = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "hada_t1": t1, "hada_t2": t2}
        one = torch.einsum("rskl,ro,si->oikl", t1, a1, b1)
        two = torch.einsum("rskl,ro,si->oikl", t2, a2, b2)
        changes = merged(tiny, entries(LDM_CONV, alpha=2.0, **factors))
        assert torch.allclose(changes[CONV], 0.5 * one * two, atol=1e-4)
    else:
        wide = torch.randn(4, 192)
        factors = {"hada_w1_a": torch.ones(64, 4), "hada_w1_b": wide, "hada_w2_a": torch.ones(64, 4), "hada_w2_b": wide}
        changes = merged(tiny, entries(LDM_TO_K, **factors))
        assert torch.allclose(changes[TO_K], wide.sum(0).square().expand(64, 192), atol=1e-4)


def test_kronecker(tiny: Checkpoint) -> None:
    w1, w2 = torch.randn(8, 8), torch.randn(8, 24)
    whole = merged(tiny, entries(LDM_TO_K, lokr_w1=w1, lokr_w2=w2, alpha=7.0))
    assert torch.allclose(whole[TO_K], torch.kron(w1, w2), atol=1e-5), "alpha counts only for factored parts"
    a, b = torch.randn(8, 2), torch.randn(2, 24)
    factored = merged(tiny, entries(LDM_TO_K, lokr_w1=w1, lokr_w2_a=a, lokr_w2_b=b, alpha=1.0))
    assert factored.keys() == {TO_K}
    # measured from the whole patch, which was taken out again
    assert torch.allclose(
        tiny.model.network.module.get_parameter(TO_K) - original(tiny, TO_K), 0.5 * torch.kron(w1, a @ b), atol=1e-4
    )


def test_kronecker_of_a_convolution(tiny: Checkpoint) -> None:
    w1, w2 = torch.randn(4, 4), torch.randn(8, 8, 3, 3)
    changes = merged(tiny, entries(LDM_CONV, lokr_w1=w1, lokr_w2=w2))
    assert torch.allclose(changes[CONV], torch.kron(w1[:, :, None, None], w2), atol=1e-5)
    a, b, core = torch.randn(2, 8), torch.randn(2, 8), torch.randn(2, 2, 3, 3)
    tiny.model.network.merge(())
    changes = merged(tiny, entries(LDM_CONV, lokr_w1=w1, lokr_w2_a=a, lokr_w2_b=b, lokr_t2=core))
    inner = torch.einsum("ijkl,jr,ip->prkl", core, b, a).contiguous()
    assert torch.allclose(changes[CONV], torch.kron(w1[:, :, None, None], inner), atol=1e-4)


def test_generalised(tiny: Checkpoint) -> None:
    weight = tiny.model.network.module.get_parameter(TO_K).clone()
    a1, a2, b1, b2 = torch.randn(4, 192), torch.randn(192, 4), torch.randn(4, 192), torch.randn(64, 4)
    state = entries(LDM_TO_K, a1__weight=a1, a2__weight=a2, b1__weight=b1, b2__weight=b2, alpha=2.0)
    assert torch.allclose(merged(tiny, state)[TO_K], 0.5 * (b2 @ b1 + weight @ a2 @ a1), atol=1e-4)


def test_differences_of_weights_norms_and_biases(tiny: Checkpoint) -> None:
    norm = "lora_unet_input_blocks_1_0_in_layers_0"
    state = entries(norm, w_norm=torch.full((32,), 2.0), b_norm=torch.full((32,), 3.0))
    state |= entries(LDM_CONV, diff=torch.ones(32, 32, 3, 3), diff_b=torch.full((32,), 4.0))
    changes = merged(tiny, state, 0.5)
    means = {name: round(change.mean().item(), 4) for name, change in changes.items()}
    assert means == {NORM: 1.0, NORM.replace("weight", "bias"): 1.5, CONV: 0.5, CONV.replace("weight", "bias"): 2.0}


def test_the_inpaint_patch(tiny: Checkpoint, tmp_path: Path) -> None:
    levels = torch.full((32, 32, 3, 3), 255, dtype=torch.uint8)
    bias = torch.zeros(32, dtype=torch.uint8)
    bounds = (torch.tensor(-0.5), torch.tensor(1.5))
    prefix = "diffusion_model.input_blocks.1.0.in_layers.2"
    torch.save({f"{prefix}.weight": (levels, *bounds), f"{prefix}.bias": (bias, *bounds)}, tmp_path / "x.patch")
    changes = merged(tiny, matching.read_lora(tmp_path / "x.patch"))
    assert torch.allclose(changes[CONV], torch.tensor(1.5), atol=1e-6)
    assert torch.allclose(changes[CONV.replace("weight", "bias")], torch.tensor(-0.5), atol=1e-6)


@pytest.mark.parametrize(
    ("base", "which"),
    [
        ("lora_te_text_model_encoder_layers_1_mlp_fc1", 0),
        ("lora_te1_text_model_encoder_layers_1_mlp_fc1", 0),
        ("text_encoder.text_model.encoder.layers.1.mlp.fc1", 0),
        ("lora_te2_text_model_encoder_layers_1_self_attn_q_proj", 1),
        ("text_encoder_2.text_model.encoder.layers.1.self_attn.q_proj", 1),
    ],
)
def test_text_encoders(tiny: Checkpoint, base: str, which: int) -> None:
    assert tiny.clip is not None
    module = tiny.clip.encoders[which].network.module
    name = next(n for n, _ in module.named_parameters() if n.endswith("layers.1." + base_end(base)))
    state = entries(base, diff=torch.ones_like(module.get_parameter(name)))
    made = matching.patches(state, "file", 1.0, tiny.model, tiny.clip)
    on_unet, on_text = made.unet, made.encoders
    assert on_unet is None
    assert [patch is not None for patch in on_text] == [which == 0, which == 1]
    patch = on_text[which]
    assert patch is not None
    assert patch.deltas.keys() == {name}


def test_without_text_encoders_their_entries_are_passed_over(tiny: Checkpoint) -> None:
    state = entries("lora_te1_text_model_encoder_layers_1_mlp_fc1", diff=torch.ones(1))
    assert matching.patches(state, "file", 1.0, tiny.model, None) == matching.LoraPatches(None, (), (), 1)


def test_a_file_of_five_is_read_and_all_go_in(tiny: Checkpoint, tmp_path: Path) -> None:
    made = []
    for i in range(5):
        path = tmp_path / f"{i}.safetensors"
        save_file({f"{LDM_TO_K}.diff": torch.full((64, 192), 10.0**-i)}, path)
        made.append(matching.patches(matching.read_lora(path), path.name, 1.0, tiny.model, tiny.clip).unet)
    before = tiny.model.network.module.get_parameter(TO_K).clone()
    tiny.model.network.merge(tuple(patch for patch in made if patch))
    assert torch.allclose(tiny.model.network.module.get_parameter(TO_K) - before, torch.tensor(1.1111), atol=1e-5)
    tiny.model.network.merge(())
    assert torch.equal(tiny.model.network.module.get_parameter(TO_K), before)


GOOD = entries(LDM_TO_K, diff=torch.ones(64, 192))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "file is empty"),
        (entries("lora_unet_nothing", diff=torch.ones(1)), "1 of its 1 entries match no weight of this model"),
        ({"model.diffusion_model.out.2.bias": torch.ones(4)}, "does not fit this model"),
        ({"diffusion_model.out.2.bias": torch.ones(4)}, "does not fit this model"),
        (GOOD | entries(LDM_TO_K, dora_scale=torch.ones(1)), "1 of its 2 .*dora_scale"),
        (GOOD | entries("unet.x.to_k", lora_A__weight=torch.ones(1)), "1 of its 2 .*lora_A"),
        (GOOD | entries(LDM_CONV, lora_up__weight=torch.ones(1)), "1 of its 2 .*lora_up"),
        (GOOD | entries(LDM_CONV, lokr_w1=torch.ones(1)), "1 of its 2 .*lokr_w1"),
        (entries(LDM_TO_K, diff=torch.ones(64, 192), alpha=torch.ones(2)), "alpha has the shape"),
        (entries(LDM_TO_K, diff=torch.ones(64, 191)), "another model family: 1 of its 1 changes"),
        (entries(LDM_TO_K, lora_up__weight=torch.ones(64, 2), lora_down__weight=torch.ones(2, 768)), "SD 1.5, not for"),
        (entries(LDM_TO_K, lora_up__weight=torch.ones(64, 2), lora_down__weight=torch.ones(3, 192)), "another model"),
        (entries("lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k", diff_b=torch.ones(64)), "another"),
    ],
)
def test_files_that_do_not_fit(tiny: Checkpoint, content: dict[str, Any], message: str) -> None:
    with pytest.raises(BadFile, match=message):
        matching.patches(content, "file", 1.0, tiny.model, tiny.clip)


PAIR = {"lora_up__weight": torch.ones(64, 1), "lora_down__weight": torch.ones(1, 192)}


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_none_are_refused(tiny: Checkpoint, broken: float, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype, copy=True) for key, value in entries(LDM_TO_K, **PAIR).items()}
    state[LDM_TO_K + ".lora_up.weight"][3, 0] = broken
    with pytest.raises(BadFile, match=rf"file contains NaN or infinity, first in {LDM_TO_K}\.lora_up\.weight"):
        matching.patches(state, "file", 1.0, tiny.model, tiny.clip)


def test_large_numbers_whose_sum_overflows_are_numbers(tiny: Checkpoint) -> None:
    state = entries(LDM_TO_K, diff=torch.full((64, 192), 3e38))
    assert matching.patches(state, "file", 1e-38, tiny.model, tiny.clip).unet is not None


@pytest.mark.parametrize("weight", [-1.5, 0.0, 2.5])
def test_weights_below_zero_and_above_one(tiny: Checkpoint, weight: float) -> None:
    assert torch.allclose(merged(tiny, entries(LDM_TO_K, **PAIR), weight)[TO_K], torch.tensor(weight), atol=1e-6)


def test_both_kinds_of_generalised_files(tiny: Checkpoint) -> None:
    """Programs differ in which factor they call the first; the change is the same."""
    a1, a2, b1, b2 = torch.randn(4, 32), torch.randn(32, 4), torch.randn(4, 288), torch.randn(32, 4)
    old = entries(LDM_CONV, a1__weight=a1, a2__weight=a2, b1__weight=b1, b2__weight=b2, alpha=2.0)
    new = entries(LDM_CONV, a1__weight=a2, a2__weight=a1, b1__weight=b2, b2__weight=b1, alpha=2.0)
    weight = tiny.model.network.module.get_parameter(CONV).clone()
    wanted = 0.5 * ((b2 @ b1).reshape(weight.shape) + torch.einsum("oikl,ir,rj->ojkl", weight, a2, a1))
    for state in (old, new):
        assert torch.allclose(merged(tiny, state)[CONV], wanted, atol=1e-4)
        tiny.model.network.merge(())


def test_a_file_applied_again_is_the_same_patch(tiny: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"

    def made(weight: float) -> Any:
        state, source = matching.read_lora(path), matching.source_of(path)
        return matching.patches(state, path.name, weight, tiny.model, tiny.clip, source).unet

    save_file(entries(LDM_TO_K, **PAIR), path)
    first, again, weaker = made(1.0), made(1.0), made(0.5)
    assert first == again
    assert hash(first) == hash(again)
    assert first != weaker
    tiny.model.network.merge((first,))
    before = tiny.model.network.module.get_parameter(TO_K).data_ptr()
    tiny.model.network.merge((again,))
    assert tiny.model.network.module.get_parameter(TO_K).data_ptr() == before, "merged anew"
    save_file(entries(LDM_CONV, diff=torch.ones(32, 32, 3, 3)), path)
    assert made(1.0) != first


OTHERS = {
    "Flux": "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight",
    "Stable Diffusion 3": "transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight",
    "Qwen-Image": "transformer_blocks.0.img_mlp.net.0.proj.lora_A.weight",
    "Wan": "diffusion_model.blocks.0.cross_attn.k.lora_A.weight",
    "SD 1.5": "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight",
    "Stable Diffusion 2": "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight",
    "the SDXL refiner": "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v.lora_down.weight",
}
WIDTHS = {"SD 1.5": 768, "Stable Diffusion 2": 1024, "the SDXL refiner": 1280}


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("with_some_that_fit", [False, True])
def test_another_family_is_named(tiny: Checkpoint, family: str, with_some_that_fit: bool) -> None:
    state = {OTHERS[family]: torch.ones(2, WIDTHS.get(family, 64))}
    state |= entries(LDM_CONV, diff=torch.ones(32, 32, 3, 3)) if with_some_that_fit else {}
    with pytest.raises(BadFile, match=rf"file is for {family}, .* is SDXL: 1 of its {len(state)} entries"):
        matching.patches(state, "file", 1.0, tiny.model, tiny.clip)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("decoder.conv_in.weight", "a VAE alone"),
        ("vision_model.embeddings.class_embedding", "a CLIP vision encoder"),
        ("model.1.sub.0.RDB1.conv1.0.weight", "an upscaler"),
        ("head", "an inpaint head"),
        ("transformer.h.0.attn.c_attn.weight", "an expansion model"),
    ],
)
def test_a_file_of_another_kind_is_named(tiny: Checkpoint, key: str, kind: str) -> None:
    with pytest.raises(BadFile, match=rf"1 of its 1 entries .*it is {kind}.*choose a LoRA file"):
        matching.patches({key: torch.ones(2, 64)}, "file", 1.0, tiny.model, tiny.clip)


@pytest.mark.parametrize(
    "base",
    [
        "diffusion_model.input_blocks.3.1.transformer_blocks.0.attn2.to_k",
        "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
        "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        "unet.base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
    ],
)
@pytest.mark.parametrize("adapter", ["", ".default", ".style-1"])
def test_peft_under_every_name(tiny: Checkpoint, base: str, adapter: str) -> None:
    state = {f"{base}.lora_B{adapter}.weight": torch.ones(64, 2), f"{base}.lora_A{adapter}.weight": torch.ones(2, 192)}
    assert torch.allclose(merged(tiny, state)[TO_K], torch.tensor(2.0), atol=1e-6)


OLD_TEXT = {
    "text_encoder.text_model.encoder.layers.1.self_attn.to_q_lora.{}.weight": 0,
    "text_encoder.text_model.encoder.layers.1.self_attn.q_proj.lora_linear_layer.{}.weight": 0,
    "text_encoder_2.text_model.encoder.layers.1.self_attn.to_q_lora.{}.weight": 1,
    "text_encoder_2.encoder.layers.1.self_attn.q_proj.lora_linear_layer.{}.weight": 1,
    "text_encoders.clip_g.transformer.text_model.encoder.layers.1.self_attn.q_proj.lora_{}.weight": 1,
    "base_model.model.encoder.layers.1.self_attn.q_proj.lora_{}.weight": 0,
    "base_model.model.text_model.encoder.layers.1.self_attn.q_proj.lora_{}.weight": 1,
}


@pytest.mark.parametrize(("key", "which"), OLD_TEXT.items())
def test_names_of_text_encoders(tiny: Checkpoint, key: str, which: int) -> None:
    """Without an owner in the name, the shapes tell which encoder is meant: 64 wide, or 128."""
    assert tiny.clip is not None
    width = (64, 128)[which]
    state = {key.format("up"): torch.ones(width, 1), key.format("down"): torch.ones(1, width)}
    made = matching.patches(state, "file", 1.0, tiny.model, tiny.clip)
    on_unet, on_text = made.unet, made.encoders
    assert on_unet is None
    assert [patch is not None for patch in on_text] == [which == 0, which == 1]
    patch = on_text[which]
    assert patch is not None
    assert [name.removeprefix("text_model.") for name in patch.deltas] == ["encoder.layers.1.self_attn.q_proj.weight"]


@pytest.mark.parametrize(
    ("config", "message"),
    [("no json", "can't be read"), ("[1]", "is a list, not a JSON object")],
)
def test_a_broken_configuration(tmp_path: Path, config: str, message: str) -> None:
    state = {"unet.x.lora_A.weight": torch.ones(1, 1)}
    save_file(state, tmp_path / "x.safetensors", {"lora_adapter_metadata": config})
    with pytest.raises(BadFile, match=message):
        matching.read_lora(tmp_path / "x.safetensors")


def base_end(base: str) -> str:
    """The parameter that a text base name ends in."""
    return "mlp.fc1.weight" if base.endswith("fc1") else "self_attn.q_proj.weight"


def original(tiny: Checkpoint, name: str) -> Tensor:
    """A weight without patches; the network is left with what it had."""
    network = tiny.model.network
    patches = network.merged
    network.merge(())
    weight = network.module.get_parameter(name).clone()
    network.merge(patches)
    return weight
