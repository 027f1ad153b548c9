"""Pictures on a UNet: the layers and their order are diffusers', what is read is its IP-Adapter's, nothing stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from fooocus_stages.pipelines.functional.image_attention import ImagePrompts, LayerImages
from fooocus_stages.pipelines.models.hints import attention
from fooocus_stages.pipelines.models.hints.ip_adapter import ImageAdapter
from fooocus_stages.pipelines.models.protocols import Condition
from fooocus_stages.pipelines.models.unet import UNet
from fooocus_stages.pocket.training.published_names import adapter_state_published
from torch import Tensor, nn

from ..conftest import WIDTH_G, WIDTH_L, unet_of

CONTEXT = WIDTH_L + WIDTH_G
SETTINGS = {"embed": 24, "width": 64, "queries": 4, "depth": 4, "inner": 64, "hidden": 256, "out": CONTEXT}


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(4)
    return unet_of(layers_per_block=2).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def adapter(network: Any) -> ImageAdapter:
    torch.manual_seed(5)
    made = ImageAdapter(SETTINGS, attention.widths(network)).eval().requires_grad_(False)
    made.resampler.latents.normal_()
    return made


def test_layers_are_in_the_order_of_diffusers(network: Any) -> None:
    theirs = [name for name in network.attn_processors if ".attn2." in name]
    modules = {id(module): name for name, module in network.named_modules()}
    assert [f"{modules[id(layer)]}.processor" for layer in attention.cross_attentions(network)] == theirs


def test_the_widths_of_sdxl() -> None:
    """Down, up, then the middle, as image prompt adapters for SDXL number them."""
    with torch.device("meta"):
        whole = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
        )
    assert attention.widths(whole) == (640,) * 4 + (1280,) * 50 + (640,) * 6 + (1280,) * 10


def asked(network: nn.Module, x: Tensor, text: Tensor, images: ImagePrompts | None) -> Tensor:
    side = Condition(text, torch.full((1, WIDTH_G), 0.1), (64.0, 64.0, 0.0, 0.0, 64.0, 64.0))
    return UNet(network).predict(x, 500.0, [side], images=images)[0]


def apart(adapter: ImageAdapter, hidden: Tensor, weight: float) -> ImagePrompts:
    pairs = adapter.keys_and_values(adapter(hidden))
    return ImagePrompts(tuple(LayerImages(apart=((pair, weight),)) for pair in pairs))


def test_read_apart_it_is_the_ip_adapter_of_diffusers(adapter: ImageAdapter) -> None:
    torch.manual_seed(4)
    network: Any = unet_of(layers_per_block=2).eval().requires_grad_(False)
    x, text, hidden = torch.randn(1, 4, 8, 8), torch.randn(1, 77, CONTEXT), torch.randn(1, 5, 24)
    plain, ours = (asked(network, x, text, images) for images in (None, apart(adapter, hidden, 0.7)))
    network._load_ip_adapter_weights([adapter_state_published(adapter)], low_cpu_mem_usage=False)
    for processor in network.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [0.7]
    added = {
        "text_embeds": torch.full((1, WIDTH_G), 0.1),
        "time_ids": torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]]),
        "image_embeds": [hidden[:, None]],
    }
    theirs = network(x, 500.0, encoder_hidden_states=text, added_cond_kwargs=added).sample
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-3)


def test_before_equals_after(network: Any, adapter: ImageAdapter) -> None:
    x, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, CONTEXT)
    processors, before = dict(network.attn_processors), asked(network, x, text, None)
    assert not torch.equal(asked(network, x, text, apart(adapter, torch.randn(1, 5, 24), 1.0)), before)
    assert torch.equal(asked(network, x, text, None), before)
    assert dict(network.attn_processors) == processors


def test_an_error_inside_leaves_the_network_as_it_was(network: Any, adapter: ImageAdapter) -> None:
    processors = dict(network.attn_processors)
    images = apart(adapter, torch.randn(1, 5, 24), 1.0)
    with pytest.raises(RuntimeError), attention.image_prompts_attached(network, images):  # noqa: PT012
        assert dict(network.attn_processors) != processors
        raise RuntimeError
    assert dict(network.attn_processors) == processors


class Learned(nn.Module):
    """Somebody's processor with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.gain = AttnProcessor(), nn.Parameter(torch.ones(1))

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = self.plain(*args, **kwargs) * self.gain
        return out


def test_other_peoples_processors_come_back(adapter: ImageAdapter) -> None:
    network: Any = unet_of(layers_per_block=2).eval()
    first = attention.cross_attentions(network)[0]
    learned = Learned()
    first.set_processor(learned)
    names = list(network.state_dict())
    with attention.image_prompts_attached(network, apart(adapter, torch.randn(1, 5, 24), 1.0)):
        assert first.processor is not learned
    assert first.processor is learned
    assert list(network.state_dict()) == names


def test_each_side_reads_its_own_rows(network: Any, adapter: ImageAdapter) -> None:
    pairs = adapter.keys_and_values(adapter(torch.randn(4, 5, 24)))  # two sides of two pictures
    both = ImagePrompts(tuple(LayerImages(pair, ((pair, 0.5),)) for pair in pairs), sides=2)
    x = torch.randn(2, 4, 8, 8)
    ids, pooled = (64.0, 64.0, 0.0, 0.0, 64.0, 64.0), torch.full((1, WIDTH_G), 0.1)
    sides = [Condition(torch.randn(1, 77, CONTEXT), pooled, ids) for _ in range(2)]
    together = UNet(network).predict(x, 300.0, sides, images=both)
    for i, side in enumerate(sides):
        for row in range(2):
            one = slice(2 * i + row, 2 * i + row + 1)
            alone = ImagePrompts(tuple(LayerImages((k[one], v[one]), (((k[one], v[one]), 0.5),)) for k, v in pairs))
            expected = UNet(network).predict(x[row : row + 1], 300.0, [side], images=alone)[0]
            assert torch.allclose(together[i][row : row + 1], expected, atol=1e-5)


@pytest.mark.parametrize(("lengths", "repeats"), [((154, 231), (3, 2)), ((77, 385), (1, 1))])
def test_text_of_other_lengths_is_repeated_only_where_both_sides_run_together(
    network: Any, adapter: ImageAdapter, lengths: tuple[int, int], repeats: tuple[int, int]
) -> None:
    pairs = adapter.keys_and_values(adapter(torch.randn(2, 5, 24)))
    both = ImagePrompts(tuple(LayerImages(pair) for pair in pairs), sides=2)
    x, texts = torch.randn(1, 4, 8, 8), [torch.randn(1, length, CONTEXT) for length in lengths]
    ids, pooled = (64.0, 64.0, 0.0, 0.0, 64.0, 64.0), torch.full((1, WIDTH_G), 0.1)
    outputs = UNet(network).predict(x, 300.0, [Condition(t, pooled, ids) for t in texts], images=both)
    for i, (text, many) in enumerate(zip(texts, repeats, strict=True)):
        alone = ImagePrompts(tuple(LayerImages((k[i : i + 1], v[i : i + 1])) for k, v in pairs))
        side = Condition(text.repeat(1, many, 1), pooled, ids)
        assert torch.allclose(outputs[i], UNet(network).predict(x, 300.0, [side], images=alone)[0], atol=1e-5)
