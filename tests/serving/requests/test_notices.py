"""What of a request has no effect is said."""

from __future__ import annotations

from typing import Any

import pytest
from fooocus_stages.serving.requests.endpoints import IMAGE_PROMPT, INPAINT, TEXT_TO_IMAGE, UPSCALE_OR_VARY
from fooocus_stages.serving.requests.notices import notices_of

from .examples import MODES, example, request_to

SLOT = {"image_prompt_2": {"image_url": "b.png"}}
MASK = {"mask_image_url": "m.png"}


@pytest.mark.parametrize("mode", MODES)
def test_everything_in_the_examples_has_an_effect(mode: str) -> None:
    assert notices_of(example(mode)) == ()


@pytest.mark.parametrize(
    ("endpoint", "fields", "notice"),
    [
        (TEXT_TO_IMAGE, {"a": 1}, "fal-ai/fooocus does not have these fields, which are ignored: a"),
        (TEXT_TO_IMAGE, {"inpaint_image_url": "a.png"}, "inpaint_image_url is not used: give a mask, or a side to"),
        (TEXT_TO_IMAGE, MASK, "mask_image_url is not used: give the picture"),
        (
            TEXT_TO_IMAGE,
            {"inpaint_image_url": "a.png", **MASK, "control_image_url": "b.png"},
            "control_image_url not used: set mixing_image_prompt_and_inpaint",
        ),
        (
            IMAGE_PROMPT,
            {"inpaint_image_url": "a.png", **MASK},
            "inpaint_image_url is not used: set mixing_image_prompt",
        ),
        (IMAGE_PROMPT, {"uov_image_url": "a.png"}, "uov_image_url is not used: choose a uov_method"),
        (
            IMAGE_PROMPT,
            {"uov_image_url": "a.png", "uov_method": "Vary (Subtle)"},
            "uov_image_url is not used: set mixing_image_prompt_and_vary_upscale",
        ),
        (
            IMAGE_PROMPT,
            {
                "uov_image_url": "a.png",
                "uov_method": "Vary (Subtle)",
                "mixing_image_prompt_and_vary_upscale": True,
                "mixing_image_prompt_and_inpaint": True,
                "inpaint_image_url": "b.png",
                **MASK,
            },
            "uov_image_url is not used: a picture is inpainted",
        ),
        (INPAINT, {}, "inpaint_image_url is not used: give a mask"),
        (INPAINT, {**MASK, **SLOT}, "image_prompt_2 not used: set mixing_image_prompt_and_inpaint"),
        (
            INPAINT,
            {**MASK, "inpaint_erode_or_dilate": 3},
            "inpaint_erode_or_dilate not used: set override_inpaint_options",
        ),
        (
            INPAINT,
            {**MASK, "inpaint_engine": "v1", "inpaint_strength": 0.5},
            "inpaint_engine, inpaint_strength not used",
        ),
        (
            INPAINT,
            {**MASK, "inpaint_mode": "Improve Detail (face, hand, eyes, etc.)", "outpaint_selections": ["Left"]},
            "outpaint_selections is not used: only the mode 'Inpaint or Outpaint (default)' outpaints",
        ),
        (UPSCALE_OR_VARY, SLOT, "image_prompt_2 not used: set mixing_image_prompt_and_vary_upscale"),
        (UPSCALE_OR_VARY, {"uov_method": "Disabled"}, "uov_image_url is not used: choose a uov_method"),
        (
            UPSCALE_OR_VARY,
            {"uov_method": "Upscale (Fast 2x)", "num_images": 2},
            "num_images is not used: Upscale (Fast 2x)",
        ),
        (
            TEXT_TO_IMAGE,
            {"negative_prompt": "a", "sharpness": 3},
            "negative_prompt, sharpness not used: Extreme Speed runs",
        ),
        (
            TEXT_TO_IMAGE,
            {"performance": "Lightning", "refiner_model": "realisticVisionV60B1_v51VAE.safetensors"},
            "refiner_model is not used: Lightning runs without a refiner",
        ),
    ],
)
def test_what_has_no_effect(endpoint: str, fields: dict[str, Any], notice: str) -> None:
    (found,) = notices_of(request_to(endpoint, **fields))
    assert found.startswith(notice)


@pytest.mark.parametrize(
    "fields",
    [
        {"negative_prompt": "", "guidance_scale": 4, "sharpness": 2, "refiner_model": "None"},
        {"performance": "Speed", "negative_prompt": "a", "sharpness": 3},
    ],
)
def test_values_as_they_are_anyway_need_no_notice(fields: dict[str, Any]) -> None:
    assert notices_of(request_to(TEXT_TO_IMAGE, **fields)) == ()
