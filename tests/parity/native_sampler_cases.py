"""Fooocus's inpaint engine and refiner in ComfyUI's KSampler against our sampler, on the pocket's weights.

Run by tests/comfyui/test_native_models.py in ComfyUI's Python.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.sample
import pytest
import torch
from fooocus_stages.nodes.comfy.native import guidance
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.models.handles import Model, Refiner, RefinerSwitch
from fooocus_stages.pipelines.stages import inpaint
from fooocus_stages.pipelines.stages.sampling import refiner, sample
from fooocus_stages.pipelines.types import LATENT_KNOWN, LATENT_MASK, Known, Latent, SwapMethod
from safetensors.torch import load_file
from torch import Tensor

from .native import model_patcher
from .native_cases import FILE, HOST, SEED, SETTINGS, _inference, adopted, assert_same, handed_on, native, pocket, sides

__all__ = ["_inference", "native", "pocket"]

METHODS: tuple[SwapMethod, ...] = ("joint", "separate", "vae")
EMPTY: Latent = {"samples": torch.zeros(1, 4, 16, 16)}


def drawn(model: Model, latent: Latent, positive: Any = None) -> Tensor:
    one, other = sides()
    result: Tensor = sample.sample(HOST, model, positive or one, other, latent, SETTINGS, SEED)["samples"]
    return result


def by_comfyui(
    patcher: Any, latent: Latent, sampler: str = "dpmpp_2m", positive: Any = None, cfg: float = 4.0
) -> Tensor:
    """What ComfyUI's KSampler makes of a latent."""
    noise = comfy.sample.prepare_noise(latent["samples"], SEED)
    one, other = sides()
    result: Tensor = comfy.sample.sample(
        patcher,
        noise,
        SETTINGS.steps,
        cfg,
        sampler,
        "karras",
        positive or one,
        other,
        latent["samples"],
        noise_mask=latent.get(LATENT_MASK),
        seed=SEED,
        disable_pbar=True,
    )
    return result


def masked(known: bool) -> Latent:
    """Latents with the right half to be repainted, perhaps as Fooocus Inpaint Encode prepares them."""
    draw = torch.Generator().manual_seed(3)
    one, other = (torch.randn(1, 4, 16, 16, generator=draw) for _ in range(2))
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 64:] = 1.0
    return {"samples": one, LATENT_MASK: mask} | ({LATENT_KNOWN: Known(one, masked=other)} if known else {})


@pytest.mark.parametrize("method", METHODS)
def test_the_inpaint_engine(pocket: Any, native: Any, method: SwapMethod) -> None:
    latent = masked(known=True)
    ours = drawn(inpaint.with_engine(HOST, pocket[0], "v2.6", 0.6, method), latent)
    handed = handed_on(inpaint.with_engine(HOST, adopted(native), "v2.6", 0.6, method))
    assert_same(by_comfyui(guidance.patched(handed, SETTINGS, latent), latent), ours)


def test_an_engine_reads_the_samples_or_what_is_in_the_conditioning(pocket: Any, native: Any) -> None:
    engine = inpaint.with_engine(HOST, pocket[0], "v2.6", 1.0)
    handed = guidance.patched(handed_on(inpaint.with_engine(HOST, adopted(native), "v2.6", 1.0)), SETTINGS)
    plain, known = masked(known=False), masked(known=True)
    assert_same(by_comfyui(handed, plain), drawn(engine, plain))
    tokens, options = sides()[0][0]
    told = [[tokens, {**options, "concat_latent_image": known[LATENT_KNOWN].masked, "concat_mask": plain[LATENT_MASK]}]]
    assert_same(by_comfyui(handed, plain, positive=told), drawn(engine, known))


def test_guidance_from_before_the_inpaint_model_is_kept(pocket: Any, native: Any) -> None:
    latent = masked(known=False)
    ours = drawn(inpaint.with_engine(HOST, pocket[0], "v2.6", 0.6), latent)
    handed = handed_on(inpaint.with_engine(HOST, adopted(guidance.patched(native, SETTINGS)), "v2.6", 0.6))
    assert_same(by_comfyui(handed, latent), ours)


