"""The published archive holds everything that the pack imports and serves, and nothing that only its developers use.

The Comfy registry packs the files that git tracks, without those that .comfyignore names in gitignore's syntax.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fooocus_stages import NODE_CLASS_MAPPINGS, WEB_DIRECTORY
from fooocus_stages.serving.bundled.workflow_files import bundled
from pathspec import GitIgnoreSpec
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SERVED = (
    "nodes", "pipelines", "preprocessors", "serving", "web", "workflows", "subgraphs", "locales", "pocket/models",
    "pocket/pictures",
)  # fmt: skip
FOR_DEVELOPERS = ("tests", "benchmarks", "docs", ".ci", ".github", "pocket/training")
LARGEST = 40_000_000


def tracked() -> list[str]:
    """The files of the repository, relative to its root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listing.stdout.split("\0") if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def shipped() -> set[str]:
    """The files of the archive."""
    ignored = GitIgnoreSpec.from_lines((ROOT / ".comfyignore").read_text("utf-8").splitlines())
    return {name for name in tracked() if not ignored.match_file(name)}


def below(names: set[str] | list[str], *folders: str) -> set[str]:
    """The names that lie in one of the folders."""
    return {name for name in names if name.startswith(tuple(f"{folder}/" for folder in folders))}


@pytest.mark.parametrize("folder", SERVED)
def test_a_served_folder_is_shipped_whole(shipped: set[str], folder: str) -> None:
    assert below(tracked(), folder)
    assert below(tracked(), folder) <= shipped


def test_every_node_has_its_help_page_and_every_workflow_its_files(shipped: set[str]) -> None:
    pages = {f"{Path(WEB_DIRECTORY).as_posix()}/docs/{node}.md" for node in NODE_CLASS_MAPPINGS}
    names = [about.name for about in bundled()]
    files = {f"workflows/{name}" for n in names for name in (f"{n}.json", f"{n}.jpg", f"api/{n}.json")}
    assert pages | files <= shipped


def test_the_archive_has_what_comfyui_reads(shipped: set[str]) -> None:
    assert {"__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"} <= shipped


@pytest.mark.parametrize("folder", FOR_DEVELOPERS)
def test_nothing_of_the_developers_is_shipped(shipped: set[str], folder: str) -> None:
    assert below(tracked(), folder)
    assert not below(shipped, folder)
    assert not {"Makefile", "CONTRIBUTING.md", "constraints.txt", "constraints-oldest.txt"} & shipped


def test_the_registry_entry_has_an_icon_a_banner_and_a_changelog() -> None:
    with Image.open(ROOT / declared("Icon").split("/main/")[1]) as icon:
        assert icon.width == icon.height <= 400
    with Image.open(ROOT / declared("Banner").split("/main/")[1]) as banner:
        assert banner.width * 9 == banner.height * 21
    assert f"## {declared('version')}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def declared(key: str) -> str:
    """The text value of a key that pyproject.toml has once."""
    (value,) = re.findall(rf'^{key} = "(.*)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    return str(value)


def test_every_import_of_a_shipped_module_is_of_a_shipped_module(shipped: set[str]) -> None:
    modules = sorted(name for name in shipped if name.endswith(".py"))
    missing = [f"{name}: {wanted}" for name in modules for wanted in imports(name) - shipped]
    assert missing == []


def imports(name: str) -> set[str]:
    """The files of the pack that one of its modules imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            module = Path(name).parents[node.level - 1].joinpath(*(node.module or "").split("."))
            found |= {file_of(module / alias.name) or file_of(module) or f"{module}.py" for alias in node.names}
    return found


def file_of(module: Path) -> str:
    """The file of a module or package, '' when there is none: the name is that of a value, then."""
    files = (module.parent / f"{module.name}.py", module / "__init__.py")
    return next((file.as_posix() for file in files if (ROOT / file).is_file()), "")


def test_the_archive_is_small_and_draws_a_picture_by_itself(shipped: set[str], tmp_path: Path) -> None:
    path = tmp_path / "node.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(shipped):
            archive.write(ROOT / name, name)
    assert path.stat().st_size < LARGEST
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "fooocus_stages")
    command = ["-m", "fooocus_stages.serving.cli", "run", "text-to-image-extreme-speed", "--models", "pocket"]
    environment = {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command, "--device", "cpu", "-o", "made"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "made").glob("Fooocus_*"))) == 1
