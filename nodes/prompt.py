"""Fooocus/prompt: styles, the composed prompt, and its encoding."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.models.handles import Clip
from ..pipelines.settings import DEFAULT_STYLES, MAX_SEED, NO_STYLE
from ..pipelines.types import Lora, Prompt, SamplingSettings
from . import sockets
from .checks import problem
from .comfy import current_host

STYLE_SLOTS = 6


class FooocusStyles:
    DESCRIPTION = "Up to six styles, applied in order. Chain two of these for more."
    CATEGORY = "Fooocus/prompt"
    FUNCTION = "run"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("styles",)
    OUTPUT_TOOLTIPS = ("The names of the styles, separated by commas.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = [NO_STYLE, *stages.prompt.style_names(current_host())]
        defaults = DEFAULT_STYLES + (NO_STYLE,) * (STYLE_SLOTS - len(DEFAULT_STYLES))
        return {
            "required": {
                f"style_{i}": (names, {"default": default, "tooltip": f"Style {i}; 'None' leaves it out."})
                for i, default in enumerate(defaults, start=1)
            },
            "optional": {
                "styles": ("STRING", {"forceInput": True, "tooltip": "Styles that come before these."}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, **slots: Any) -> bool | str:
        return problem(lambda: stages.prompt.check_styles(current_host(), slots.values()))

    def run(self, styles: str = "", **slots: str) -> tuple[str]:
        return (stages.prompt.join_styles([styles, *(slots[f"style_{i}"] for i in range(1, STYLE_SLOTS + 1))]),)


class FooocusExpandPrompt:
    DESCRIPTION = (
        "Continues a prompt with words that fit: GPT-2 with Fooocus's word list, the pseudo style Fooocus V2 on its "
        "own. Without the model's files, a few general words of this pack."
    )
    CATEGORY = "Fooocus/prompt"
    FUNCTION = "run"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("text",)
    OUTPUT_TOOLTIPS = (
        "The whole text: the first line with its continuation, and the further lines. Fooocus's expansion model is "
        "CC BY-NC 4.0 outside Fooocus: no commercial use.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "text": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "placeholder": "What to continue",
                        "tooltip": "Only the first line is continued. Wire it into a prompt without the style "
                        "Fooocus V2, which would continue it again.",
                    },
                ),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": MAX_SEED,
                        "control_after_generate": True,
                        "tooltip": "The same text and seed give the same words on the same kind of device.",
                    },
                ),
            },
        }

    def run(self, text: str, seed: int) -> tuple[str]:
        return (stages.expand.expand(current_host(), text, seed),)


class FooocusPrompt:
    DESCRIPTION = (
        "Composes the texts of every picture: wildcards __name__, arrays [[a, b]], <lora:name:weight> tags, "
        "further lines as further texts, styles and the expansion. One prompt per picture goes on."
    )
    CATEGORY = "Fooocus/prompt"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.PROMPT, sockets.LORAS, "INT", "STRING", "STRING")
    RETURN_NAMES = ("prompt", "loras", "seed", "positive text", "negative text")
    OUTPUT_IS_LIST = (True, False, True, True, True)
    OUTPUT_TOOLTIPS = (
        "The composed prompt of each picture.",
        "The LoRAs that came in and those of the prompt's tags.",
        "The seed of each picture.",
        "What the text encoders will read, one line a text.",
        "What they will read as negative, one line a text.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "text": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "placeholder": "What to draw",
                        "tooltip": "The first line is styled; each further line is a text of its own.",
                    },
                ),
                "negative": (
                    "STRING",
                    {
                        "multiline": True,
                        "default": "",
                        "placeholder": "What to avoid",
                        "tooltip": "What to avoid. It counts only with guidance above 1.",
                    },
                ),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": MAX_SEED,
                        "control_after_generate": True,
                        "tooltip": "The first picture's seed; the next ones count up from it.",
                    },
                ),
                "num_images": (
                    "INT",
                    {"default": 1, "min": 1, "max": 32, "tooltip": "How many pictures, each with a seed of its own."},
                ),
            },
            "optional": {
                "loras": (sockets.LORAS, {"tooltip": "LoRAs chosen so far; the prompt's tags add to them."}),
                "styles": (
                    "STRING",
                    {"forceInput": True, "tooltip": "Style names separated by commas, from a styles node."},
                ),
                "wildcards_in_order": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Take wildcard lines one after the other instead of by chance."},
                ),
                "increment_seed": (
                    "BOOLEAN",
                    {"default": True, "tooltip": "Off: every picture has the same seed; only arrays and order change."},
                ),
            },
        }

    def run(
        self,
        text: str,
        negative: str,
        seed: int,
        num_images: int,
        styles: str = "",
        loras: tuple[Lora, ...] = (),
        wildcards_in_order: bool = False,
        increment_seed: bool = True,
    ) -> tuple[list[Prompt], tuple[Lora, ...], list[int], list[str], list[str]]:
        prompts, loras = stages.prompt.compose_with(
            current_host(), text, negative, styles, loras, seed, num_images, wildcards_in_order, increment_seed
        )
        return (
            list(prompts),
            loras,
            [p.seed for p in prompts],
            ["\n".join(p.positive) for p in prompts],
            ["\n".join(p.negative) for p in prompts],
        )


class FooocusEncodePrompt:
    DESCRIPTION = (
        "Reads the prompt with the text encoders: one token sequence and one pooled vector a side. embedding:NAME in a "
        "text stands for the vectors of that file in the folder embeddings."
    )
    CATEGORY = "Fooocus/prompt"
    FUNCTION = "run"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    OUTPUT_TOOLTIPS = ("What to draw.", "What to avoid.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip": (sockets.CLIP, {"tooltip": "The text encoders, with the LoRAs applied."}),
                "prompt": (sockets.PROMPT, {"tooltip": "A composed prompt."}),
            },
            "optional": {
                "settings": (
                    sockets.SETTINGS,
                    {"tooltip": "With guidance 1 the negative side is not read at all, which saves its time."},
                ),
            },
        }

    def run(self, clip: Clip, prompt: Prompt, settings: SamplingSettings | None = None) -> tuple[Any, Any]:
        return stages.encode.encode(current_host(), clip, prompt, settings or SamplingSettings())
