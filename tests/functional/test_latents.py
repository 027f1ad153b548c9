"""Scales, sizes, masks, bytes, tokens and the known region."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.functional import blend, latents
from fooocus_stages.pipelines.functional.noise import draw, energy_generators


def test_playground_format() -> None:
    zero, one = torch.zeros(1, 4, 1, 1), torch.ones(1, 4, 1, 1)
    scaled = latents.PLAYGROUND.scaled(zero).flatten().tolist()
    assert scaled == pytest.approx([0.0975779, -0.1597709, 0.1055757, -0.2404922], abs=1e-7)
    raw = latents.PLAYGROUND.raw(one).flatten().tolist()
    assert raw == pytest.approx([15.328, 13.6904, 11.7166, 12.9753], abs=1e-5)


@pytest.mark.parametrize("form", [latents.SDXL, latents.SD15, latents.PLAYGROUND])
def test_formats_go_and_return(form: latents.LatentFormat) -> None:
    z = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(form.raw(form.scaled(z)), z)


def test_sdxl_s_format_is_one_factor() -> None:
    z = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(latents.SDXL.scaled(z), z * 0.13025, rtol=1e-7, atol=0)


def test_latent_size() -> None:
    assert latents.latent_size(1152, 896) == (112, 144)
    assert latents.latent_size(1001, 1007) == (125, 125)


def test_bytes_are_cut_off() -> None:
    image = torch.tensor([0.999, 0.5, 0.0019, -1.0, 2.0])
    assert latents.to_uint8(image).tolist() == [254, 127, 0, 0, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(latents.to_uint8(latents.from_uint8(every)), every)


def test_one_pixel_marks_its_latent_cell() -> None:
    mask = torch.zeros(1, 16, 24)
    mask[0, 3, 9] = 1
    assert latents.latent_mask(mask).tolist() == [[[[0, 1, 0], [0, 0, 0]]]]
    assert latents.latent_mask(torch.ones(2, 56, 66)).shape == (2, 1, 7, 8)


def test_the_known_region() -> None:
    known = torch.full((1, 4, 2, 3), 0.13025)
    mask = torch.tensor([[[[0.0, 1, 0], [0, 0, 0]]]])
    x = torch.full_like(known, 2.0)
    noise = draw(energy_generators([123]), (4, 2, 3))
    seen = blend.with_known_region(x, 3.0, known, mask, noise)
    expected = [-1.5882936, 2, 3.7603211, -3.0835707, 3.7250137, 1.4790804]
    assert seen[0, 0].flatten().tolist() == pytest.approx(expected, abs=1e-6)
    kept = blend.keep_known_region(x, known, mask)
    assert kept[0, 0].flatten().tolist() == pytest.approx([0.13025, 2, 0.13025, 0.13025, 0.13025, 0.13025])


def test_a_quick_look() -> None:
    rgb = latents.quick_rgb(torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(0)) * 9)
    assert rgb.shape == (2, 3, 6, 7)
    assert (rgb.amin(), rgb.amax()) == (0, 1)


def test_preview_bytes() -> None:
    decoded = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0]).view(1, 2, 3).expand(3, 2, 3)
    ours = latents.preview_uint8(decoded)
    assert ours.shape == (2, 3, 3)
    assert ours[..., 0].flatten().tolist() == [0, 0, 127, 254, 255, 255]


def test_tokens_are_repeated_to_a_common_length() -> None:
    three, two = torch.randn(1, 231, 8), torch.randn(1, 154, 8)
    a, b = latents.tiled_tokens([three, two])
    assert a.shape == b.shape == (1, 462, 8)
    assert torch.equal(b[:, 154:308], two)
    assert latents.batchable([231, 154])
    assert not latents.batchable([77, 77 * 5])
