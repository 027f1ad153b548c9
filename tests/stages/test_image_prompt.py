"""Pictures as prompts: from files and pictures to hints, and what they do to a run and leave behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, BadValue, Interrupted, MissingFile, UnknownName
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import Hint, ImageHint, Refiner, RefinerSwitch
from fooocus_stages.pipelines.models.hints import attention
from fooocus_stages.pipelines.models.hints.ip_adapter import ImageAdapter, ImagePromptModel
from fooocus_stages.pipelines.settings import APART, DEFAULT_CLIP_VISION, DEFAULT_IMAGE_PROMPT, NO_FILE, TOGETHER
from fooocus_stages.pipelines.stages import image_prompt
from fooocus_stages.pipelines.stages.sampling import plan, sample
from fooocus_stages.pipelines.types import SamplingSettings
from fooocus_stages.pocket.training.published_names import adapter_state_published
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from .conftest import Pocket

QUICK = SamplingSettings(steps=3, sampler="euler", cfg=4.0)
SIZE = 28
Write = Callable[[Path, Sequence[int]], None]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def folder(pocket: Pocket, write_image_prompt: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with an adapter for the pocket model."""
    made = tmp_path_factory.mktemp("models")
    write_image_prompt(made, attention.widths(pocket.model.network.module))
    return made


@pytest.fixture
def host(folder: Path) -> LocalHost:
    return LocalHost(models=[folder], device="cpu")


@pytest.fixture
def model(host: LocalHost) -> ImagePromptModel:
    return image_prompt.load(host, DEFAULT_IMAGE_PROMPT, DEFAULT_CLIP_VISION)


def picture(height: int = 40, width: int = 60, channels: int = 3, seed: int = 0) -> Tensor:
    """A picture of 256 levels, (1, H, W, C)."""
    levels = np.random.RandomState(seed).randint(0, 256, (1, height, width, channels))
    return torch.from_numpy(levels.astype(np.float32)) / 255


def only(hints: tuple[Hint, ...]) -> ImageHint:
    (hint,) = hints
    assert isinstance(hint, ImageHint)
    return hint


def same(a: tuple[tuple[Tensor, Tensor], ...], b: tuple[tuple[Tensor, Tensor], ...]) -> bool:
    return all(torch.equal(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True))


def seen_by_hand(model: ImagePromptModel, image: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """Pillow's stretch, the library's normalisation, its network's second to last layer, the adapter's maps."""
    stretched = Image.fromarray((image[0].numpy() * 255).astype(np.uint8)).resize(
        (SIZE, SIZE), Image.Resampling.LANCZOS
    )
    processor = CLIPImageProcessor(do_resize=False, do_center_crop=False)
    pixels = processor(stretched, return_tensors="pt")["pixel_values"]
    network: Any = model.vision.module
    hidden = network(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    return model.adapter.keys_and_values(model.adapter(hidden))


def test_a_picture_becomes_keys_and_values_for_every_layer(host: LocalHost, model: ImagePromptModel) -> None:
    hint = only(image_prompt.prompt(host, model, picture(), 0.8, 0.4))
    assert (hint.adapter, hint.weight, hint.stop_at, hint.together) == (DEFAULT_IMAGE_PROMPT, 0.8, 0.4, True)
    for ours, theirs in zip(hint.positive, seen_by_hand(model, picture()), strict=True):
        assert torch.allclose(ours[0], theirs[0], atol=1e-5)
        assert torch.allclose(ours[1], theirs[1], atol=1e-5)


def test_the_negative_side_is_the_file_together_and_a_blank_apart(host: LocalHost, model: ImagePromptModel) -> None:
    assert model.negative is not None
    together = only(image_prompt.prompt(host, model, picture(), formula=TOGETHER))
    assert same(together.negative, model.adapter.keys_and_values(model.negative))
    apart = only(image_prompt.prompt(host, model, picture(), formula=APART))
    network: Any = model.vision.module
    blank = network(pixel_values=torch.zeros(1, 3, SIZE, SIZE), output_hidden_states=True).hidden_states[-2]
    assert same(apart.negative, model.adapter.keys_and_values(model.adapter(blank)))
    assert same(apart.positive, together.positive)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (SIZE, SIZE), (500, 3)])
