"""ComfyUI's own MODEL in Fooocus's stages and Fooocus's guidance in ComfyUI's sampler, on the pocket's weights.

Run by tests/comfyui/test_native_models.py in ComfyUI's Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import comfy.model_base
import comfy.model_patcher
import comfy.model_sampling
import comfy.sample
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from fooocus_stages.nodes.comfy.host import ComfyHost
from fooocus_stages.nodes.comfy.native import adoption, guidance
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.handles import Clip, Model, Vae
from fooocus_stages.pipelines.stages import load, vae
from fooocus_stages.pipelines.stages.sampling import refiner, sample
from fooocus_stages.pipelines.types import FreeU, Lora, SamplingSettings
from safetensors.torch import load_file
from torch import Tensor

from . import nano
from .native import model_patcher
from .native import vae as native_vae

HOST = LocalHost(models=[POCKET], device="cpu")
FILE = POCKET / "checkpoints" / "juggernautXL_v8Rundiffusion.safetensors"
LORA = Lora("sdxl_lcm_lora.safetensors", 0.7)
GAINS = FreeU(1.3, 1.4, 0.9, 0.2)
SETTINGS = SamplingSettings(steps=8, sampler="dpmpp_2m")
SEED = 7


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def pocket() -> tuple[Model, Clip, Vae]:
    return load.checkpoint(HOST, "pocket")


@pytest.fixture
def native() -> Any:
    """The pocket's UNet as a MODEL of ComfyUI."""
    return model_patcher(load_file(FILE), (1, 2, 2))


class Listening(ComfyHost):
    """A host that collects notices."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: set[str] = set()

    def notice(self, text: str) -> None:
        self.heard.add(text)


def adopted(patcher: Any, host: ComfyHost | None = None) -> Model:
    model = adoption.model_of(patcher, host or ComfyHost())
    return replace(model, native_size=128, home=POCKET)


def handed_on(handle: object) -> Any:
    """The model of ComfyUI that a node gives."""
    return adoption.handed_on(handle, ComfyHost())


def sides() -> list[list[list[Any]]]:
    """A positive and a negative side of different lengths."""
    draw = torch.Generator().manual_seed(0)
    return [
        [[torch.randn(1, n, 192, generator=draw), {"pooled_output": torch.randn(1, 128, generator=draw)}]]
        for n in (77, 154)
    ]


def drawn(model: Model, settings: SamplingSettings = SETTINGS, batch: int = 1) -> Tensor:
    latent = {"samples": torch.zeros(batch, 4, 16, 16)}
    result: Tensor = sample.sample(HOST, model, *sides(), latent, settings, SEED)["samples"]
    return result


def by_comfyui(patcher: Any, sampler: str = "dpmpp_2m", scheduler: str = "karras", cfg: float = 4.0) -> Tensor:
    """What ComfyUI's KSampler makes."""
    latent = torch.zeros(1, 4, 16, 16)
    noise = comfy.sample.prepare_noise(latent, SEED)
    result: Tensor = comfy.sample.sample(
        patcher, noise, SETTINGS.steps, cfg, sampler, scheduler, *sides(), latent, seed=SEED, disable_pbar=True
    )
    return result


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    difference = float((ours - theirs).pow(2).mean().sqrt() / theirs.pow(2).mean().sqrt())
    assert difference <= 1e-4, f"relative RMS {difference}"


@pytest.mark.parametrize("batch", [1, 2])
def test_a_native_model_draws_as_ours(pocket: Any, native: Any, batch: int) -> None:
    assert_same(drawn(adopted(native), batch=batch), drawn(pocket[0], batch=batch))


def test_loras_and_freeu_on_a_native_model(pocket: Any, native: Any) -> None:
    model, clip, _ = pocket
    ours, _ = load.apply_loras(HOST, model, clip, (LORA,))
    theirs, _ = load.apply_loras(HOST, adopted(native), clip, (LORA,))
    assert_same(drawn(load.with_freeu(theirs, GAINS)), drawn(load.with_freeu(ours, GAINS)))


def test_what_our_nodes_set_travels_with_the_model(pocket: Any, native: Any) -> None:
    model, clip, _ = pocket
    ours, _ = load.apply_loras(HOST, model, clip, (LORA,))
    theirs, _ = load.apply_loras(HOST, adopted(native), clip, (LORA,))
    handed: Any = handed_on(load.with_freeu(theirs, GAINS))
    assert isinstance(handed, comfy.model_patcher.ModelPatcher)
    again = adopted(handed.clone())
    assert again.loras == ours.loras
    assert_same(drawn(again), drawn(load.with_freeu(ours, GAINS)))
    assert_same(by_comfyui(guidance.patched(handed, SETTINGS)), drawn(load.with_freeu(ours, GAINS)))


