"""Fooocus/prompt: styles, prompt expansion, composing prompts and encoding them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..pipelines import stages
from ..pipelines.settings import DEFAULT_STYLES, NO_STYLE
from ..pipelines.types import Conditioning, Lora, Prompt, SamplingSettings
from . import sockets
from .checks import problem
from .comfy import current_host
from .inputs import SEED, SeededNode, fooocus_seed
from .schema import Boolean, Combo, Input, Int, Output, Schema, String
from .v1 import Node

if TYPE_CHECKING:
    from ..pipelines.models.handles import Clip

STYLE_SLOTS = 6


def style_choices() -> list[str]:
    """'None' and the names of all styles."""
    return [NO_STYLE, *stages.prompt.style_names(current_host())]


def style_slots() -> tuple[Input, ...]:
    """A choice of style for each slot, the first ones set to Fooocus's default styles."""
    defaults = DEFAULT_STYLES + (NO_STYLE,) * (STYLE_SLOTS - len(DEFAULT_STYLES))
    return tuple(
        Input(f"style_{i}", Combo(style_choices, default), f"Style {i}. 'None' leaves the slot empty.")
        for i, default in enumerate(defaults, start=1)
    )


class FooocusStyles(Node):
    schema = Schema(
        display_name="Fooocus Styles",
        category="Fooocus/prompt",
        description="Selects up to six styles, applied in order. Chain several for more.",
        search_aliases=("styles", "style selector", "sdxl styles", "prompt styles", "prompt styler"),
        inputs=(
            *style_slots(),
            Input("styles", "STRING", "Styles from earlier nodes in the chain.", optional=True),
        ),
        outputs=(Output("styles", "STRING", "The names of all styles so far, separated by commas."),),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, **slots: Any) -> bool | str:
        return problem(lambda: stages.prompt.check_styles(current_host(), slots.values()))

    def run(self, styles: str = "", **slots: str) -> tuple[str]:
        return (stages.prompt.join_styles([styles, *(slots[f"style_{i}"] for i in range(1, STYLE_SLOTS + 1))]),)


class FooocusExpandPrompt(SeededNode):
    schema = Schema(
        display_name="Fooocus Expand Prompt",
        category="Fooocus/prompt",
        description="Expands a prompt with matching words from Fooocus's GPT-2 model, like the style Fooocus V2. "
        "Without the model's files it appends a few general words.",
        search_aliases=("prompt expansion", "expand prompt", "fooocus v2", "gpt-2", "gpt2", "magic prompt"),
        inputs=(
            Input(
                "text",
                String(multiline=True, placeholder="Prompt to expand"),
                "Prompt to expand. Only the first line is expanded. Do not combine with the style Fooocus V2, which "
                "would expand the result again.",
            ),
            Input("seed", SEED, "Seed of the expansion. The same text and seed give the same words."),
        ),
        outputs=(
            Output(
                "text",
                "STRING",
                "The prompt with its first line expanded. Fooocus's expansion model is licensed CC BY-NC 4.0 outside "
                "Fooocus: no commercial use.",
            ),
        ),
    )

    def run(self, text: str, seed: int) -> tuple[str]:
        return (stages.expand.expand(current_host(), text, fooocus_seed(seed)),)


class FooocusPrompt(SeededNode):
    schema = Schema(
        display_name="Fooocus Prompt",
        category="Fooocus/prompt",
        description="Composes the prompt of each image: replaces wildcards (__name__) and arrays ([[a, b]]), reads "
        "LoRA tags (<lora:name:weight>), applies styles and expands the prompt.",
        search_aliases=("prompt", "wildcards", "array", "lora tag", "dynamic prompts", "seed", "negative prompt"),
        inputs=(
            Input(
                "text",
                String(multiline=True, placeholder="Prompt"),
                "What to draw. Styles apply to the first line; each further line is added as a text of its own.",
            ),
            Input(
                "negative",
                String(multiline=True, placeholder="Negative prompt"),
                "What to avoid. Has no effect at a guidance scale of 1.",
            ),
            Input("seed", SEED, "Seed of the first image. Each further image adds 1."),
            Input("num_images", Int(default=1, min=1, max=32), "Number of images, each with its own seed and prompt."),
            Input("loras", sockets.LORAS, "LoRAs to add those of the prompt's tags to.", optional=True),
            Input("styles", "STRING", "Style names separated by commas, from Fooocus Styles.", optional=True),
            Input(
                "wildcards_in_order",
                Boolean(default=False),
                "Take the lines of wildcard files in order instead of at random.",
                optional=True,
                advanced=True,
            ),
            Input(
                "increment_seed",
                Boolean(default=True),
                "Give each image its own seed. When off, all images share the first seed and differ only by arrays and "
                "wildcards in order.",
                optional=True,
                advanced=True,
            ),
        ),
        outputs=(
            Output("prompt", sockets.PROMPT, "The composed prompt of each image.", is_list=True),
            Output("loras", sockets.LORAS, "The input LoRAs and those of the prompt's tags."),
            Output("seed", "INT", "The seed of each image.", is_list=True),
            Output("positive text", "STRING", "The positive texts that will be encoded, one per line.", is_list=True),
            Output("negative text", "STRING", "The negative texts that will be encoded, one per line.", is_list=True),
        ),
    )

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
        seed = fooocus_seed(seed)
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


class FooocusEncodePrompt(Node):
    schema = Schema(
        display_name="Fooocus Encode Prompt",
        category="Fooocus/prompt",
        description="Encodes a prompt with SDXL's text encoders. embedding:NAME in a prompt inserts a textual "
        "inversion from the folder 'embeddings'.",
        search_aliases=("clip text encode", "text encode", "encode prompt", "conditioning", "textual inversion"),
        inputs=(
            Input("clip", sockets.ANY_CLIP, "Text encoders, with the LoRAs applied."),
            Input("prompt", sockets.PROMPT, "Composed prompt, from the prompt node."),
            Input(
                "settings",
                sockets.SETTINGS,
                "Sampling settings. At a guidance scale of 1 the negative prompt is not encoded, which saves time.",
                optional=True,
            ),
        ),
        outputs=(
            Output("positive", "CONDITIONING", "Conditioning for what to draw."),
            Output("negative", "CONDITIONING", "Conditioning for what to avoid."),
        ),
    )

    def run(
        self, clip: Clip, prompt: Prompt, settings: SamplingSettings | None = None
    ) -> tuple[Conditioning, Conditioning]:
        return stages.encode.encode(current_host(), clip, prompt, settings or SamplingSettings())