def test_pictures_of_any_size(host: LocalHost, model: ImagePromptModel, size: tuple[int, int]) -> None:
    hint = only(image_prompt.prompt(host, model, picture(*size)))
    assert same(hint.positive, seen_by_hand(model, picture(*size)))


def test_grey_and_transparent_pictures(host: LocalHost, model: ImagePromptModel) -> None:
    grey = picture(channels=1)
    ours = only(image_prompt.prompt(host, model, grey)).positive
    assert same(ours, only(image_prompt.prompt(host, model, grey.expand(-1, -1, -1, 3))).positive)
    clear = torch.cat([picture(), torch.zeros(1, 40, 60, 1)], dim=-1)
    white = only(image_prompt.prompt(host, model, torch.ones(1, 40, 60, 3))).positive
    assert same(only(image_prompt.prompt(host, model, clear)).positive, white)


def counted(module: torch.nn.Module) -> list[int]:
    """Grows by one at every call of the module."""
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_a_picture_is_looked_at_once(host: LocalHost, folder: Path) -> None:
    model = image_prompt.load(LocalHost(models=[folder], device="cpu"), DEFAULT_IMAGE_PROMPT, DEFAULT_CLIP_VISION)
    looks, maps = counted(model.vision.module), counted(model.adapter.to_k[0])
    for weight in (0.1, 0.5, 2.0):
        image_prompt.prompt(host, model, picture(), weight)
    assert (len(looks), len(maps)) == (1, 2)  # the maps also of the negative side
    image_prompt.prompt(host, model, torch.cat([picture(), picture(seed=1)]))
    assert len(looks) == 2


def test_keys_and_values_are_made_once_for_a_run(pocket: Pocket, host: LocalHost, model: ImagePromptModel) -> None:
    control = image_prompt.prompt(host, model, picture(), 0.6, 1.0)
    looks, maps = counted(model.vision.module), counted(model.adapter.to_k[0])
    run(pocket, control)
    assert (looks, maps) == ([], [])


def test_adapters_share_their_vision_encoder(host: LocalHost, model: ImagePromptModel) -> None:
    assert image_prompt.load(host, DEFAULT_IMAGE_PROMPT, DEFAULT_CLIP_VISION).vision is model.vision


def run(pocket: Pocket, control: tuple[Hint, ...] = (), host: LocalHost | None = None, **changes: Any) -> Tensor:
    given = {"model": pocket.model, "positive": pocket.positive, "negative": pocket.negative}
    given |= {"latent": plan.empty_latent("custom", 64, 64, 1)[0], "settings": QUICK, "seed": 1}
    host = host or LocalHost(device="cpu")
    samples: Tensor = sample.sample(host, **given | changes, control=control)["samples"]
    return samples


@pytest.mark.parametrize("formula", [TOGETHER, APART])
@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_a_picture_changes_the_run_and_nothing_stays(
    pocket: Pocket, host: LocalHost, model: ImagePromptModel, formula: str, cfg: float
) -> None:
    settings = SamplingSettings(steps=3, sampler="euler", cfg=cfg)
    before = run(pocket, settings=settings)
    control = image_prompt.prompt(host, model, picture(), 1.0, 1.0, formula)
    changed = run(pocket, control, settings=settings)
    assert changed.isfinite().all()
    assert not torch.allclose(changed, before, atol=1e-3)
    assert torch.equal(run(pocket, control, settings=settings), changed)
    assert torch.equal(run(pocket, settings=settings), before)


def test_pictures_of_both_formulas_in_a_chain(pocket: Pocket, host: LocalHost, model: ImagePromptModel) -> None:
    one = image_prompt.prompt(host, model, picture(), 0.9, 1.0)
    both = image_prompt.prompt(host, model, picture(seed=1), 0.5, 1.0, APART, one)
    assert len(both) == 2
    assert both[0] is one[0]
    assert torch.allclose(run(pocket, both), run(pocket, both[::-1]), atol=1e-5)
    assert not torch.allclose(run(pocket, both), run(pocket, one), atol=1e-3)


