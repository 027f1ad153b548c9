"""The texts in other languages: complete, with nothing left over, and with the names of choices as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fooocus_stages
import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.schema import Schema

LANGUAGES = ("zh", "ja", "ko", "de", "fr", "es", "pt-BR")
LOCALES = Path(fooocus_stages.__file__).parent / "locales"
SCHEMAS = {name: node.schema for name, node in NODE_CLASS_MAPPINGS.items()}
QUOTED = re.compile(r"(?<!\w)'([\w /.+%-]+)'(?!\w)")


def node_texts() -> dict[str, Any]:
    """The English texts of the nodes, by the keys that the page looks up in a language's nodeDefs.json."""
    return {node: texts_of(schema) for node, schema in SCHEMAS.items()}


def texts_of(schema: Schema) -> dict[str, Any]:
    inputs = {one.name: {"name": spoken(one.name), "tooltip": one.tooltip} for one in schema.inputs}
    outputs = {str(i): {"name": spoken(one.name), "tooltip": one.tooltip} for i, one in enumerate(schema.outputs)}
    texts = {"display_name": schema.display_name, "description": schema.description}
    return {**texts, **({"inputs": inputs} if inputs else {}), **({"outputs": outputs} if outputs else {})}


def spoken(name: str) -> str:
    return name.replace("_", " ")


def levels() -> set[str]:
    """The levels of the menu under which the nodes stand."""
    return {level for schema in SCHEMAS.values() for level in schema.category.split("/")}


def setting_texts() -> dict[str, Any]:
    """The English texts of the page's settings, by the keys that the page looks up in a language's settings.json."""
    script = (LOCALES.parent / "web/js/endpoints.js").read_text(encoding="utf-8")
    (id,) = re.findall(r'^const ID = "([\w.]+)";', script, re.MULTILINE)
    options = {text: text for text in re.findall(r'\{ text: "([^"]+)"', script)}
    return {id.replace(".", "_"): {"name": "…", "tooltip": "…", "options": options}}


def flat(texts: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """The texts by the path of their keys."""
    if isinstance(texts, str):
        return {path: texts}
    return {key: text for name, inner in texts.items() for key, text in flat(inner, (*path, name)).items()}


def read(language: str, file: str) -> Any:
    return json.loads((LOCALES / language / file).read_text(encoding="utf-8"))


def test_each_language_has_a_folder() -> None:
    assert {path.name for path in LOCALES.iterdir()} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text_of_the_nodes(language: str) -> None:
    wanted, found = flat(node_texts()), flat(read(language, "nodeDefs.json"))
    assert sorted(wanted.keys() - found.keys()) == []
    assert sorted(found.keys() - wanted.keys()) == []
    assert [key for key, text in found.items() if not text.strip() and wanted[key].strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_level_of_the_menu(language: str) -> None:
    found = read(language, "main.json")["nodeCategories"]
    assert found.keys() == levels()
    assert all(found.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text_of_the_settings(language: str) -> None:
    found = flat(read(language, "settings.json"))
    assert found.keys() == flat(setting_texts()).keys()
    assert all(text.strip() for text in found.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_of_choices_are_not_translated(language: str) -> None:
    wanted, found = flat(node_texts()), flat(read(language, "nodeDefs.json"))
    lost = [
        (key, quoted) for key, text in wanted.items() for quoted in QUOTED.findall(text) if quoted not in found[key]
    ]
    assert lost == []
