"""Each family of LoRA files against the programs that write or read them: LyCORIS, PEFT and diffusers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from fooocus_stages.pipelines.models.handles import Clip, Model, TextEncoder
from fooocus_stages.pipelines.models.lora import matching
from fooocus_stages.pipelines.models.unet import UNet
from fooocus_stages.pipelines.models.weights import key_names
from fooocus_stages.pipelines.models.weights.merging import Network
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

pytestmark = [  # PEFT's own
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Adapter 'default'. . LoRA tensor:UserWarning"),
]

STRENGTHS = (1.0, -0.7, 1.8)
LAYERS = {
    "unet": (
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",  # linear 64×192
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",  # linear, with a bias
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "down_blocks.1.resnets.0.conv_shortcut",  # 1×1
        "down_blocks.1.resnets.0.conv1",  # 3×3, 32 -> 64
        "conv_in",
    ),
    "l": ("encoder.layers.1.self_attn.q_proj", "encoder.layers.2.mlp.fc1"),
    "g": ("encoder.layers.0.self_attn.out_proj", "encoder.layers.1.mlp.fc2", "text_projection"),
}
NORMS = {
    "unet": ("down_blocks.0.resnets.0.norm1", "mid_block.attentions.0.transformer_blocks.0.norm2", "conv_norm_out"),
    "l": ("encoder.layers.1.layer_norm1", "final_layer_norm"),
    "g": ("encoder.layers.2.layer_norm2",),
}
FLAT = {"unet": "lora_unet_", "l": "lora_te1_", "g": "lora_te2_"}
DOTTED = {"unet": "unet.", "l": "text_encoder.", "g": "text_encoder_2."}


@dataclass(frozen=True)
class Bench:
    """The three networks as the pack holds them, and copies for the other programs."""

    ours: dict[str, Network]
    model: Model
    clip: Clip

    def fresh(self) -> dict[str, nn.Module]:
        """Copies in float32 to be changed by others."""
        return {side: copy.deepcopy(network.module).float() for side, network in self.ours.items()}

    def merged(self, state: dict[str, Any], strength: float) -> dict[str, dict[str, Tensor]]:
        """All weights with the file in them; the networks are as before, to the bit."""
        before = {side: snapshot(network.module) for side, network in self.ours.items()}
        made = matching.patches(state, "file", strength, self.model, self.clip)
        assert made.left_out == ()
        for network, patch in zip(self.ours.values(), (made.unet, *made.encoders), strict=True):
            network.merge((patch,) if patch else ())
        after = {side: snapshot(network.module) for side, network in self.ours.items()}
        for side, network in self.ours.items():
            network.merge(())
            assert all(torch.equal(tensor, before[side][key]) for key, tensor in snapshot(network.module).items())
        return after


@pytest.fixture(scope="module", params=[torch.float32, torch.float16], ids=["float32", "float16"])
def bench(modules: dict[str, nn.Module], request: pytest.FixtureRequest) -> Bench:
    made = {side: copy.deepcopy(modules[side]).to(request.param).requires_grad_(False) for side in LAYERS}
    unet = UNet(made["unet"])
    ours = {side: unet if side == "unet" else Network(module) for side, module in made.items()}
    encoders = (TextEncoder(ours["l"], pad=0, pooled=False), TextEncoder(ours["g"], pad=0, pooled=True))
    tokenizer: Any = None  # no text is read here
    return Bench(ours, Model(unet, "sdxl"), Clip(encoders, tokenizer))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {key: parameter.detach().clone() for key, parameter in module.named_parameters()}


def key_of(root: nn.Module, path: str) -> str:
    """A module's name; transformers 4 and models with a projection have one level more."""
    return path if path in dict(root.named_modules()) else "text_model." + path


def module_of(root: nn.Module, path: str) -> nn.Module:
    return root.get_submodule(key_of(root, path))


def flat_name(side: str, root: nn.Module, path: str) -> str:
    """kohya's name for a module."""
    key = key_of(root, path)
    inside = key_names.clip_key(key + ".weight").removesuffix(".weight") if side != "unet" else key
    return FLAT[side] + inside.replace(".", "_")


