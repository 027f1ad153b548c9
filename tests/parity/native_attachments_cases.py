"""What other nodes attach to a MODEL, in our sampler as in ComfyUI's KSampler, on the pocket's weights.

Run by tests/comfyui/test_native_models.py in ComfyUI's Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_torch_compile import TorchCompileModel
from fooocus_stages.nodes.comfy.native import guidance
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.pipelines.models.handles import ImageHint
from fooocus_stages.pipelines.settings import DEFAULT_CONTROL
from fooocus_stages.pipelines.stages import control, inpaint, load
from fooocus_stages.pipelines.stages.sampling import sample
from fooocus_stages.pipelines.types import LATENT_MASK
from safetensors.torch import load_file
from torch import Tensor, nn

from .native import model_patcher
from .native_cases import (
    FILE,
    HOST,
    LORA,
    SEED,
    SETTINGS,
    Listening,
    _inference,
    adopted,
    assert_same,
    by_comfyui,
    drawn,
    handed_on,
    native,
    pocket,
    sides,
)

__all__ = ["_inference", "native", "pocket"]

KEY = "diffusion_model.middle_block.1.proj_in.weight"
FP8 = torch.float8_e4m3fn


class Scaled(nn.Module):
    """A layer whose output is scaled."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x) * 1.1
        return result


def with_lora(model: Any) -> Any:
    """As Load LoRA does."""
    file = load_file(POCKET / "loras" / LORA.name)
    return comfy.sd.load_lora_for_models(model, None, file, LORA.weight, 0.0)[0]


def with_weights(model: Any) -> Any:
    """As nodes that merge models do."""
    clone = model.clone()
    assert clone.add_patches({KEY: ("diff", (torch.full_like(clone.model_state_dict()[KEY], 0.05),))}, 0.5)
    return clone


def with_object(model: Any) -> Any:
    clone = model.clone()
    name = "diffusion_model.time_embed"
    clone.add_object_patch(name, Scaled(clone.get_model_object(name)))
    return clone


def with_attention(model: Any) -> Any:
    clone = model.clone()
    clone.set_model_attn1_patch(lambda q, k, v, options: (q * 0.9, k, v))
    clone.set_model_attn2_output_patch(lambda attention, options: attention * 0.9)
    clone.set_model_attn1_replace(lambda q, k, v, options: v, "middle", 0, 0)
    return clone


def with_wrappers(model: Any) -> Any:
    clone = model.clone()
    clone.set_model_unet_function_wrapper(
        lambda apply, given: apply(given["input"], given["timestep"], **given["c"]) * 0.9
    )
    clone.add_wrapper_with_key(
        WrappersMP.DIFFUSION_MODEL, "other", lambda execute, *given, **named: execute(*given, **named) * 1.1
    )
    clone.add_wrapper_with_key(
        WrappersMP.CALC_COND_BATCH, "other", lambda execute, *given: [one * 0.95 for one in execute(*given)]
    )
    return clone


def with_another_prediction(model: Any) -> Any:
    def predicted(args: Mapping[str, Any]) -> list[Tensor]:
        given = [args[name] for name in ("model", "conds", "input", "sigma", "model_options")]
        return [one * 0.9 for one in comfy.samplers.calc_cond_batch(*given)]

    clone = model.clone()
    clone.set_model_sampler_calc_cond_batch_function(predicted)
    return clone


def with_pag(model: Any) -> Any:
    return PerturbedAttentionGuidance.execute(model, 1.5).result[0]


def with_sag(model: Any) -> Any:
    return SelfAttentionGuidance.execute(model, 0.5, 2.0).result[0]


def compiled(model: Any) -> Any:
    """With a backend that needs no compiler."""
    return TorchCompileModel.execute(model, "eager").result[0]


CHANGES: tuple[Callable[[Any], Any], ...] = (
    with_lora,
    with_weights,
    with_object,
    with_attention,
    with_wrappers,
    with_another_prediction,
    with_pag,
    with_sag,
)


@pytest.mark.parametrize("change", CHANGES)
def test_our_sampler_draws_on_a_changed_model_as_a_ksampler(native: Any, change: Callable[[Any], Any]) -> None:
    changed, host = change(native), Listening()
    ours = drawn(adopted(changed, host))
    assert_same(ours, by_comfyui(guidance.patched(changed, SETTINGS)))
    assert host.heard == set()
    with pytest.raises(AssertionError):
        assert_same(ours, drawn(adopted(native)))


def test_a_lora_of_comfyui_is_the_lora_of_ours(pocket: Any, native: Any) -> None:
    ours, _ = load.apply_loras(HOST, pocket[0], pocket[1], (LORA,))
    assert_same(drawn(adopted(with_lora(native))), drawn(ours))


def test_a_compiled_model_draws_the_same(native: Any) -> None:
    torch._dynamo.reset()
    changed, settings = compiled(native), replace(SETTINGS, steps=1)
    counters = torch._dynamo.utils.counters
    counters.clear()
    assert_same(drawn(adopted(changed), settings), drawn(adopted(native), settings))
    assert counters["frames"]["ok"] > 0


