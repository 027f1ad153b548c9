"""Counterparts of ComfyUI's nodes for conditioning and latents in the bundled workflows, for runs without ComfyUI."""

from __future__ import annotations

from typing import Any

SCALING = ["nearest-exact", "bilinear", "area", "bicubic"]  # those of torch; ComfyUI has 'bislerp' beside them


def fraction(default: float) -> tuple[str, dict[str, float]]:
    """Declare an input for a share of the image, 0…1."""
    return ("FLOAT", {"default": default, "min": 0.0, "max": 1.0, "step": 0.01})


class ConditioningCombine:
    DESCRIPTION = "Joins two conditionings: the sampler blends the predictions of their entries."
    CATEGORY = "conditioning"
    FUNCTION = "combine"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"conditioning_1": ("CONDITIONING",), "conditioning_2": ("CONDITIONING",)}}

    def combine(self, conditioning_1: list[Any], conditioning_2: list[Any]) -> tuple[list[Any]]:
        return ([*conditioning_1, *conditioning_2],)


class ConditioningSetAreaPercentage:
    DESCRIPTION = "Limits a conditioning to a rectangle, given in fractions of the image."
    CATEGORY = "conditioning"
    FUNCTION = "append"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        sides = {"width": fraction(1.0), "height": fraction(1.0), "x": fraction(0.0), "y": fraction(0.0)}
        strength = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.01})
        return {"required": {"conditioning": ("CONDITIONING",), **sides, "strength": strength}}

    def append(
        self, conditioning: list[Any], width: float, height: float, x: float, y: float, strength: float
    ) -> tuple[list[Any]]:
        area = {"area": ("percentage", height, width, y, x), "strength": strength, "set_area_to_bounds": False}
        return ([[tokens, {**options, **area}] for tokens, options in conditioning],)


class RepeatLatentBatch:
    DESCRIPTION = "Repeats a batch of latents, with their masks."
    CATEGORY = "latent/batch"
    FUNCTION = "repeat"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"samples": ("LATENT",), "amount": ("INT", {"default": 1, "min": 1, "max": 64})}}

    def repeat(self, samples: dict[str, Any], amount: int) -> tuple[dict[str, Any]]:
        repeated = {**samples, "samples": samples["samples"].repeat(amount, 1, 1, 1)}
        mask, numbers = samples.get("noise_mask"), samples.get("batch_index")
        if mask is not None and len(mask) > 1:
            repeated["noise_mask"] = mask.repeat(amount, *[1] * (mask.ndim - 1))
        if numbers is not None:
            span = max(numbers) - min(numbers) + 1
            repeated["batch_index"] = [number + span * turn for turn in range(amount) for number in numbers]
        return (repeated,)


class LatentUpscaleBy:
    DESCRIPTION = "Scales latents by a factor."
    CATEGORY = "latent"
    FUNCTION = "upscale"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        factor = ("FLOAT", {"default": 1.5, "min": 0.01, "max": 8.0, "step": 0.01})
        return {"required": {"samples": ("LATENT",), "upscale_method": (SCALING,), "scale_by": factor}}

    def upscale(self, samples: dict[str, Any], upscale_method: str, scale_by: float) -> tuple[dict[str, Any]]:
        from torch.nn.functional import interpolate

        latent = samples["samples"]
        height, width = (round(side * scale_by) for side in latent.shape[-2:])
        return ({**samples, "samples": interpolate(latent, size=(height, width), mode=upscale_method)},)


TENSOR_NODES: dict[str, type[Any]] = {
    "ConditioningCombine": ConditioningCombine,
    "ConditioningSetAreaPercentage": ConditioningSetAreaPercentage,
    "LatentUpscaleBy": LatentUpscaleBy,
    "RepeatLatentBatch": RepeatLatentBatch,
}
