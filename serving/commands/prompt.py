"""`prompt`: composes the prompt of each image, without a model."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ...pipelines import stages
from ..console import Console
from ..engine.overrides import typed_text
from .common import OK, Commands, add_command, add_host_options, host_of, show


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    compose = add_command(commands, "prompt", compose_prompt, "compose the prompt of each image, without a model")
    compose.add_argument("text", nargs="+", metavar="TEXT", help="the prompt; each further TEXT is a further line")
    compose.add_argument("--negative", default="", help="the negative prompt")
    compose.add_argument("--styles", default="", metavar="A,B", help="style names, separated by commas")
    compose.add_argument("--seed", type=int, default=0, help="the seed of the first image; default: 0")
    compose.add_argument("-n", "--num-images", type=int, default=1, metavar="N", help="number of images; default: 1")
    compose.add_argument("--in-order", action="store_true", help="read wildcard lines in order, not at random")
    add_host_options(compose)


def compose_prompt(options: argparse.Namespace, console: Console) -> int:
    """Print the positive and negative texts of each image, and the LoRAs that the prompt names."""
    prompts, loras = stages.prompt.compose_with(
        host_of(options, console),
        "\n".join(map(typed_text, options.text)),
        typed_text(options.negative),
        typed_text(options.styles),
        seed=options.seed,
        count=options.num_images,
        in_order=options.in_order,
        styles_dir=options.styles_dir,
        wildcards_dir=options.wildcards_dir,
    )
    lines = []
    for number, prompt in enumerate(prompts, start=1):
        lines.append(f"image {number}, seed {prompt.seed}")
        lines += [f"  + {text}" for text in prompt.positive] + [f"  - {text}" for text in prompt.negative]
    lines += [f"lora {lora.name} {lora.weight:g}" for lora in loras]
    report = {
        "prompts": [asdict(prompt) for prompt in prompts],
        "loras": [asdict(lora) for lora in loras],
        "notices": console.notices,
    }
    show(options, report, lines)
    return OK