@pytest.mark.parametrize("method", METHODS)
def test_a_native_refiner(pocket: Any, native: Any, method: SwapMethod) -> None:
    model, _, vae = pocket
    second = inpaint.with_engine(HOST, model, "v2.6")  # with other weights
    second = replace(model, patches=(second.inpaint.patch,)) if second.inpaint else model
    ours, _ = refiner.with_refiner(HOST, model, vae, second, 0.5, method)
    other = replace(adopted(model_patcher(load_file(FILE), (1, 2, 2))), patches=second.patches)
    theirs, _ = refiner.with_refiner(HOST, adopted(native), vae, other, 0.5, method)
    assert_same(by_comfyui(guidance.patched(handed_on(theirs), SETTINGS), EMPTY), drawn(ours, EMPTY))
    packs, _ = refiner.with_refiner(HOST, adopted(native), vae, second, 0.5, method)
    assert_same(by_comfyui(guidance.patched(handed_on(packs), SETTINGS), EMPTY), drawn(ours, EMPTY))


def test_an_inpaint_engine_sees_its_part_of_an_area(pocket: Any, native: Any) -> None:
    latent, (tokens, options) = masked(known=True), sides()[0][0]
    positive = [[tokens, options], [tokens * 0.5, {**options, "area": (8, 10, 4, 6), "strength": 0.7}]]
    ours = drawn(inpaint.with_engine(HOST, pocket[0], "v2.6", 0.6), latent, positive)
    handed = handed_on(inpaint.with_engine(HOST, adopted(native), "v2.6", 0.6))
    assert_same(by_comfyui(guidance.patched(handed, SETTINGS, latent), latent, positive=positive), ours)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_a_sampler_that_reads_the_sides_of_guidance_does_so_from_the_refiner(
    pocket: Any, native: Any, cfg: float
) -> None:
    """With the same weights the refiner changes nothing."""
    refined, _ = refiner.with_refiner(HOST, adopted(native), pocket[2], pocket[0], 0.5)
    patched = [guidance.patched(model, SETTINGS) for model in (handed_on(refined), native)]
    ours, theirs = (by_comfyui(model, EMPTY, "euler_cfg_pp", cfg=cfg) for model in patched)
    assert_same(ours, theirs)


def test_what_other_nodes_attach_after_ours_stays_when_the_engine_is_switched_off(native: Any) -> None:
    key = "diffusion_model.middle_block.1.proj_in.weight"

    def changed(model: Any) -> Any:
        clone = model.clone()
        assert clone.add_patches({key: ("diff", (torch.full_like(clone.model_state_dict()[key], 0.02),))}, 0.5)
        clone.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.98)
        return clone

    def engine(model: Any) -> Any:
        return handed_on(inpaint.with_engine(HOST, adopted(model), "v2.6", 0.3))

    latent = masked(known=False)
    after, before = changed(engine(native)), engine(changed(native))
    assert_same(by_comfyui(after, latent), by_comfyui(before, latent))
    with pytest.raises(AssertionError):
        assert_same(by_comfyui(after, latent), by_comfyui(engine(native), latent))


def test_a_run_leaves_the_model_as_it_was(native: Any) -> None:
    before = by_comfyui(native, EMPTY)
    options = str(native.model_options)
    handed = handed_on(inpaint.with_engine(HOST, adopted(native), "v2.6", 0.4))
    by_comfyui(handed, masked(known=False))
    assert torch.equal(by_comfyui(native, EMPTY), before)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    stopped = handed.clone()
    stopped.set_model_output_block_patch(stop)
    with pytest.raises(KeyboardInterrupt):
        by_comfyui(stopped, masked(known=False))
    assert str(native.model_options) == options
    assert torch.equal(by_comfyui(native, EMPTY), before)


def test_what_the_wrapper_cannot_apply_is_refused(pocket: Any, native: Any) -> None:
    engine = handed_on(inpaint.with_engine(HOST, adopted(native), "v2.6"))
    with pytest.raises(BadValue, match="no mask"):
        by_comfyui(engine, EMPTY)
    model, _, vae = pocket
    small = Refiner(replace(model, family="sd15"), vae)
    with pytest.raises(BadValue, match=r"SD 1\.5 refiner"):
        by_comfyui(handed_on(replace(adopted(native), switch=RefinerSwitch(small))), EMPTY)
