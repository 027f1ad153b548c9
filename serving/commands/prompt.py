"""`prompt`: the texts of each picture, without a model."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from ...pipelines import stages
from ..console import Console
from .common import OK, add_command, host_of, host_options, show


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    compose = add_command(commands, "prompt", compose_prompt, "compose the texts of a prompt, without a model")
    compose.add_argument("text", nargs="+", metavar="TEXT", help="the prompt; further TEXTs are its further lines")
    compose.add_argument("--negative", default="", help="what to avoid")
    compose.add_argument("--styles", default="", metavar="A,B", help="names of styles, separated by commas")
    compose.add_argument("--seed", type=int, default=0)
    compose.add_argument("-n", "--num-images", type=int, default=1, metavar="N")
    compose.add_argument("--in-order", action="store_true", help="take wildcard lines in order, not by chance")
    host_options(compose)


def compose_prompt(options: argparse.Namespace, console: Console) -> int:
    """`prompt`: the texts of each picture."""
    prompts, loras = stages.prompt.compose_with(
        host_of(options, console),
        "\n".join(options.text),
        options.negative,
        options.styles,
        seed=options.seed,
        count=options.num_images,
        in_order=options.in_order,
        styles_dir=options.styles_dir,
        wildcards_dir=options.wildcards_dir,
    )
    lines = []
    for number, prompt in enumerate(prompts, start=1):
        lines.append(f"picture {number}, seed {prompt.seed}")
        lines += [f"  + {text}" for text in prompt.positive] + [f"  - {text}" for text in prompt.negative]
    lines += [f"lora {lora.name} {lora.weight:g}" for lora in loras]
    show(options, {"prompts": [asdict(p) for p in prompts], "loras": [asdict(lora) for lora in loras]}, lines)
    return OK
