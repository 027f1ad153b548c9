"""The autoencoder, the preview network and the latent interposer."""

from __future__ import annotations

from pathlib import Path

import torch
from fooocus_stages.pipelines.models import interposer, preview, vae
from safetensors.torch import save_file

from . import nano
from .golden import Case, assert_near, assert_same_picture, each_case, weights


@each_case("latents", lambda case: "latent_mean" in case.output_names)
def test_vae(case: Case) -> None:
    autoencoder = nano.sdxl().vae
    assert autoencoder is not None
    mean = vae.encode(autoencoder, case.inputs("pixels_logit").sigmoid())
    assert_near(mean, case.output("latent_mean"), of_max=1e-4)
    assert_near(vae.decode(autoencoder, case.inputs("latent")), case.output("pixels"), of_max=1e-4)


@each_case("latents", lambda case: "x0" in case.input_names)
def test_preview(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "xlvaeapp.pth"
    torch.save({key.removeprefix("vae_approx."): tensor for key, tensor in weights("nano-vae-approx").items()}, file)
    ours = preview.preview_image(preview.load_preview(file), case.inputs("x0"))
    assert_same_picture(ours, case.output("image"))


@each_case("latents", lambda case: "sd15_latent" in case.output_names)
def test_interposer(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "xl-to-v1_interposer-v4.0.safetensors"
    save_file({k.removeprefix("interposer."): t for k, t in weights("nano-interposer").items()}, file)
    ours = interposer.convert(interposer.load_interposer(file), case.inputs("latent"))
    assert_near(ours, case.output("sd15_latent"), of_max=1e-4)
