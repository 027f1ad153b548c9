"""What inpainting makes of a mask, before any network."""

from __future__ import annotations

import torch
from fooocus_stages.pipelines.functional.latents import grey_out, latent_mask

from .golden import Case, assert_near, each_case


@each_case("latents", lambda case: "latent_mask" in case.output_names)
def test_a_mask_in_latent_cells(case: Case) -> None:
    mask = (case.inputs("mask_normal") > 0.8).float()
    assert torch.equal(latent_mask(mask), case.output("latent_mask"))
    assert_near(grey_out(case.inputs("pixels_logit").sigmoid(), mask), case.output("masked_pixels"), of_max=1e-4)