def scatter(parameters: Iterator[nn.Parameter]) -> None:
    """Small random numbers in place of the zeros that training starts from."""
    for parameter in parameters:
        parameter.data = 0.2 * torch.randn(parameter.shape)


def assert_same(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Equal in float32; in float16 one rounding of nearly the same number."""
    if ours.dtype == torch.float16:
        torch.testing.assert_close(ours.float(), theirs.half().float(), rtol=2**-10, atol=1e-6, msg=lambda m: what + m)
    else:
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5, msg=lambda m: f"{what}: {m}")


LYCORIS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "LoCon": (LoConModule, {}),
    "LoCon with a middle factor": (LoConModule, {"use_tucker": True}),
    "LoCon, rank-stabilised": (LoConModule, {"rs_lora": True}),
    "DoRA by outputs": (LoConModule, {"weight_decompose": True, "wd_on_out": True}),
    "DoRA by inputs": (LoConModule, {"weight_decompose": True, "wd_on_out": False}),
    "DoRA with a middle factor": (LoConModule, {"weight_decompose": True, "use_tucker": True}),
    "LoHa": (LohaModule, {}),
    "LoHa in Tucker form": (LohaModule, {"use_tucker": True}),
    "LoHa with DoRA": (LohaModule, {"weight_decompose": True, "wd_on_out": True}),
    "LoKr": (LokrModule, {}),
    "LoKr, both parts in factors": (LokrModule, {"decompose_both": True, "factor": 8}),
    "LoKr in Tucker form": (LokrModule, {"use_tucker": True, "factor": 2}),
    "LoKr whole": (LokrModule, {"full_matrix": True}),
    "LoKr with DoRA": (LokrModule, {"weight_decompose": True, "wd_on_out": False}),
    "GLoRA": (GLoRAModule, {}),
    "full": (FullModule, {}),
}


@pytest.mark.parametrize("family", LYCORIS)
def test_lycoris(bench: Bench, family: str) -> None:
    torch.manual_seed(1)
    make, options = LYCORIS[family]
    adapters: dict[tuple[str, str], Any] = {}
    state: dict[str, Tensor] = {}
    for side, root in bench.fresh().items():
        for path in LAYERS[side]:
            name = flat_name(side, root, path)
            adapter = make(name, module_of(root, path), lora_dim=2, alpha=3.0, **options)
            magnitude = getattr(adapter, "dora_scale", None)
            scatter(p for p in adapter.parameters() if p is not magnitude)
            if magnitude is not None:
                magnitude.data *= 1 + 0.1 * torch.rand(magnitude.shape)
            adapters[side, key_of(root, path)] = adapter
            written = full_entries(adapter) if make is FullModule else adapter.custom_state_dict()
            state |= {f"{name}.{part}": torch.as_tensor(value).detach().clone() for part, value in written.items()}
    for strength in STRENGTHS:
        after = bench.merged(state, strength)
        for (side, key), adapter in adapters.items():
            assert_same(after[side][key + ".weight"], in_lycoris(adapter, strength), f"{side} {key}")
            if make is FullModule and (bias := adapter.get_diff_weight()[1]) is not None:
                assert_same(after[side][key + ".bias"], adapter.org_module[0].bias + strength * bias, f"{side} {key}")


def in_lycoris(adapter: Any, strength: float) -> Tensor:
    """The weight that its forward pass uses, `strength` of the way from the old one.

    (Its get_diff_weight scales LoHa and LoKr twice; its forward pass does not.)
    """
    weight: Tensor = adapter.org_weight
    change = adapter.get_weight(weight.shape) if hasattr(adapter, "get_weight") else adapter.get_diff_weight()[0]
    new = weight + change.reshape(weight.shape)
    if getattr(adapter, "wd", False):
        new = adapter.apply_weight_decompose(new)
    return weight + strength * (new - weight)


def full_entries(adapter: Any) -> dict[str, Tensor]:
    """FullModule keeps whole weights while it trains and writes their differences."""
    weight, bias = adapter.get_diff_weight(multiplier=1.0)
    return {"diff": weight} | ({"diff_b": bias} if bias is not None else {})


def test_lycoris_norms(bench: Bench) -> None:
    torch.manual_seed(2)
    state, wanted = {}, {}
    for side, root in bench.fresh().items():
        for path in NORMS[side]:
            adapter = NormModule(flat_name(side, root, path), module_of(root, path))
            scatter(adapter.parameters())
            state |= {f"{adapter.lora_name}.{part}": getattr(adapter, part).detach() for part in ("w_norm", "b_norm")}
            wanted[side, key_of(root, path)] = adapter
    for strength in STRENGTHS:
        after = bench.merged(state, strength)
        for (side, key), adapter in wanted.items():
            weight, bias = adapter.make_weight(scale=strength)
            assert_same(after[side][key + ".weight"], weight, f"{side} {key}")
            assert_same(after[side][key + ".bias"], bias, f"{side} {key} bias")


PEFT: dict[str, peft.PeftConfig] = {
    "LoRA": peft.LoraConfig(r=2, lora_alpha=3),
    "LoRA, rank-stabilised": peft.LoraConfig(r=4, lora_alpha=3, use_rslora=True),
    "LoRA with alphas of its own": peft.LoraConfig(r=2, lora_alpha=3, alpha_pattern={"conv1": 5, "q_proj": 1}),
    "LoRA with biases": peft.LoraConfig(r=2, lora_alpha=3, lora_bias=True),
    "DoRA": peft.LoraConfig(r=2, lora_alpha=3, use_dora=True),
    "LoHa": peft.LoHaConfig(r=2, alpha=3),
    "LoHa in Tucker form": peft.LoHaConfig(r=2, alpha=3, use_effective_conv2d=True),
    "LoKr": peft.LoKrConfig(r=2, alpha=3, decompose_factor=8),
    "LoKr in Tucker form": peft.LoKrConfig(r=2, alpha=3, decompose_both=True, use_effective_conv2d=True),
}


@pytest.mark.parametrize("family", PEFT)
def test_peft(bench: Bench, family: str, tmp_path: Path) -> None:
    """A folder as PEFT saves it, one for each network, its alpha in the configuration beside the weights."""
    torch.manual_seed(3)
    for side, root in bench.fresh().items():
        model = wrapped(root, side, PEFT[family])
        model.save_pretrained(tmp_path / side)
        state = matching.read_lora(tmp_path / side / "adapter_model.safetensors")
        after = bench.merged(state, 1.0)
        wanted = snapshot(model.merge_and_unload())
        before = snapshot(bench.ours[side].module)
        changed = [key for key, weight in after[side].items() if not torch.equal(weight, before[key])]
        assert len(changed) == len(model.peft_config["default"].target_modules) * (2 if "biases" in family else 1)
        for key in changed:
            assert_same(after[side][key], wanted[key], f"{family} {side} {key}")


def wrapped(root: nn.Module, side: str, config: peft.PeftConfig) -> Any:
    """A PEFT model around a network, all of its factors random, magnitudes near where they were."""
    config = copy.deepcopy(config)
    keys = [key_of(root, path) for path in LAYERS[side]]
    if getattr(config, "lora_bias", False):
        keys = [key for key in keys if root.get_submodule(key).bias is not None]
    config.target_modules = keys  # type: ignore[attr-defined]
    model: Any = peft.PeftModel(root, config)
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= 1 + 0.1 * torch.rand(parameter.shape)
        elif any(part in name for part in ("lora_", "hada_", "lokr_")):
            parameter.data = 0.2 * torch.randn(parameter.shape)
    return model.eval()


@pytest.mark.parametrize("strength", STRENGTHS)
def test_peft_at_other_strengths(bench: Bench, strength: float) -> None:
    torch.manual_seed(4)
    state, wanted = {}, {}
    for side, root in bench.fresh().items():
        model = wrapped(root, side, peft.LoraConfig(r=3, lora_alpha=3))
        state |= {DOTTED[side] + key: value for key, value in get_peft_model_state_dict(model).items()}
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.scale_layer(strength)
        wanted[side] = snapshot(model.merge_and_unload())
    after = bench.merged(state, strength)
    for side, weights in wanted.items():
        for path in LAYERS[side]:
            key = key_of(bench.ours[side].module, path) + ".weight"
            assert_same(after[side][key], weights[key], f"{side} {key}")


ATTENTION = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_out.0")
BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0."


def spelled(style: str, path: str, up: Tensor, down: Tensor) -> dict[str, Tensor]:
    """The two factors of one UNet module in one of the spellings of a diffusers or kohya file."""
    if style == "processor":  # diffusers until 0.20
        base = path.replace(".to_", ".processor.to_").removesuffix(".0")
        return {f"unet.{base}_lora.up.weight": up, f"unet.{base}_lora.down.weight": down}
    if style == "layer":  # diffusers 0.21 to 0.23
        return {f"unet.{path}.lora.up.weight": up, f"unet.{path}.lora.down.weight": down}
    if style == "peft":  # diffusers from 0.24
        return {f"unet.{path}.lora_B.weight": up, f"unet.{path}.lora_A.weight": down}
    base = "lora_unet_" + path.replace(".", "_")
    return {f"{base}.lora_up.weight": up, f"{base}.lora_down.weight": down, f"{base}.alpha": torch.tensor(1.0)}


@pytest.mark.skipif(not hasattr(UNet2DConditionModel, "load_lora_adapter"), reason="needs a later diffusers")
@pytest.mark.parametrize("style", ["processor", "layer", "peft", "kohya"])
@pytest.mark.parametrize("strength", [1.0, -0.7])
def test_what_diffusers_makes_of_a_file(bench: Bench, style: str, strength: float) -> None:
    """The same entries into diffusers' own loader, and the weights that it fuses."""
    torch.manual_seed(5)
    unet: Any = bench.fresh()["unet"]
    state: dict[str, Tensor] = {}
    for path in (BLOCK + end for end in ATTENTION):
        weight = unet.get_submodule(path).weight
        up, down = 0.2 * torch.randn(weight.shape[0], 4), 0.2 * torch.randn(4, weight.shape[1])
        state |= spelled(style, path, up, down)
    loaded, alphas = StableDiffusionXLPipeline.lora_state_dict(dict(state), unet_config=unet.config)
    unet.load_lora_adapter(loaded, prefix="unet", network_alphas=alphas)
    unet.fuse_lora(lora_scale=strength)
    after = bench.merged(state, strength)
    for path in (BLOCK + end for end in ATTENTION):
        assert_same(after["unet"][path + ".weight"], unet.get_submodule(path).base_layer.weight, f"{style} {path}")


@pytest.mark.skipif(
    "unet_lora_adapter_metadata" not in signature(StableDiffusionXLPipeline.save_lora_weights).parameters,
    reason="needs a later diffusers",
)
def test_the_metadata_that_diffusers_writes(bench: Bench, tmp_path: Path) -> None:
    torch.manual_seed(6)
    unet: Any = bench.fresh()["unet"]
    keys = [key_of(unet, path) for path in LAYERS["unet"]]
    unet.add_adapter(peft.LoraConfig(r=2, lora_alpha=7, target_modules=keys, init_lora_weights=False))
    layers = get_peft_model_state_dict(unet, adapter_name="default")
    StableDiffusionXLPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=layers, unet_lora_adapter_metadata=unet.peft_config["default"].to_dict()
    )
    path = tmp_path / "pytorch_lora_weights.safetensors"
    unet.fuse_lora()
    after = bench.merged(matching.read_lora(path), 1.0)
    for key in keys:
        assert_same(after["unet"][key + ".weight"], unet.get_submodule(key).base_layer.weight, key)
    save_file(load_file(path), path)
    assert not any(key.endswith(".alpha") for key in matching.read_lora(path))
