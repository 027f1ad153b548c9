"""One call for all sides, and FreeU that leaves no trace."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fooocus_stages.pipelines.models import unet
from fooocus_stages.pipelines.models.protocols import Condition
from fooocus_stages.pipelines.types import FreeU
from torch import Tensor, nn

from .conftest import unet_of

WIDTHS = {"block_out_channels": (32, 64, 128)}  # FreeU acts on 128 and 64
SIZES = (128.0, 128.0, 0.0, 0.0, 128.0, 128.0)


def side(tokens: int, batch: int = 1, seed: int = 0) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, tokens, 192, generator=generator)
    return Condition(hidden, torch.randn(batch, 128, generator=generator), SIZES)


def predict(network: nn.Module, x: Tensor, timestep: float, sides: list[Condition]) -> list[Tensor]:
    return unet.UNet(network).predict(x, timestep, sides)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return unet_of(**WIDTHS).eval()


@pytest.mark.parametrize("lengths", [(77, 77), (77, 154), (154, 231), (77, 385)])
def test_sides_of_any_length_get_what_they_get_alone(network: nn.Module, lengths: tuple[int, int]) -> None:
    x = torch.randn(1, 4, 8, 8)
    sides = [side(length, seed=i) for i, length in enumerate(lengths)]
    for output, one in zip(predict(network, x, 500, sides), sides, strict=True):
        assert torch.allclose(output, predict(network, x, 500, [one])[0], atol=1e-5)


def test_a_batch_gets_what_each_picture_gets_alone(network: nn.Module) -> None:
    x = torch.randn(3, 4, 8, 8)
    shared, own = side(77), side(77, batch=3, seed=1)
    together = predict(network, x, 10, [shared, own])
    for i in range(3):
        mine = Condition(own.tokens[i : i + 1], None if own.pooled is None else own.pooled[i : i + 1], SIZES)
        alone = predict(network, x[i : i + 1], 10, [shared, mine])
        assert all(torch.allclose(t[i : i + 1], a, atol=1e-5) for t, a in zip(together, alone, strict=True))


def test_half_precision_outputs_are_float32(network: nn.Module) -> None:
    half = unet_of(**WIDTHS).to(torch.bfloat16).eval()
    half.load_state_dict(network.state_dict())
    x = torch.randn(1, 4, 8, 8)
    ours, exact = predict(half, x, 999, [side(77)])[0], predict(network, x, 999, [side(77)])[0]
    assert ours.dtype == torch.float32
    assert (ours - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_the_decoders_layers_and_what_enters_them(network: nn.Module) -> None:
    entering = [channels for _, channels in unet.decoder_resnets(network)]
    assert entering == [128, 128, 128, 64, 64, 32]
    for resnet, channels in unet.decoder_resnets(network):
        assert resnet.in_channels > channels


def test_freeu_changes_the_output_and_leaves_no_trace(network: nn.Module) -> None:
    x = torch.randn(1, 4, 8, 8)
    before = predict(network, x, 500, [side(77)])[0]
    with unet.freeu_attached(network, FreeU(b1=1.3, b2=1.4, s1=0.9, s2=0.2)):
        inside = predict(network, x, 500, [side(77)])[0]
    assert not torch.allclose(inside, before, atol=1e-4)
    with pytest.raises(KeyboardInterrupt), unet.freeu_attached(network, FreeU()):
        raise KeyboardInterrupt
    assert torch.equal(predict(network, x, 500, [side(77)])[0], before)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_neutral_freeu_changes_nothing(network: nn.Module) -> None:
    x = torch.randn(1, 4, 8, 8)
    before = predict(network, x, 500, [side(77)])[0]
    with unet.freeu_attached(network, FreeU(b1=1.0, b2=1.0, s1=1.0, s2=1.0)):
        assert torch.allclose(predict(network, x, 500, [side(77)])[0], before, atol=1e-5)
    with unet.freeu_attached(network, None):
        assert torch.equal(predict(network, x, 500, [side(77)])[0], before)


def test_freeu_acts_on_the_hidden_state_and_the_skip_apart() -> None:
    """Fooocus's numbers for h = sin(0.37k), skip = cos(0.53k), b 1.3, s 0.9, as the layer receives them."""
    h = torch.sin(0.37 * torch.arange(128.0)).reshape(1, 8, 4, 4)
    skip = torch.cos(0.53 * torch.arange(64.0)).reshape(1, 4, 4, 4)
    received: list[Tensor] = []
    resnet = Recorder(received)
    network = SimpleNamespace(
        config=SimpleNamespace(block_out_channels=(2,)),
        mid_block=SimpleNamespace(resnets=[SimpleNamespace(out_channels=8)]),
        up_blocks=[SimpleNamespace(resnets=[resnet])],
    )
    with unet.freeu_attached(network, FreeU(b1=1.3, s1=0.9)):  # type: ignore[arg-type]
        resnet(torch.cat([h, skip], dim=1), "temb")
    hidden, thinned = received[0][:, :8], received[0][:, 8:]
    assert hidden[0, 0, 0].tolist() == pytest.approx([0, 0.3711585, 0.7208934, 1.0053335], abs=1e-5)
    assert torch.equal(hidden[:, 4:], h[:, 4:])
    assert thinned[0, 0, 0].tolist() == pytest.approx([0.9587830, 0.8246465, 0.4855582, -0.0255727], abs=1e-5)


class Recorder(nn.Module):
    out_channels = 8

    def __init__(self, received: list[Tensor]) -> None:
        super().__init__()
        self.received = received

    def forward(self, x: Tensor, temb: object) -> None:
        assert temb == "temb"
        self.received.append(x)