def quantized(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint whose linear layers in the attentions have weights in float8 with a scale."""
    result = dict(state)
    for name, weight in state.items():
        if "attn" in name and weight.ndim == 2:
            scale = weight.abs().max().float() / torch.finfo(FP8).max
            result[name] = (weight.float() / scale).to(FP8)
            result[name.removesuffix("weight") + "scale_weight"] = scale
    return {**result, "model.diffusion_model.scaled_fp8": torch.zeros(2, dtype=FP8)}


@pytest.mark.parametrize("kind", ["fp8", "scaled fp8"])
def test_weights_in_float8(pocket: Any, kind: str) -> None:
    state = load_file(FILE)
    model = model_patcher(quantized(state) if kind == "scaled fp8" else state, (1, 2, 2), FP8)
    weights = [weight for weight in model.model.diffusion_model.state_dict().values() if weight.dtype == FP8]
    assert len(weights) > 10
    own = pocket[0]
    lora, _ = load.apply_loras(HOST, adopted(model), pocket[1], (LORA,))
    handed = handed_on(lora)
    assert_same(drawn(adopted(handed)), by_comfyui(guidance.patched(handed, SETTINGS)))
    plain = drawn(adopted(model))
    assert_same(plain, by_comfyui(guidance.patched(model, SETTINGS)))
    close = float((plain - drawn(own)).pow(2).mean().sqrt() / drawn(own).pow(2).mean().sqrt())
    assert 1e-4 < close < 0.5


# ------------------------------------------------------------------------------- functions around guidance


def recorded(model: Any, at_scale_1: bool = False) -> tuple[Any, list[Mapping[str, Any]]]:
    """A clone with functions before and after guidance, and what they were given."""
    clone, given = model.clone(), []

    def before(args: Mapping[str, Any]) -> list[Tensor]:
        given.append(args)
        positive, negative = args["conds_out"]
        return [positive * 1.05, negative]

    def after(args: Mapping[str, Any]) -> Tensor:
        given.append(args)
        result: Tensor = args["denoised"] * 0.95 + args["uncond_denoised"] * 0.02
        return result

    clone.set_model_sampler_pre_cfg_function(before, disable_cfg1_optimization=at_scale_1)
    clone.set_model_sampler_post_cfg_function(after)
    return clone, given


@pytest.mark.parametrize(("cfg", "at_scale_1"), [(4.0, False), (1.0, False), (1.0, True)])
def test_functions_around_guidance_get_what_comfyui_gives_them(native: Any, cfg: float, at_scale_1: bool) -> None:
    model, given = recorded(native, at_scale_1)
    host = Listening()
    ours = drawn(adopted(model, host), replace(SETTINGS, cfg=cfg))
    assert host.heard == set()
    own, given[:] = [*given], []
    assert_same(ours, by_comfyui(guidance.patched(model, SETTINGS), cfg=cfg))
    assert len(own) == len(given) == 2 * SETTINGS.steps
    for one, other in zip(own, given, strict=True):
        assert one.keys() == other.keys()
        for name in set(one) - {"model", "model_options", "conds", "cond", "uncond"}:
            values = [args[name] if isinstance(args[name], list) else [args[name]] for args in (one, other)]
            assert all(torch.as_tensor(a).shape == torch.as_tensor(b).shape for a, b in zip(*values, strict=True)), name
        assert (one.get("uncond") is None) == (other.get("uncond") is None)


def test_functions_around_guidance_predict_with_all_that_is_attached(pocket: Any, native: Any) -> None:
    """The conditions and options that they get lead to the same predictions, for both sides and for one alone."""
    calls = []

    def after(args: Mapping[str, Any]) -> Tensor:
        both, expected = [args["cond"], args["uncond"]], [args["cond_denoised"], args["uncond_denoised"]]
        shared = args["input"], args["sigma"], args["model_options"]
        again = comfy.samplers.calc_cond_batch(args["model"], both, *shared)
        again += [comfy.samplers.calc_cond_batch(args["model"], [one], *shared)[0] for one in both]
        for one, other in zip(again, expected * 2, strict=True):
            assert_same(one, other)
        calls.append(args)
        result: Tensor = args["denoised"]
        return result

    patched = native.clone()
    patched.set_model_sampler_post_cfg_function(after)
    draw = torch.Generator().manual_seed(5)
    picture = torch.rand(1, 128, 128, 3, generator=draw)
    shapes = [(1, 4, width) for width in adopted(native).network.attention_widths]
    rows = [tuple((torch.randn(s, generator=draw), torch.randn(s, generator=draw)) for s in shapes) for _ in range(2)]
    hints = (
        *control.hint(control.load(HOST, DEFAULT_CONTROL), control.pyra_canny(picture), 1.0, stop_at=1.0),
        ImageHint(*rows, weight=0.7, stop_at=1.0),
    )
    model = inpaint.with_engine(HOST, adopted(patched), "v2.6", 1.0)
    one, other = sides()
    tokens, options = one[0]
    tokens = torch.cat([tokens, tokens], dim=1)  # image prompts weigh less beside text that is repeated to fill a batch
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 64:] = 1.0
    latent = {"samples": torch.randn(1, 4, 16, 16, generator=draw), LATENT_MASK: mask}
    for extra in ([], [[tokens * 0.5, {**options, "area": (8, 10, 4, 6), "strength": 0.7}]]):
        sample.sample(
            HOST, model, [[tokens, options], *extra], other, latent, replace(SETTINGS, steps=2), SEED, control=hints
        )
    assert len(calls) == 2 * 2