def test_stop_0_is_off_and_weight_0_is_not(pocket: Pocket, host: LocalHost, model: ImagePromptModel) -> None:
    plain = run(pocket)
    assert image_prompt.prompt(host, model, picture(), stop_at=0.0) == ()
    weightless = only(image_prompt.prompt(host, model, picture(), weight=0.0, stop_at=1.0))
    assert not torch.allclose(run(pocket, (weightless,)), plain, atol=1e-3)
    apart = only(image_prompt.prompt(host, model, picture(), weight=0.0, stop_at=1.0, formula=APART))
    assert torch.allclose(run(pocket, (apart,)), plain, atol=1e-5)
    never = ImageHint(weightless.positive, weightless.negative, stop_at=0.0)
    assert torch.equal(run(pocket, (never,)), plain)


class Impatient(LocalHost):
    """A host whose user presses stop at the n-th question."""

    def __init__(self, patience: int) -> None:
        super().__init__(device="cpu")
        self.patience = patience

    def check_interrupted(self) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise Interrupted


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_an_interrupt_leaves_the_model_as_it_was(
    pocket: Pocket, host: LocalHost, model: ImagePromptModel, patience: int
) -> None:
    unet: Any = pocket.model.network.module
    before, processors = run(pocket), dict(unet.attn_processors)
    with pytest.raises(Interrupted):
        run(pocket, image_prompt.prompt(host, model, picture(), 1.0, 1.0), Impatient(patience))
    assert dict(unet.attn_processors) == processors
    assert torch.equal(run(pocket), before)


def test_an_interrupt_while_looking_remembers_nothing(host: LocalHost, model: ImagePromptModel) -> None:
    with pytest.raises(Interrupted):
        image_prompt.prompt(Impatient(0), model, picture(seed=77))
    looks = counted(model.vision.module)
    image_prompt.prompt(host, model, picture(seed=77))
    assert len(looks) == 1


@pytest.mark.parametrize("method", ["joint", "separate"])
def test_the_refiner_reads_no_pictures(pocket: Pocket, host: LocalHost, model: ImagePromptModel, method: Any) -> None:
    seen: list[bool] = []
    unet: Any = pocket.model.network.module
    first, processor = attention.cross_attentions(unet)[0], attention.ImagePromptProcessor
    hook = unet.register_forward_hook(lambda *_: seen.append(isinstance(first.processor, processor)))
    switched = replace(pocket.model, switch=RefinerSwitch(Refiner(pocket.model), method=method, step=1))
    run(pocket, image_prompt.prompt(host, model, picture(), 1.0, 1.0), model=switched)
    hook.remove()
    assert seen == ([True, True, False] if method == "joint" else [True, False, False])


def test_a_batch_with_a_picture_each(pocket: Pocket, host: LocalHost, model: ImagePromptModel) -> None:
    control = image_prompt.prompt(host, model, torch.cat([picture(), picture(seed=1)]), 1.0, 1.0)
    together = run(pocket, control, latent=plan.empty_latent("custom", 64, 64, 2)[0])
    for i in range(2):
        alone = run(pocket, image_prompt.prompt(host, model, picture(seed=i), 1.0, 1.0), seed=1 + i)
        assert torch.allclose(together[i : i + 1], alone, atol=1e-4)
    with pytest.raises(BadValue, match="2 images and the latent has 1: give one image"):
        run(pocket, control)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": float("nan")}, "weight is nan: choose one from 0 to 2"),
        ({"weight": -0.1}, "weight is -0.1"),
        ({"weight": 2.1}, "weight is 2.1"),
        ({"stop_at": float("nan")}, "stop_at is nan: choose a fraction between 0 and 1"),
        ({"stop_at": 1.1}, "stop_at is 1.1"),
        ({"formula": "fooocos"}, "unknown image prompt formula 'fooocos' (did you mean 'fooocus'?)"),
        ({"image": torch.zeros(4, 4, 3)}, "an image prompt must be (B, H, W, 3), got (4, 4, 3)"),
        ({"image": torch.zeros(1, 4, 4, 2)}, "an image prompt must be"),
        ({"image": torch.zeros(0, 4, 4, 3)}, "an image prompt must be"),
        ({"image": torch.full((1, 4, 4, 3), torch.nan)}, "an image prompt contains NaN or infinity"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(
    host: LocalHost, model: ImagePromptModel, changes: Any, message: str
) -> None:
    with pytest.raises(BadValue, match=re.escape(message)) as caught:
        image_prompt.prompt(host, model, **{"image": picture()} | changes)
    assert isinstance(caught.value, UnknownName) == ("formula" in changes)


def adapter(widths: Sequence[int], **changes: int) -> dict[str, dict[str, Tensor]]:
    sizes = {"embed": 64, "width": 64, "queries": 4, "depth": 1, "inner": 64, "hidden": 64, "out": 32}
    return adapter_state_published(ImageAdapter(sizes | changes, widths))


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (
            (40,) * 2,
            "model with 2 cross-attentions, {model} has {count}: choose an image prompt",
        ),
        (
            (),
            "another model than {model}: its cross-attention 0 is 40 wide instead of {width}",
        ),
    ],
)
def test_adapters_of_another_model_are_refused_before_the_first_step(
    pocket: Pocket, folder: Path, host: LocalHost, widths: tuple[int, ...], message: str
) -> None:
    own = attention.widths(pocket.model.network.module)
    torch.save(adapter(widths or [40] * len(own)), folder / "controlnet" / "other.bin")
    other = image_prompt.load(host, "other.bin", DEFAULT_CLIP_VISION)
    hint = image_prompt.prompt(host, other, picture())
    message = message.format(model=pocket.model.name, count=len(own), width=own[0])
    with pytest.raises(BadValue, match=re.escape(message)):
        run(pocket, hint, Impatient(0))


