"""`run`: a workflow, without ComfyUI."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...nodes.comfy import use_host
from ...pipelines.host import LocalHost
from ..console import Console
from ..declarations import Registry
from ..overrides import set_everywhere, set_input
from ..results import Results
from ..runner import Runner
from ..workflow_files import read_workflow
from .common import OK, REGISTRY, add_command, host_of, host_options, show


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    run = add_command(commands, "run", run_workflow, "run a workflow file or a bundled workflow")
    run.add_argument("workflow", metavar="WORKFLOW", help="a file in API format, or the name of a bundled workflow")
    run.add_argument("--set", metavar="NODE.input=value", action="append", default=[], help="NODE: id, class or title")
    run.add_argument("--seed", type=int, help="set the seed of the pictures")
    run.add_argument("-n", "--num-images", type=int, metavar="N", help="set the number of pictures")
    run.add_argument("-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    run.add_argument("--input-dir", type=Path, default=Path(), metavar="DIR", help="where LoadImage looks; default: .")
    run.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: the best there is")
    host_options(run)


def run_workflow(options: argparse.Namespace, console: Console) -> int:
    """`run`: the workflow with its settings, in a host of the options' folders."""
    graph = read_workflow(options.workflow)
    host = host_of(options, console)
    with use_host(host):
        registry = Registry(REGISTRY)
        for setting in options.set:
            set_input(graph, registry, setting)
        for name, value in (("seed", options.seed), ("num_images", options.num_images)):
            if value is not None:
                set_everywhere(graph, name, value)
        runner = Runner(REGISTRY, console.event)
        seeds = [(node_id, slot) for node_id, node in graph.items() for slot in _seed_outputs(node)]
        start = time.perf_counter()
        results = runner.run(graph, outputs={node_id for node_id, _ in seeds})
        seconds = time.perf_counter() - start
    console.close()
    report: dict[str, Any] = {"workflow": options.workflow, "outputs": outputs_of(results, graph, host)}
    report |= {"seconds": round(seconds, 3), "executed": results.executed, "cached": results.cached}
    report["blocked"] = results.blocked
    report["seeds"] = [seed for node_id, slot in seeds for seed in _values(results, node_id, slot)]
    show(options, report, [str(output.get("path", output.get("text"))) for output in report["outputs"]])
    return OK


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
