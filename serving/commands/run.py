"""`run`: runs a workflow in this process, without ComfyUI, or on a running ComfyUI."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...nodes.comfy import use_host
from ...pipelines.errors import BadValue, UserError
from ...pipelines.files import check_writable
from ...pipelines.host import LocalHost
from ...pipelines.settings import MAX_SEED
from ..bundled.workflow_files import read_workflow
from ..console import Console
from ..engine.declarations import Registry
from ..engine.overrides import Graph, set_everywhere, set_input
from ..engine.results import Results, RunError
from .common import OK, REGISTRY, Commands, add_command, add_host_options, host_of, lines_of, show

Classes = Mapping[str, type[Any]]
SAVING = ("FooocusSaveImage", "SaveImage", "PreviewImage")
LOCAL_OPTIONS = ("models", "extra_model_paths", "device", "styles_dir", "wildcards_dir", "nodes")


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    run = add_command(commands, "run", run_workflow, "run a workflow file or a bundled workflow")
    run.add_argument("workflow", metavar="WORKFLOW", help="a file in API format, or the name of a bundled workflow")
    run.add_argument(
        "--set",
        metavar="NODE.input=value",
        action="append",
        default=[],
        help="set an input of a node, named by id, class or title; repeatable",
    )
    run.add_argument("--seed", type=int, help="set the seed of the images")
    run.add_argument("-n", "--num-images", type=int, metavar="N", help="set the number of images")
    run.add_argument(
        "-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="output folder; default: outputs"
    )
    run.add_argument(
        "--input-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder of the images that LoadImage reads; default: .",
    )
    run.add_argument(
        "--comfyui", metavar="URL", help="run on the ComfyUI at this address, for example http://127.0.0.1:8188"
    )
    run.add_argument("--device", help="cpu, cuda, cuda:1 or mps; default: the fastest available")
    run.add_argument(
        "--nodes",
        action="append",
        type=Path,
        metavar="FOLDER",
        help="load a further node pack in ComfyUI's V1 form, or all packs of a custom_nodes folder; repeatable",
    )
    add_host_options(run)


def run_workflow(options: argparse.Namespace, console: Console) -> int:
    """Run the workflow with the options' settings and report what it saved."""
    graph = read_workflow(options.workflow)
    if any(node.get("class_type") in SAVING for node in graph.values() if isinstance(node, dict)):
        check_writable(options.output, "a picture")  # before minutes of work
    report: dict[str, Any] = {"workflow": options.workflow}
    report |= run_here(options, console, graph) if options.comfyui is None else run_there(options, console, graph)
    report["notices"] = console.notices
    console.close()
    show(options, report, lines_of(report["outputs"]))
    return OK


def run_here(options: argparse.Namespace, console: Console, graph: Graph) -> dict[str, Any]:
    """Run the graph in this process and return the report."""
    with contextlib.ExitStack() as stack:
        classes: Classes = REGISTRY
        if options.nodes:
            from ..engine.node_packs import registry_with_packs

            stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # packs print; stdout is for the report
            classes = registry_with_packs(REGISTRY, options.nodes, console.notice)
        from ..engine.runner import Runner

        runner = Runner(classes, console.event)

        def notice(text: str) -> None:
            console.notice(text)
            runner.notice(text)

        host = host_of(options, console, notice)
        stack.enter_context(use_host(host))
        override(graph, Registry(classes), options)
        seeds = [(node_id, slot) for node_id, node in graph.items() for slot in _seed_outputs(node, classes)]
        start = time.perf_counter()
        try:
            results = runner.run(graph, outputs={node_id for node_id, _ in seeds})
        except BaseException:
            console.outputs = outputs_of(runner.results, graph, host)
            raise
        seconds = time.perf_counter() - start
    given = [seed for node_id, slot in seeds for seed in _values(results, node_id, slot)]
    return _report(outputs_of(results, graph, host), seconds, results, given)


def run_there(options: argparse.Namespace, console: Console, graph: Graph) -> dict[str, Any]:
    """Run the graph on the ComfyUI that the options name and return the report."""
    for option in LOCAL_OPTIONS:
        if getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise BadValue(f"--{name} has no effect with --comfyui, where the server has its own; leave it out")
    from ..comfyui.client import connected

    with connected(options.comfyui) as server:
        registry = Registry({**REGISTRY, **server.declarations(graph, REGISTRY)})
        override(graph, registry, options)
        server.upload(graph, options.input_dir)
        start = time.perf_counter()
        try:
            results = server.run(graph, console)
        except Exception:
            with contextlib.suppress(UserError, RunError):
                console.outputs = server.fetch(server.results, graph, options.output)
            raise
        seconds = time.perf_counter() - start
        outputs = server.fetch(results, graph, options.output)
    return _report(outputs, seconds, results, seeds_in(graph))


def override(graph: Graph, registry: Registry, options: argparse.Namespace) -> None:
    """Apply --set, --seed and --num-images to the graph."""
    for setting in options.set:
        set_input(graph, registry, setting)
    for name, value in (("seed", options.seed), ("num_images", options.num_images)):
        if value is not None:
            set_everywhere(graph, name, value)


def seeds_in(graph: Graph) -> list[int]:
    """Return the seeds of the images that follow from the graph alone: those of nodes whose `seed` is not linked."""
    seeds: list[int] = []
    for node in graph.values():
        inputs = {"num_images": 1, "increment_seed": True, **node.get("inputs", {})}
        seed, count, step = inputs.get("seed"), inputs["num_images"], inputs["increment_seed"]
        if _seed_outputs(node, REGISTRY) and type(seed) is int and type(count) is int and type(step) is bool:
            seeds += [(seed + step * number) % (MAX_SEED + 1) for number in range(count)]
    return seeds


def _report(outputs: list[dict[str, Any]], seconds: float, results: Results, seeds: list[Any]) -> dict[str, Any]:
    report = {"outputs": outputs, "seconds": round(seconds, 3), "executed": results.executed, "cached": results.cached}
    return {**report, "blocked": results.blocked, "seeds": seeds}


def outputs_of(results: Results, graph: Mapping[str, Any], host: LocalHost) -> list[dict[str, Any]]:
    """Return the UI outputs of the nodes: files by their paths, texts as they are."""
    shown: list[dict[str, Any]] = []
    for node_id, ui in results.ui.items():
        node = {"node": node_id, "class": graph.get(node_id, {}).get("class_type", "")}
        for kind, values in ui.items():
            for value in values:
                if isinstance(value, dict) and "filename" in value:
                    path = host.folder(value["type"]) / value["subfolder"] / value["filename"]
                    shown.append({**node, "path": str(path), "type": value["type"]})
                else:
                    shown.append({**node, kind: value})
    return shown


def _seed_outputs(node: Mapping[str, Any], classes: Classes) -> list[int]:
    cls = classes.get(str(node.get("class_type"))) if isinstance(node, Mapping) else None
    return [slot for slot, name in enumerate(getattr(cls, "RETURN_NAMES", ())) if name == "seed"]


def _values(results: Results, node_id: str, slot: int) -> list[Any]:
    return results.outputs[node_id][slot] if node_id in results.outputs else []
