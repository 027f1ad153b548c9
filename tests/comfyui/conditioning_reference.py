"""Evaluates conditionings with ComfyUI's own nodes and functions on a formula instead of a network.

Usage: python conditioning_reference.py COMFYUI OUT. Run by test_conditioning.py; imports nothing of the pack.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

SIGMAS = (14.0, 5.0, 1.0, 0.2)
ROWS, COLUMNS = 24, 40


def formula(x: Any, tokens: Any, sigma: float, beside: Any) -> Any:
    """A denoiser whose result depends on the prompt, the place inside what it sees, the neighbours, and on `beside`.

    `beside` (1, 4, h, w) has the size of the latents, as the input of an inpaint model has.
    """
    rows = torch.linspace(0, 1, x.shape[-2])[:, None]
    columns = torch.linspace(0, 1, x.shape[-1])[None, :]
    text = tokens.mean(dim=(1, 2)).view(-1, 1, 1, 1)
    return torch.tanh(x / (1 + sigma) + text * (1 + rows - columns) + 0.1 * x.roll(1, -1) + 0.3 * beside)


def masks() -> dict[str, Any]:
    """Masks in different sizes: a soft one of the image's size, a small hard one, one for each image."""
    draw = torch.Generator().manual_seed(4)
    hard = torch.zeros(1, 48, 80)
    hard[:, 4:20, 30:60] = 1
    return {
        "soft": torch.rand(1, ROWS * 8, COLUMNS * 8, generator=draw),
        "hard": hard,
        "each": torch.rand(2, ROWS, COLUMNS, generator=draw),
        "none": torch.zeros(1, ROWS, COLUMNS),
    }


def cases(nodes: Any, defaults: Any, base: list[Any]) -> dict[str, tuple[Any, Any]]:
    """Conditionings as ComfyUI's nodes make them, by name: the positive and the negative side."""
    combine, area = nodes.ConditioningCombine().combine, nodes.ConditioningSetArea().append
    percent, mask = nodes.ConditioningSetAreaPercentage().append, nodes.ConditioningSetMask().append
    span, strength = nodes.ConditioningSetTimestepRange().set_range, nodes.ConditioningSetAreaStrength().append
    a, b, c, negative = ([entry] for entry in base)
    left, inside = area(a, 160, 192, 0, 0, 1.0)[0], area(b, 128, 96, 80, 48, 1.5)[0]
    masked = masks()
    return {
        "plain": (a, negative),
        "combined": (combine(a, b)[0], negative),
        "strengths": (combine(strength(a, 0.3)[0], strength(b, 2.0)[0])[0], negative),
        "strength alone": (strength(a, 2.5)[0], negative),
        "area": (left, negative),
        "areas over all": (combine(combine(left, inside)[0], c)[0], negative),
        "area past the edge": (combine(area(a, 640, 640, 200, 80, 1.0)[0], b)[0], negative),
        "narrow area": (combine(area(a, 64, 16, 8, 8, 1.0)[0], b)[0], negative),
        "percentage": (combine(percent(a, 0.37, 0.61, 0.4, 0.11, 1.2)[0], b)[0], negative),
        "areas on both sides": (combine(left, b)[0], combine(area(c, 96, 96, 160, 0, 0.7)[0], negative)[0]),
        "nested areas": (combine(combine(left, area(b, 64, 64, 16, 16, 1.0)[0])[0], c)[0], left),
        "soft mask": (combine(mask(a, masked["soft"], "default", 0.8)[0], b)[0], negative),
        "mask bounds": (combine(mask(a, masked["hard"], "mask bounds", 1.0)[0], b)[0], negative),
        "a mask for each": (combine(mask(a, masked["each"], "default", 1.0)[0], b)[0], negative),
        "empty mask": (combine(mask(a, masked["none"], "mask bounds", 1.0)[0], b)[0], negative),
        "mask in an area": (combine(mask(left, masked["soft"], "default", 1.0)[0], b)[0], negative),
        "timesteps": (combine(span(a, 0.0, 0.4)[0], span(b, 0.4, 1.0)[0])[0], negative),
        "timesteps alone": (span(a, 0.3, 0.8)[0], span(negative, 0.0, 0.5)[0]),
        "timed area": (combine(span(left, 0.2, 0.7)[0], b)[0], negative),
        "default": (defaults([mask(a, masked["hard"], "default", 1.0)[0]], [b])[0], negative),
        "average": (nodes.ConditioningAverage().addWeighted(a, b, 0.3)[0], negative),
        "concatenated": (nodes.ConditioningConcat().concat(a, b)[0], nodes.ConditioningZeroOut().zero_out(c)[0]),
    }  # fmt: skip


def main(comfyui: str, out: str) -> None:
    sys.path.insert(0, comfyui)
    sys.argv = ["reference", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.conds
    import comfy.hooks
    import comfy.model_sampling
    import comfy.sampler_helpers
    import comfy.samplers

    import nodes

    class Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
        pass

    class Patcher:
        def prepare_state(self, *_: Any) -> None: ...
        def apply_hooks(self, hooks: Any) -> dict[str, Any]:
            return {}

        def get_additional_models_with_key(self, key: str) -> list[Any]:
            return []

        def get_free_memory(self, device: Any) -> float:
            return 1e12

    class Formula:
        model_sampling = Sampling()
        current_patcher = Patcher()

        def memory_required(self, *_: Any, **__: Any) -> float:
            return 0

        def extra_conds(self, **options: Any) -> dict[str, Any]:
            text = comfy.conds.CONDCrossAttn(options["cross_attn"])
            return {"c_crossattn": text, "c_concat": comfy.conds.CONDNoiseShape(beside)}

        def apply_model(self, x: Any, timestep: Any, c_crossattn: Any, c_concat: Any, transformer_options: Any) -> Any:
            return formula(x, c_crossattn, float(timestep[0]), c_concat)

    draw = torch.Generator().manual_seed(3)
    base = [
        [torch.randn(1, 6, 8, generator=draw), {"pooled_output": torch.randn(1, 5, generator=draw)}] for _ in range(4)
    ]
    x = torch.randn(2, 4, ROWS, COLUMNS, generator=draw)
    beside = torch.randn(1, 4, ROWS, COLUMNS, generator=draw)
    model, results = Formula(), {}

    def defaults(first: list[Any], second: list[Any]) -> list[Any]:
        return comfy.hooks.set_default_conds_and_combine(first, second)

    for name, (positive, negative) in cases(nodes, defaults, base).items():
        convert = comfy.sampler_helpers.convert_cond
        conds = {"positive": convert(positive), "negative": convert(negative)}
        ready = comfy.samplers.process_conds(model, x, conds, x.device, x)
        sides = [ready["positive"], ready["negative"]]
        predictions = [
            comfy.samplers.calc_cond_batch(model, sides, x, torch.full((2,), sigma), {"transformer_options": {}})
            for sigma in SIGMAS
        ]
        results[name] = {"positive": positive, "negative": negative, "predictions": predictions}
    torch.save({"x": x, "beside": beside, "cases": results}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
