"""`run`: a workflow, in this process without ComfyUI, or on a ComfyUI that runs."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...nodes.comfy import use_host
from ...pipelines.errors import BadValue, UserError
from ...pipelines.host import LocalHost
from ...pipelines.settings import MAX_SEED
from ..bundled.workflow_files import read_workflow
from ..comfyui.client import connected
from ..console import Console
from ..engine.declarations import Registry
from ..engine.overrides import Graph, set_everywhere, set_input
from ..engine.results import Results, RunError
from ..engine.runner import Runner
from .common import OK, REGISTRY, add_command, host_of, host_options, lines_of, show


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    run = add_command(commands, "run", run_workflow, "run a workflow file or a bundled workflow")
    run.add_argument("workflow", metavar="WORKFLOW", help="a file in API format, or the name of a bundled workflow")
    run.add_argument("--set", metavar="NODE.input=value", action="append", default=[], help="NODE: id, class or title")
    run.add_argument("--seed", type=int, help="set the seed of the pictures")
    run.add_argument("-n", "--num-images", type=int, metavar="N", help="set the number of pictures")
    run.add_argument("-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    run.add_argument("--input-dir", type=Path, default=Path(), metavar="DIR", help="where LoadImage looks; default: .")
    run.add_argument(
        "--comfyui", metavar="URL", help="run on the ComfyUI that answers there; example: http://127.0.0.1:8188"
    )
    run.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: the best there is")
    host_options(run)


def run_workflow(options: argparse.Namespace, console: Console) -> int:
    """`run`: the workflow with its settings, in a host of the options' folders or on a ComfyUI."""
    graph = read_workflow(options.workflow)
    report = {"workflow": options.workflow}
    report |= run_here(options, console, graph) if options.comfyui is None else run_there(options, console, graph)
    console.close()
    show(options, report, lines_of(report["outputs"]))
    return OK


def run_here(options: argparse.Namespace, console: Console, graph: Graph) -> dict[str, Any]:
    """The report of a run in this process."""
    host = host_of(options, console)
    with use_host(host):
        override(graph, Registry(REGISTRY), options)
        runner = Runner(REGISTRY, console.event)
        seeds = [(node_id, slot) for node_id, node in graph.items() for slot in _seed_outputs(node)]
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
    """The report of a run on the ComfyUI that the options name."""
    for option in ("models", "extra_model_paths", "device", "styles_dir", "wildcards_dir"):
        if getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise BadValue(f"--{name} is of no use with --comfyui: the server has its own; leave it out")
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
    """Set what the options set."""
    for setting in options.set:
        set_input(graph, registry, setting)
    for name, value in (("seed", options.seed), ("num_images", options.num_images)):
        if value is not None:
            set_everywhere(graph, name, value)


def seeds_in(graph: Graph) -> list[int]:
    """The seeds that the graph's nodes give on, as far as it says them itself: those counted up from a plain `seed`."""
    seeds: list[int] = []
    for node in graph.values():
        inputs = {"num_images": 1, "increment_seed": True, **node.get("inputs", {})}
        seed, count, step = inputs.get("seed"), inputs["num_images"], inputs["increment_seed"]
        if _seed_outputs(node) and type(seed) is int and type(count) is int and type(step) is bool:
            seeds += [(seed + step * number) % (MAX_SEED + 1) for number in range(count)]
    return seeds


def _report(outputs: list[dict[str, Any]], seconds: float, results: Results, seeds: list[Any]) -> dict[str, Any]:
    report = {"outputs": outputs, "seconds": round(seconds, 3), "executed": results.executed, "cached": results.cached}
    return {**report, "blocked": results.blocked, "seeds": seeds}


def outputs_of(results: Results, graph: Mapping[str, Any], host: LocalHost) -> list[dict[str, Any]]:
    """What the nodes have to show: files with their paths, texts as they are."""
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


def _seed_outputs(node: Mapping[str, Any]) -> list[int]:
    cls = REGISTRY.get(str(node.get("class_type"))) if isinstance(node, Mapping) else None
    return [slot for slot, name in enumerate(getattr(cls, "RETURN_NAMES", ())) if name == "seed"]


def _values(results: Results, node_id: str, slot: int) -> list[Any]:
    return results.outputs[node_id][slot] if node_id in results.outputs else []
