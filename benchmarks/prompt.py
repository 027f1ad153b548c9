"""The cost of composing the texts of images, beside composing a plain line.

    python benchmarks/prompt.py [--pictures 32] [--rounds 7]

With the pack's own styles and with wildcard lists of a thousand words each; nothing is read from disk. Each side
composes that many pictures ten times a round.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from fooocus_stages.pipelines.settings import EXPANSION_STYLE
from fooocus_stages.pipelines.stages.prompts.prompt import PSEUDO_STYLES, compose
from fooocus_stages.pipelines.text.styles import Styles, bundled_styles
from fooocus_stages.pipelines.types import Lora
from timing import Ratio, Stopwatch, machine, table

TIMES = 10
PLAIN = "a red circle on a blue background"
WILD = "a __colour__ __shape__ on a __colour__ background, __mood__"
WORDS = {kind: [f"{kind} number {i}" for i in range(1000)] for kind in ("colour", "shape", "mood")}


def cases() -> dict[str, dict[str, Any]]:
    """The composed prompts, each as arguments of `compose`."""
    known = Styles(bundled_styles())
    styles = [name for name in known if name not in PSEUDO_STYLES][:3]
    loras = [Lora(f"{i}.safetensors", 0.5) for i in range(5)]
    tags = " ".join(f"<lora:{i}:0.5>" for i in range(3))
    return {
        "three styles": {"text": PLAIN, "known": known, "styles": styles},
        "seven wildcards": {"text": WILD + ", " + WILD.split(" on ")[0] + " __mood__", "wildcards": WORDS},
        "an array of ten": {"text": PLAIN.replace("red", "[[" + ", ".join(f"hue {i}" for i in range(10)) + "]]")},
        "the expansion's stand-in": {"text": PLAIN, "known": known, "styles": [EXPANSION_STYLE]},
        "all of it, three LoRA tags, five LoRAs": {
            "text": f"{WILD}, [[big, small]] {tags}\nsoft light, __mood__",
            "negative": "blurry, __mood__",
            "known": known,
            "styles": [EXPANSION_STYLE, *styles],
            "wildcards": WORDS,
            "loras": loras,
            "available_loras": [f"{i}.safetensors" for i in range(100)],
        },
    }


def often(work: Callable[[], object]) -> Callable[[], object]:
    """The same, as many times as a clock can tell."""
    return lambda: [work() for _ in range(TIMES)]


def ratio(
    ours: Callable[[], object], plain: Callable[[], object], rounds: int, watch: Stopwatch
) -> tuple[Ratio, float]:
    """One over the other, in turn, and the seconds of the first."""
    pairs = [(watch.seconds(often(ours)), watch.seconds(often(plain))) for _ in range(rounds + 1)][1:]
    return Ratio(tuple(a / b for a, b in pairs)), statistics.median(a for a, _ in pairs) / TIMES


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=32)
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    watch = Stopwatch(torch.device("cpu"))
    plain = partial(compose, PLAIN, count=given.pictures)
    rows: list[tuple[str, object]] = []
    for name, arguments in cases().items():
        found, took = ratio(partial(compose, count=given.pictures, **arguments), plain, given.rounds, watch)
        rows.append((name, f"{found} × a plain line, {took * 1000 / given.pictures:.3f} ms a picture"))
    print(machine())
    print(table(rows))


if __name__ == "__main__":
    main()
