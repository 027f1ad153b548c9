"""Helpers of training: folded statistics change only the scale, and exported LoRAs equal the trained ones."""

from __future__ import annotations

import torch
from fooocus_stages.pocket.training import low_rank, networks
from torch.nn import Conv2d, Linear


def test_folding_statistics_keeps_what_is_decoded():
    torch.manual_seed(0)
    vae = networks.build_vae().eval()
    networks.init_as_thumbnail(vae)
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    mean, std = torch.tensor([0.1, -0.2, 0.3, 0.0]), torch.tensor([0.5, 0.7, 0.9, 1.1])
    with torch.no_grad():
        before = vae.encode(picture).latent_dist
        decoded = vae.decode(before.mean).sample
        networks.fold_statistics(vae, mean, std)
        after = vae.encode(picture).latent_dist
        scaled = after.mean * networks.SCALING_FACTOR
    torch.testing.assert_close(scaled, (before.mean - mean.view(1, 4, 1, 1)) / std.view(1, 4, 1, 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.logvar, torch.full_like(after.logvar, networks.POSTERIOR_LOGVAR))
    with torch.no_grad():
        torch.testing.assert_close(vae.decode(after.mean).sample, decoded, atol=1e-3, rtol=1e-3)


def test_an_untrained_autoencoder_is_initialised_as_a_thumbnail():
    torch.manual_seed(0)
    vae = networks.build_vae().eval()
    networks.init_as_thumbnail(vae)
    picture = torch.full((1, 3, 64, 64), -0.5)
    picture[:, 0, 16:48, 16:48] = 0.8
    with torch.no_grad():
        decoded = vae.decode(vae.encode(picture).latent_dist.mean).sample
    assert (decoded - picture).abs().mean() < 0.35


def test_a_lora_reads_out_as_the_change_that_was_attached():
    torch.manual_seed(0)
    unet = torch.nn.ModuleDict({"conv": Conv2d(4, 6, 3), "linear": Linear(5, 7)})
    before = {name: unet[name].weight.detach().clone() for name in unet}
    added = low_rank.attach(unet, rank=2)
    for change in added.values():
        torch.nn.init.normal_(change.up)
    for name, (down, up) in low_rank.pairs(added).items():
        change = (up.flatten(1) @ down.flatten(1)).view_as(before[name])
        torch.testing.assert_close(unet[name].weight.detach(), before[name] + change)


def test_a_lower_rank_is_initialised_near_the_higher_one():
    torch.manual_seed(0)
    first, second = (torch.nn.ModuleDict({"linear": Linear(5, 7)}) for _ in range(2))
    added, other = low_rank.attach(first, 2), low_rank.attach(second, 2)
    torch.nn.init.normal_(other["linear"].up)
    low_rank.init_from(added, other.state_dict())
    torch.testing.assert_close(low_rank_product(added), low_rank_product(other))


def low_rank_product(added):
    return added["linear"].up @ added["linear"].down
