"""Pictures through the pocket autoencoder, and through one that is not ours."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages import vae

from .conftest import Pocket

HOST = LocalHost(device="cpu")


def picture(height: int = 64, width: int = 96, channels: int = 3) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, (x + y) / 2, torch.ones_like(x)][:channels], dim=-1)[None]


def test_there_and_back(pocket: Pocket) -> None:
    latent = vae.encode(HOST, pocket.vae, picture())
    assert latent["samples"].shape == (1, 4, 8, 12)
    back = vae.decode(HOST, pocket.vae, latent)
    assert back.shape == (1, 64, 96, 3)
    assert back.dtype == torch.float32
    assert (back - picture()).abs().mean() < 0.1


def test_the_seed_decides_the_latent(pocket: Pocket) -> None:
    one, again, other = (vae.encode(HOST, pocket.vae, picture(), seed)["samples"] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_sides_are_cropped_to_cells_and_alpha_is_left_out(pocket: Pocket) -> None:
    assert vae.encode(HOST, pocket.vae, picture(70, 65, channels=4))["samples"].shape == (1, 4, 8, 8)


@pytest.mark.parametrize("shape", [(1, 4, 64, 3), (64, 64, 3), (1, 64, 64, 1)])
def test_what_is_no_picture_is_refused(pocket: Pocket, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadValue, match="to encode must be"):
        vae.encode(HOST, pocket.vae, torch.zeros(shape))


def test_tiles_give_about_the_same(pocket: Pocket) -> None:
    latent = vae.encode(HOST, pocket.vae, picture(128, 128))
    whole, tiled = (vae.decode(HOST, pocket.vae, latent, tiled) for tiled in (False, True))
    assert (whole - tiled).abs().max() < 0.02


def test_a_vae_of_comfyui_does_it_itself() -> None:
    theirs = SimpleNamespace(encode=lambda pixels: pixels.mean(-1), decode=lambda samples: samples + 1)
    assert torch.equal(vae.decode(HOST, theirs, {"samples": torch.zeros(1, 4, 2, 2)}), torch.ones(1, 4, 2, 2))
    assert vae.encode(HOST, theirs, picture(channels=4))["samples"].shape == (1, 64, 96)


def test_a_vae_of_comfyui_uses_its_own_tiles_and_reports_what_it_cannot_do() -> None:
    told: list[str] = []
    host = LocalHost(device="cpu", on_notice=told.append)
    plain = SimpleNamespace(encode=lambda pixels: pixels.mean(-1), decode=lambda samples: samples + 1)
    tiled = SimpleNamespace(**vars(plain), encode_tiled=lambda _: torch.ones(2), decode_tiled=lambda _: torch.ones(3))
    samples = {"samples": torch.zeros(1, 4, 2, 2)}
    assert vae.decode(host, tiled, samples, tiled=True).shape == (3,)
    assert vae.encode(host, tiled, picture(), tiled=True)["samples"].shape == (2,)
    assert vae.decode(host, tiled, samples).shape == (1, 4, 2, 2)
    assert told == []
    vae.decode(host, plain, samples, tiled=True)
    vae.encode(host, plain, picture(), seed=5, tiled=True)
    whole, seed = dict.fromkeys(told)
    assert "whole" in whole
    assert "seed has no effect" in seed
