"""Metadata files agree with each other and with the tree."""

from __future__ import annotations

import re
from pathlib import Path

import fooocus_stages
from fooocus_stages.serving.bundled.blueprints import BLUEPRINTS
from fooocus_stages.serving.bundled.building_blocks import BUILDING_BLOCKS
from fooocus_stages.serving.bundled.catalogue import TEMPLATES
from fooocus_stages.serving.bundled.native_models import NATIVE_WORKFLOWS

ROOT = Path(__file__).resolve().parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def listed(block: str) -> list[str]:
    """The strings of a list in pyproject.toml."""
    body = re.search(rf"^{block} = \[(.*?)\]", read("pyproject.toml"), re.MULTILINE | re.DOTALL)
    assert body is not None
    return re.findall(r'"([^"]+)"', body[1])


def test_the_two_lists_of_requirements_agree() -> None:
    assert read("requirements.txt").split() == listed("dependencies")


def test_no_required_package_replaces_an_installed_opencv() -> None:
    assert not [line for line in read("requirements.txt").split() if "opencv" in line]
    assert listed("opencv") == ["opencv-python-headless>=4.8"]
    assert set(listed("opencv")) < set(listed("dev"))


def test_every_requirement_is_a_lower_bound_with_a_tested_version() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==([^\s;]+)", read("constraints.txt"), re.MULTILINE))
    assert pinned["torch"] == "2.13.0"
    for requirement in [*listed("dependencies"), *listed("dev")]:
        name, bound = requirement.split(">=")
        assert as_numbers(pinned[name]) >= as_numbers(bound), requirement


def as_numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def test_source_files_have_no_characters_beyond_those_of_windows_1252() -> None:
    """On Windows, tools that read or print source without naming an encoding use that code page."""
    beyond = {
        f"{path.relative_to(ROOT)}:{number}: {character!r}"
        for path in ROOT.rglob("*.py")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for character in line
        if not character.encode("cp1252", errors="ignore")
    }
    assert not beyond, sorted(beyond)


def test_layers_are_named_without_their_module() -> None:
    """comfy-test takes a call of nn.Linear or its like for a layer that ComfyUI does not manage."""
    layer = re.compile(r"(?<![\w.])(?:torch\.)?nn\.(?:Linear|Conv\w*d|LayerNorm|GroupNorm|Embedding)\s*\(")
    found = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        and layer.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_package_of_the_pack_is_named() -> None:
    folders = {
        ".".join(["fooocus_stages", *path.parent.relative_to(ROOT).parts])
        for room in ("nodes", "pipelines", "preprocessors", "serving", "pocket")
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert folders | {"fooocus_stages", "fooocus_stages.workflows"} == set(listed("packages"))


def test_one_version() -> None:
    assert f'version = "{fooocus_stages.__version__}"' in read("pyproject.toml")


def test_contributing_describes_every_room() -> None:
    described = re.findall(r"^\| `([\w/]+)/` \|", read("CONTRIBUTING.md"), re.MULTILINE)
    rooms = {
        path.parent.relative_to(ROOT).as_posix()
        for room in ("nodes", "pipelines", "preprocessors", "serving", "pocket")
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert sorted(described) == sorted(rooms)


def test_the_readme_names_files_that_exist() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "docs/nodes.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", read(page)):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


def test_the_readme_counts_what_is_bundled() -> None:
    text = " ".join(read("README.md").split())
    steps = [block for block in BUILDING_BLOCKS if block.name.startswith("building-block-")]
    assert f"{len(TEMPLATES)} in all; {len(steps)} more show" in text
    assert f"and {len(NATIVE_WORKFLOWS)} work on models that ComfyUI has loaded" in text
    assert f"{len(BLUEPRINTS)} subgraph blueprints" in text
    assert [blueprint.title for blueprint in BLUEPRINTS if f"*{blueprint.title}*" not in text] == []
    assert [name for name in (workflow.name for workflow in NATIVE_WORKFLOWS) if f"**{name}**" not in text] == []