def test_a_vision_encoder_of_another_adapter_is_refused(folder: Path, host: LocalHost) -> None:
    torch.save(adapter([40], embed=48), folder / "controlnet" / "narrow.bin")
    with pytest.raises(
        BadFile, match=r"narrow\.bin reads a vision encoder 48 wide, clip_vision_vit_h\.safetensors is 64"
    ):
        image_prompt.load(host, "narrow.bin", DEFAULT_CLIP_VISION)


def test_without_the_negative_file_only_apart(host: LocalHost) -> None:
    model = image_prompt.load(host, DEFAULT_IMAGE_PROMPT, DEFAULT_CLIP_VISION, NO_FILE)
    assert not only(image_prompt.prompt(host, model, picture(), formula=APART)).together
    with pytest.raises(BadValue, match="the formula fooocus needs the negative tokens: choose fooocus_ip_negative"):
        image_prompt.prompt(host, model, picture())


def test_weights_that_are_no_numbers_are_named(folder: Path, host: LocalHost) -> None:
    broken = adapter([40])
    broken["image_proj"]["proj_in.weight"].fill_(torch.nan)
    torch.save(broken, folder / "controlnet" / "broken.bin")
    with pytest.raises(BadFile, match=r"broken\.bin is damaged.* image_proj\.proj_in\.weight"):
        image_prompt.load(host, "broken.bin", DEFAULT_CLIP_VISION)


def test_adapters_in_the_folder_of_other_packs_are_found(
    folder: Path, tmp_path: Path, write_image_prompt: Write
) -> None:
    write_image_prompt(tmp_path, [40])
    (tmp_path / "ipadapter").mkdir()
    moved = tmp_path / "ipadapter" / "elsewhere.bin"
    (tmp_path / "controlnet" / DEFAULT_IMAGE_PROMPT).rename(moved)
    host = LocalHost(models=[tmp_path], device="cpu")
    assert image_prompt.find(host, "elsewhere.bin", DEFAULT_CLIP_VISION, NO_FILE)[0] == moved
    with pytest.raises(MissingFile, match=r"clip_vision file 'other\.safetensors' is missing"):
        image_prompt.find(host, "elsewhere.bin", "other.safetensors", NO_FILE)


def test_another_file_of_the_same_name_is_another_encoder(tmp_path: Path, write_image_prompt: Write) -> None:
    write_image_prompt(tmp_path, [40])
    host = LocalHost(models=[tmp_path], device="cpu")
    first = image_prompt.load(host, DEFAULT_IMAGE_PROMPT, DEFAULT_CLIP_VISION)
    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=32, projection_dim=16, num_hidden_layers=2, num_attention_heads=1,
        image_size=28, patch_size=14,
    )  # fmt: skip
    save_file(CLIPVisionModelWithProjection(config).state_dict(), tmp_path / "clip_vision" / DEFAULT_CLIP_VISION)
    assert image_prompt.load(host, DEFAULT_IMAGE_PROMPT, DEFAULT_CLIP_VISION).vision is not first.vision
