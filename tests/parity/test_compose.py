"""Prompts composed with small style and wildcard files: equal to Fooocus's."""

import json
from pathlib import Path
from typing import Any

from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages.prompts.prompt import compose, compose_with
from fooocus_stages.pipelines.text.styles import Styles, read_style_file
from fooocus_stages.pipelines.types import Lora, Prompt

from .golden import Case, each_case


def shown(prompt: Prompt) -> dict[str, Any]:
    return {
        "seed": prompt.seed,
        "positive": list(prompt.positive),
        "negative": list(prompt.negative),
        "positive_top_k": prompt.positive_top_k,
        "negative_top_k": prompt.negative_top_k,
        "styles": list(prompt.styles),
    }


def pairs(loras: tuple[Lora, ...]) -> list[list[Any]]:
    return [[lora.name, lora.weight] for lora in loras]


@each_case("compose")
def test_compose(case: Case, tmp_path: Path) -> None:
    params = case.params
    style_file = tmp_path / "styles.json"
    style_file.write_text(json.dumps(params["style_file"]), "utf-8")
    prompts, loras = compose(
        params["prompt"],
        params["negative"],
        params["styles"],
        seed=params["seed"],
        count=params["images"],
        known=Styles(read_style_file(style_file)),
        wildcards=params["wildcard_files"],
        available_loras=params["available_loras"],
        in_order=params["wildcards_in_order"],
    )
    assert [shown(prompt) for prompt in prompts] == params["expected"]
    assert pairs(loras) == params["expected_loras"]


@each_case("compose")
def test_compose_from_folders(case: Case, tmp_path: Path) -> None:
    params = case.params
    for kind in ("styles", "wildcards", "loras"):
        (tmp_path / kind).mkdir()
    (tmp_path / "styles" / "some.json").write_text(json.dumps(params["style_file"]), "utf-8")
    for name, words in params["wildcard_files"].items():
        (tmp_path / "wildcards" / f"{name}.txt").write_text("\n".join(words) + "\n", "utf-8")
    for name in params["available_loras"]:
        (tmp_path / "loras" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "loras" / name).touch()
    prompts, loras = compose_with(
        LocalHost([tmp_path], on_notice=lambda text: None),
        params["prompt"],
        params["negative"],
        ", ".join(params["styles"]),
        seed=params["seed"],
        count=params["images"],
        in_order=params["wildcards_in_order"],
    )
    assert [shown(prompt) for prompt in prompts] == params["expected"]
    assert pairs(loras) == params["expected_loras"]
