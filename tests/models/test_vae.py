"""Pictures to latents and back, whole and in tiles."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.models import vae as vaes
from fooocus_stages.pipelines.models.handles import Vae
from fooocus_stages.pipelines.models.weights.merging import Network
from torch import Tensor

from .conftest import vae_of


@pytest.fixture(scope="module")
def vae() -> Vae:
    torch.manual_seed(2)
    return Vae(Network(vae_of().eval()))


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The sizes that went through the network."""
    seen: list[Tensor] = []
    whole = vaes._decode_whole
    monkeypatch.setattr(vaes, "_decode_whole", lambda vae, z: (seen.append(z), whole(vae, z))[1])
    return seen


def picture(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (71, 66), (16, 23)])
def test_sides_are_cropped_about_the_middle(vae: Vae, height: int, width: int) -> None:
    image = picture(height, width)
    h, w = height // 8 * 8, width // 8 * 8
    top, left = (height % 8) // 2, (width % 8) // 2
    latents = vaes.encode(vae, image)
    assert latents.shape == (1, 4, h // 8, w // 8)
    assert torch.equal(latents, vaes.encode(vae, image[:, top : top + h, left : left + w]))
    assert vaes.decode(vae, latents).shape == (1, h, w, 3)


def test_too_small_a_picture(vae: Vae) -> None:
    with pytest.raises(BadValue, match="64×7 pixels"):
        vaes.encode(vae, picture(7, 64))


def test_the_posterior_is_sampled_from_the_seed_alone(vae: Vae) -> None:
    image = picture(32, 32, batch=2)
    mean, one, other = (vaes.encode(vae, image, seed) for seed in (None, 5, 6))
    torch.manual_seed(99)
    assert torch.equal(one, vaes.encode(vae, image, 5))
    assert not torch.equal(one, other)
    assert not torch.equal(one, mean)
    assert torch.allclose(one[1:], vaes.encode(vae, image[1:], 5), atol=1e-5), "a picture gets what it gets alone"
    std = vae.network.module.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.std
    noise = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(one, mean + std * noise, atol=1e-5)


def test_pictures_are_in_range(vae: Vae) -> None:
    image = vaes.decode(vae, 30 * torch.randn(2, 4, 4, 4))
    assert image.dtype == torch.float32
    assert image.min() >= 0
    assert image.max() <= 1


def test_tiles_are_near_the_whole(vae: Vae, small_tiles: list[Tensor]) -> None:
    latents = torch.randn(1, 4, 12, 40, generator=torch.Generator().manual_seed(4))
    whole, tiled = vaes.decode(vae, latents), vaes.decode(vae, latents, tiled=True)
    assert max(z.shape[-1] for z in small_tiles[1:]) == 40
    assert any(z.shape[-1] == 32 for z in small_tiles[1:])
    assert whole.shape == tiled.shape
    assert (whole - tiled).abs().mean() < 0.05


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried to allocate", "not enough memory: you tried"])
def test_out_of_memory_goes_on_in_tiles(vae: Vae, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    latents, image = torch.randn(1, 4, 4, 4), picture(32, 32)
    expected = vaes.decode(vae, latents, tiled=True), vaes.encode(vae, image, 1, tiled=True)
    left = {"_decode_whole": 1, "_encode_whole": 1}
    for name in left:
        real = getattr(vaes, name)

        def once(*arguments: object, name: str = name, real: object = real) -> object:
            left[name] -= 1
            if left[name] >= 0:
                raise RuntimeError(message)
            return real(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(vaes, name, once)
    assert torch.equal(vaes.decode(vae, latents), expected[0])
    assert torch.equal(vaes.encode(vae, image, 1), expected[1])


def test_other_errors_are_not_swallowed(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(vaes, "_decode_whole", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        vaes.decode(vae, torch.randn(1, 4, 4, 4))
