"""Previews: the preview network when its file is found, else fixed colors (Fooocus modules/core.py: get_previewer)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from PIL import Image
from torch import Tensor

from ...errors import BadFile, MissingFile
from ...functional.latents import (
    POCKET_COLORS,
    POCKET_SD15_COLORS,
    SD15_COLORS,
    SDXL_COLORS,
    PreviewColors,
    quick_rgb,
    to_uint8,
)
from ...host import POCKET, Host, find_file
from ...models import preview as networks
from ...models.handles import Model
from ...types import Family

KIND = "vae_approx"
FILES: dict[Family, tuple[str, ...]] = {
    "sdxl": ("xlvaeapp.pth",),
    "sdxl-refiner": ("xlvaeapp.pth",),
    "sd15": ("vaeapp_sd15.pth", "vaeapp_sd15.pt"),
}


def previewer(host: Host, model: Model) -> Callable[[Tensor], Image.Image]:
    """Return a function from denoised latents (B, 4, h, w) to a preview of the first.

    The preview network is loaded on the first call. When its file is damaged, a notice is shown once and previews use
    fixed colors. The pocket model has a latent space of its own, so the published networks do not fit it.
    """
    in_pocket = model.home == POCKET

    @cache
    def network() -> networks.PreviewNetwork | None:
        for name in FILES[model.family]:
            try:
                path = find_file(KIND, name, [POCKET / KIND]) if in_pocket else host.find(KIND, name, model.home)
                return networks.load_preview(path)
            except MissingFile:
                continue
            except BadFile as error:
                host.notice(f"previews are rough: {error}")
        return None

    def preview(x0: Tensor) -> Image.Image:
        found = network()
        if found is None:
            pixels = to_uint8(quick_rgb(x0[:1], colors_of(model))[0].permute(1, 2, 0))
        else:
            pixels = networks.preview_image(found.to(x0.device), x0)
        return Image.fromarray(pixels.cpu().numpy())

    return preview


def colors_of(model: Model) -> PreviewColors:
    """Return the preview colors of a model's latent space."""
    if model.home == POCKET:
        return POCKET_SD15_COLORS if model.family == "sd15" else POCKET_COLORS
    return SD15_COLORS if model.family == "sd15" else SDXL_COLORS