@pytest.mark.parametrize(("sampler", "scheduler"), [("dpmpp_2m", "karras"), ("euler", "normal"), ("heun", "simple")])
def test_a_patched_model_draws_in_a_ksampler_as_in_our_sampler(native: Any, sampler: str, scheduler: str) -> None:
    settings = replace(SETTINGS, sampler=sampler, scheduler=scheduler, sharpness=20.0)
    assert_same(by_comfyui(guidance.patched(native, settings), sampler, scheduler), drawn(adopted(native), settings))


def test_a_plain_native_run_gives_the_same_bytes_before_and_after_ours(pocket: Any, native: Any) -> None:
    before = by_comfyui(native)
    options = str(native.model_options)
    theirs, _ = load.apply_loras(HOST, adopted(native), pocket[1], (LORA,))
    drawn(load.with_freeu(theirs, GAINS))
    by_comfyui(guidance.patched(native, SETTINGS))
    assert str(native.model_options) == options
    assert native.patches == {}
    assert torch.equal(by_comfyui(native), before)


def test_an_interrupt_leaves_nothing_behind(native: Any) -> None:
    before = by_comfyui(native)

    class Stopping(LocalHost):
        def progress(self, value: int, *_: object) -> None:
            if value == 3:
                raise KeyboardInterrupt

    host = Stopping(models=[POCKET], device="cpu")
    with pytest.raises(KeyboardInterrupt):
        sample.sample(host, adopted(native), *sides(), {"samples": torch.zeros(1, 4, 16, 16)}, SETTINGS, SEED)
    assert torch.equal(by_comfyui(native), before)


def test_patches_of_others_are_applied(native: Any) -> None:
    """An attention patch and a wrapper of another pack change our sampler's result, and are called at each step."""
    calls = []
    patched = native.clone()

    def halved(attention: Tensor, options: Any) -> Tensor:
        calls.append(options["cond_or_uncond"])
        return attention * 0.5

    patched.set_model_attn2_output_patch(halved)
    assert not torch.equal(drawn(adopted(patched)), drawn(adopted(native)))
    assert len(calls) >= SETTINGS.steps


def test_a_model_patched_for_a_ksampler_is_plain_in_our_sampler(native: Any) -> None:
    other = replace(SETTINGS, sharpness=30.0, adm_positive=3.0)
    host = Listening()
    assert torch.equal(drawn(adopted(guidance.patched(native, other), host)), drawn(adopted(native)))
    assert host.heard == set()


def test_guidance_of_another_node_is_named(native: Any) -> None:
    patched, host = native.clone(), Listening()
    patched.set_model_sampler_cfg_function(lambda args: args["cond"] * 0)
    assert torch.equal(drawn(adopted(patched, host)), drawn(adopted(native)))
    assert [text for text in host.heard if "sampler_cfg_function" in text]


def test_wrappers_of_another_node_around_sampling_are_named(native: Any) -> None:
    wrapped, host = native.clone(), Listening()
    wrapped.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "other", lambda execute, *given: execute(*given))
    drawn(adopted(wrapped, host))
    assert [text for text in host.heard if "outer_sample" in text]


def test_schedules_that_only_look_like_ours_are_refused(native: Any) -> None:
    class Other(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.X0):
        pass

    handed: Any = handed_on(load.with_freeu(adopted(native), GAINS))
    handed.add_object_patch("model_sampling", Other())
    with pytest.raises(BadValue, match="X0"):
        adopted(handed)


def test_other_models_are_refused(native: Any) -> None:
    class Other(comfy.model_base.BaseModel):
        pass

    native.model.__class__ = Other
    with pytest.raises(BadValue, match=r"Other.*SDXL"):
        adoption.model_of(native, ComfyHost())


def test_a_native_model_refines(pocket: Any, native: Any) -> None:
    model, _, own = pocket
    second = replace(load.with_freeu(model, GAINS))
    ours, _ = refiner.with_refiner(HOST, model, own, second, 0.5)
    other = load.with_freeu(adopted(model_patcher(load_file(FILE), (1, 2, 2))), GAINS)
    theirs, _ = refiner.with_refiner(HOST, adopted(native), own, other, 0.5)
    assert_same(drawn(theirs), drawn(ours))
    again = adopted(handed_on(theirs))
    assert_same(drawn(again), drawn(ours))


def test_a_native_vae_encodes_and_decodes_as_ours(pocket: Any) -> None:
    own: Any = nano.sdxl().vae
    config = own.network.module.config
    native = native_vae(nano.untagged("nano-sdxl-vae"), config.block_out_channels, config.layers_per_block)
    theirs: Any = adoption.adopted(native, ComfyHost())
    image = torch.rand(2, 64, 72, 3, generator=torch.Generator().manual_seed(1))
    for seed in (None, 0, 5):
        ours = vae.encode(HOST, own, image, seed)["samples"]
        assert_same(vae.encode(HOST, theirs, image, seed)["samples"], ours)
    latent = {"samples": ours}
    assert float((vae.decode(HOST, theirs, latent) - vae.decode(HOST, own, latent)).abs().max()) <= 1e-4
    assert handed_on(theirs) is native
