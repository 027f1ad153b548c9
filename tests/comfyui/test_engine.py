"""ComfyUI's own execution tests of that version pass on the pack's engine."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .server import PACK

CLASSES = {"test_execution.py": "TestExecution", "test_async_nodes.py": "TestAsyncNodes"}
MINUTES = 5


def classes_of(source: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


def methods_of(cls: ast.ClassDef) -> list[ast.FunctionDef]:
    return [node for node in cls.body if isinstance(node, ast.FunctionDef)]


def upstream_tests() -> list[str]:
    """Name the tests that only run graphs; the others ask a server for its history and its jobs."""
    folder = Path(os.environ.get("COMFYUI_DIR", "."), "tests/execution")
    if not folder.is_dir():
        return []
    client = classes_of((folder / "test_execution.py").read_text("utf-8"))["ComfyClient"]
    of_a_server = {method.name for method in methods_of(client)} - {"run", "set_test_name"}
    return [
        f"{name}.{test.name}"
        for file, name in CLASSES.items()
        for test in methods_of(classes_of((folder / file).read_text("utf-8"))[name])
        if test.name.startswith("test_")
        and not of_a_server & {part.attr for part in ast.walk(test) if isinstance(part, ast.Attribute)}
    ]


@pytest.fixture(scope="module")
def outcomes(checkout: Path, python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Run ComfyUI's tests in ComfyUI's Python; the failures of each test's cases, empty where a case passed."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "fooocus_stages").symlink_to(PACK)
    shutil.copy(Path(__file__).parent / "own_tests.py", folder)
    for name in ("output", "temp"):
        (folder / name).mkdir()
    wanted = "import pytest, websocket"
    if subprocess.run([python, "-c", wanted], capture_output=True).returncode:
        pytest.skip(f"ComfyUI's tests need more packages: {python} -m pip install pytest websocket-client")
    command = [python, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider"]
    command += ["--junit-xml", str(folder / "report.xml"), "-k", " or ".join(t.split(".")[1] for t in upstream_tests())]
    environment = {**os.environ, "COMFYUI_DIR": str(checkout), "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command.append(str(folder / "own_tests.py"))
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60 * MINUTES)
    assert (folder / "report.xml").is_file(), ran.stdout[-2000:] + ran.stderr[-2000:]
    return failures_by_test(folder / "report.xml")


def failures_by_test(report: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        problems = [problem.text or "" for kind in ("failure", "error", "skipped") for problem in case.iter(kind)]
        name = case.attrib["name"].split("[")[0]
        found[f"{case.attrib['classname'].split('.')[-1]}.{name}"].append("\n".join(problems))
    return found


@pytest.mark.parametrize("test", upstream_tests() or ["no ComfyUI"])
def test_the_engine_passes(outcomes: dict[str, list[str]], test: str) -> None:
    cases = outcomes.get(test, [])
    assert cases, f"ComfyUI's {test} did not run"
    assert not any(cases), "\n".join(cases)
