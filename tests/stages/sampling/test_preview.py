"""Previews: by the network when its file is there and whole, else by fixed colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models import preview
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.models.unet import UNet
from fooocus_stages.pipelines.stages import load, vae
from fooocus_stages.pipelines.stages.sampling import refiner
from fooocus_stages.pipelines.stages.sampling.preview import previewer
from fooocus_stages.pipelines.types import Family
from torch import nn

LATENT = torch.randn(2, 4, 6, 9, generator=torch.Generator().manual_seed(0))


def model(family: Family = "sdxl", home: Path | None = None) -> Model:
    return Model(UNet(nn.Identity()), family, home=home)


def saved(folder: Path, name: str) -> Path:
    (folder / "vae_approx").mkdir(exist_ok=True)
    torch.manual_seed(0)
    torch.save(preview.PreviewNetwork().state_dict(), folder / "vae_approx" / name)
    return folder / "vae_approx" / name


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("sdxl", "xlvaeapp.pth"),
        ("sdxl-refiner", "xlvaeapp.pth"),
        ("sd15", "vaeapp_sd15.pth"),
        ("sd15", "vaeapp_sd15.pt"),
    ],
)
def test_with_the_network(tmp_path: Path, family: Family, name: str) -> None:
    saved(tmp_path, name)
    look = previewer(LocalHost([tmp_path]), model(family))
    assert look(LATENT).size == (18, 12)


def test_without_the_network() -> None:
    assert previewer(LocalHost(), model())(LATENT).size == (9, 6)


def test_the_models_own_folder_comes_first(tmp_path: Path) -> None:
    saved(tmp_path, "xlvaeapp.pth")
    assert previewer(LocalHost(), model(home=tmp_path))(LATENT).size == (18, 12)


def test_a_broken_file_is_noticed_once_and_does_not_stop_the_run(tmp_path: Path) -> None:
    path = saved(tmp_path, "xlvaeapp.pth")
    path.write_bytes(path.read_bytes()[:1000])
    notices: list[str] = []
    look = previewer(LocalHost([tmp_path], on_notice=notices.append), model())
    assert [look(LATENT).size, look(LATENT).size] == [(9, 6)] * 2
    assert len(notices) == 1
    assert "previews are rough: xlvaeapp.pth" in notices[0]


def test_the_network_has_the_published_parameters() -> None:
    network = preview.PreviewNetwork()
    assert sum(parameter.numel() for parameter in network.parameters()) == 52_395
    assert network(LATENT).shape == (2, 3, 12, 18)


@pytest.mark.parametrize("color", [(0.9, 0.1, 0.1), (0.1, 0.8, 0.2), (0.15, 0.2, 0.9), (0.9, 0.85, 0.1)])
@pytest.mark.parametrize("refined", [False, True], ids=["sdxl", "sd15"])
def test_the_pocket_models_previews_have_the_colors_of_the_image(
    pocket_host: LocalHost, color: tuple[float, float, float], refined: bool
) -> None:
    model, _, autoencoder = load.checkpoint(pocket_host, "pocket")
    if refined:
        second = refiner.load_refiner(pocket_host, "pocket")
        assert second.vae is not None
        model, autoencoder = second.model, second.vae
    image = torch.tensor(color).expand(1, 64, 64, 3)
    latent = vae.encode(pocket_host, autoencoder, image, None)["samples"] * (0.18215 if refined else 0.13025)
    seen = torch.from_numpy(np.array(previewer(pocket_host, model)(latent))) / 255
    assert (seen.mean((0, 1)) - torch.tensor(color)).abs().max() < 0.12


def test_a_published_preview_network_is_not_used_for_the_pocket_model(tmp_path: Path) -> None:
    saved(tmp_path, "xlvaeapp.pth")
    assert previewer(LocalHost([tmp_path]), model(home=POCKET))(LATENT).size == (9, 6)
