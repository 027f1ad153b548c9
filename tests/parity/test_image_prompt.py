"""Pictures as prompts: the tokens of each, and whole runs with one and with several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache

import pytest
import torch
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import ImageHint
from fooocus_stages.pipelines.models.hints.ip_adapter import ImageAdapter, load_adapter
from fooocus_stages.pipelines.stages.sampling import sample
from torch import nn

from . import nano
from .golden import Case, assert_near, assert_relative_rms, cases, each_case
from .reference_inputs import tensor
from .test_text_to_image import settings_of, sides_of, start_of

HOST = LocalHost(device="cpu")
InFloat64 = Callable[[nn.Module], AbstractContextManager[None]]
Pairs = tuple[tuple[torch.Tensor, torch.Tensor], ...]


@each_case("image_prompt")
def test_tokens(case: Case) -> None:
    for i, link in enumerate(case.params["chain"]):
        tokens = adapter(link["adapter"])(case.inputs(f"clip_vision_penultimate{i}"))
        assert_near(tokens, case.output(f"tokens{i}"), of_max=1e-4)


@each_case("image_prompt")
def test_with_image_prompts(case: Case) -> None:
    assert_relative_rms(run(case, hints(case)), case.output("latent"))


@each_case("image_prompt", lambda case: case == cases("image_prompt")[-1])
def test_the_order_of_a_chain_does_not_matter(case: Case) -> None:
    assert_relative_rms(run(case, hints(case)[::-1]), case.output("latent"))


@each_case("image_prompt", lambda case: case == cases("image_prompt")[0])
def test_a_batch_with_a_picture_each_is_what_each_is_alone(case: Case) -> None:
    (hint,) = hints(case)
    maps = adapter(case.params["chain"][0]["adapter"])
    second = maps.keys_and_values(tensor("another picture", [1, 16, 2048], 0.0, 1.0))
    both = tuple(
        (torch.cat([k, k2]), torch.cat([v, v2])) for (k, v), (k2, v2) in zip(hint.positive, second, strict=True)
    )
    together = run(case, (ImageHint(both, hint.negative, weight=hint.weight),), batch=2)
    assert_relative_rms(together[:1], case.output("latent"))
    alone = run(case, (ImageHint(second, hint.negative, weight=hint.weight),), seed=case.params["seed"] + 1)
    assert_relative_rms(together[1:], alone)


@pytest.mark.parametrize(("weight", "stop", "together"), [(1.2, 0.8, True), (1.1, 0.8, False)])
@each_case("image_prompt", lambda case: case == cases("image_prompt")[0])
def test_a_batch_differs_from_each_alone_by_rounding_only(
    case: Case, weight: float, stop: float, together: bool, in_float64: InFloat64
) -> None:
    """In float64: with strong image prompts the network amplifies float32's rounding, so that in float32 a batch and
    each alone differ by up to 8e-3, and each alone by 2e-2 from its result in float64."""
    (hint,) = hints(case)
    maps = adapter(case.params["chain"][0]["adapter"])
    strong = maps.keys_and_values(tensor("flat", [1, 16, 2048], 0.0, 3.0))
    both = tuple(
        (torch.cat([k, k2]), torch.cat([v, v2])) for (k, v), (k2, v2) in zip(hint.positive, strong, strict=True)
    )

    def prompt(pairs: Pairs) -> tuple[ImageHint, ...]:
        return (ImageHint(pairs, hint.negative, weight=weight, stop_at=stop, together=together),)

    with in_float64(nano.sdxl().model.network.module):
        pair = run(case, prompt(both), batch=2)
        for i, picture in enumerate((hint.positive, strong)):
            alone = run(case, prompt(picture), seed=case.params["seed"] + i)
            assert float((pair[i] - alone[0]).abs().max()) <= 1e-6


@cache
def adapter(name: str) -> ImageAdapter:
    """A nano adapter, from a .bin file with the two dictionaries of the published ones."""
    path = nano.folder() / f"{name}_sdxl_vit-h.bin"
    halves: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in nano.untagged(f"nano-{name}").items():
        half, _, rest = key.partition(".")
        halves[half][rest] = value
    torch.save(halves, path)
    return load_adapter(path, torch.float32)


@pytest.fixture(scope="module", autouse=True)
def _drop_networks() -> Iterator[None]:
    yield
    adapter.cache_clear()


def hints(case: Case) -> tuple[ImageHint, ...]:
    """The case's chain; every adapter maps the same negative tokens."""
    negative = tensor("ip_negative/data", [1, 16, 2048], 0.0, 1.0)
    made = []
    for i, link in enumerate(case.params["chain"]):
        maps = adapter(link["adapter"])
        tokens = maps(case.inputs(f"clip_vision_penultimate{i}"))
        sides = maps.keys_and_values(tokens), maps.keys_and_values(negative)
        made.append(ImageHint(*sides, link["adapter"], link["weight"], link["stop"]))
    return tuple(made)


def run(
    case: Case,
    control: tuple[ImageHint, ...],
    batch: int = 1,
    seed: int | None = None,
) -> torch.Tensor:
    """The latent of a case."""
    args = (*sides_of(case), start_of(case, batch), settings_of(case), case.params["seed"] if seed is None else seed)
    samples: torch.Tensor = sample.sample(HOST, nano.sdxl().model, *args, control=control)["samples"]
    return samples
