"""The command fooocus-stages: run workflows, compose prompts, list workflows and nodes."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .. import __version__
from ..nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from ..nodes.comfy import use_host
from ..nodes.headless import HEADLESS_NODES
from ..pipelines import stages
from ..pipelines.errors import BadValue, Interrupted, MissingFile, UserError
from ..pipelines.host import POCKET, LocalHost, files_of, find_file
from .console import Console
from .declarations import Registry
from .overrides import set_everywhere, set_input
from .results import NodeError, Results
from .runner import Runner
from .workflow_files import bundled, read_workflow

OK, FAILED, REFUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
MODELS_VARIABLE = "FOOOCUS_STAGES_MODELS"
REGISTRY: dict[str, type[Any]] = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}


class Terminated(BaseException):
    """The process was asked to end."""


class FoldersHost(LocalHost):
    """A local host that looks into further folders of single kinds first."""

    def __init__(self, first: Mapping[str, Path], **settings: Any) -> None:
        super().__init__(**settings)
        self._first = first

    def names(self, kind: str) -> list[str]:
        own = files_of(kind, self._first[kind]) if kind in self._first else []
        return list(dict.fromkeys([*own, *super().names(kind)]))

    def find(self, kind: str, name: str, home: Path | None = None) -> Path:
        if kind in self._first and name in files_of(kind, self._first[kind]):
            return find_file(kind, name, [self._first[kind]])
        return super().find(kind, name, home)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 a node failed, 2 the user can mend it, 130 Ctrl-C."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    console = Console()
    try:
        return int(options.act(options, console))
    except KeyboardInterrupt:
        return _ended(console, "interrupted", INTERRUPTED)
    except Interrupted:
        return _ended(console, "interrupted", INTERRUPTED)
    except Terminated:
        return _ended(console, "terminated", TERMINATED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (UserError, NodeError) as error:
        return _told(options, console, error)


def parser() -> argparse.ArgumentParser:
    """The command line's words."""
    top = argparse.ArgumentParser(prog="fooocus-stages", description="Fooocus, one stage at a time, without ComfyUI.")
    top.add_argument("--version", action="version", version=f"fooocus-stages {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = _command(commands, "run", run_workflow, "run a workflow file or a bundled workflow")
    run.add_argument("workflow", metavar="WORKFLOW", help="a file in API format, or the name of a bundled workflow")
    run.add_argument("--set", metavar="NODE.input=value", action="append", default=[], help="NODE: id, class or title")
    run.add_argument("--seed", type=int, help="set the seed of the pictures")
    run.add_argument("-n", "--num-images", type=int, metavar="N", help="set the number of pictures")
    run.add_argument("-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    run.add_argument("--input-dir", type=Path, default=Path(), metavar="DIR", help="where LoadImage looks; default: .")
    run.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: the best there is")
    _host_options(run)

    compose = _command(commands, "prompt", compose_prompt, "compose the texts of a prompt, without a model")
    compose.add_argument("text", nargs="+", metavar="TEXT", help="the prompt; further TEXTs are its further lines")
    compose.add_argument("--negative", default="", help="what to avoid")
    compose.add_argument("--styles", default="", metavar="A,B", help="names of styles, separated by commas")
    compose.add_argument("--seed", type=int, default=0)
    compose.add_argument("-n", "--num-images", type=int, default=1, metavar="N")
    compose.add_argument("--in-order", action="store_true", help="take wildcard lines in order, not by chance")
    _host_options(compose)

    workflows = _command(commands, "workflows", list_workflows, "list the bundled workflows")
    workflows.add_argument(
        "--write",
        type=Path,
        metavar="DIR",
        help="write workflow files, help pages and the table of nodes anew, for developers",
    )
    _command(commands, "nodes", list_nodes, "list the nodes")
    return top


def _command(
    commands: Any, name: str, act: Callable[[argparse.Namespace, Console], int], help: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
    command.add_argument("--json", action="store_true", help="print one JSON object or list on stdout")
    command.add_argument("--debug", action="store_true", help="show where an error comes from")
    command.set_defaults(act=act)
    return command


def _host_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--models",
        action="append",
        metavar="pocket|DIR",
        help="a models folder, or a ComfyUI or Fooocus folder; pocket: the small model of this pack; can be given "
        f"several times (default: ${MODELS_VARIABLE}, else ./models)",
    )
    command.add_argument("--styles-dir", type=Path, metavar="DIR", help="style files to look at first")
    command.add_argument("--wildcards-dir", type=Path, metavar="DIR", help="wildcard files to look at first")


def run_workflow(options: argparse.Namespace, console: Console) -> int:
    """`run`: the workflow with its settings, in a host of the options' folders."""
    graph = read_workflow(options.workflow)
    host = _host(options, console)
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
    _print(options, report, [str(output.get("path", output.get("text"))) for output in report["outputs"]])
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


def compose_prompt(options: argparse.Namespace, console: Console) -> int:
    """`prompt`: the texts of each picture."""
    prompts, loras = stages.prompt.compose_with(
        _host(options, console),
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
    _print(options, {"prompts": [asdict(p) for p in prompts], "loras": [asdict(lora) for lora in loras]}, lines)
    return OK


def list_workflows(options: argparse.Namespace, console: Console) -> int:
    """`workflows`: name and description of each that is bundled."""
    if options.write is not None:
        from . import pages, templates

        root = options.write
        for path in [
            *templates.write(root / "workflows", NODE_CLASS_MAPPINGS, __version__),
            *pages.write(root, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS),
        ]:
            print(path)
        return OK
    listed = bundled()
    width = max((len(about.name) for about in listed), default=0)
    _print(options, [asdict(about) for about in listed], [f"{a.name:{width}}  {a.description}" for a in listed])
    return OK


def list_nodes(options: argparse.Namespace, console: Console) -> int:
    """`nodes`: id, title, menu place and description of each."""
    rows = [
        {
            "id": name,
            "title": NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
            "category": node.CATEGORY,
            "description": node.DESCRIPTION,
        }
        for name, node in REGISTRY.items()
    ]
    columns = ("id", "title", "category")
    widths = [max(len(row[column]) for row in rows) for column in columns]
    lines = [
        "  ".join([*(f"{row[c]:{w}}" for c, w in zip(columns, widths, strict=True)), row["description"]])
        for row in rows
    ]
    _print(options, rows, lines)
    return OK


def _host(options: argparse.Namespace, console: Console) -> FoldersHost:
    given = options.models or list(filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))
    first = {"styles": options.styles_dir, "wildcards": options.wildcards_dir}
    models = [POCKET if name == "pocket" else Path(name) for name in given]
    for folder in [*models, *filter(None, first.values())]:
        if not folder.is_dir():
            raise MissingFile(f"folder {folder} is not there; name one that is")
    settings: dict[str, Any] = {"models": models or [Path("models")], "on_progress": console.progress}
    if "workflow" in options:
        settings |= {"output": options.output, "input": options.input_dir, "device": options.device}
        _check_device(options.device)
    return FoldersHost({k: f for k, f in first.items() if f}, on_notice=console.notice, **settings)


def _check_device(device: str | None) -> None:
    if device is not None and device.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise BadValue(f"--device {device!r} is not a device; choose cpu, cuda, cuda:0 and so on, or mps")


def _seed_outputs(node: Mapping[str, Any]) -> list[int]:
    cls = REGISTRY.get(str(node.get("class_type"))) if isinstance(node, Mapping) else None
    return [slot for slot, name in enumerate(getattr(cls, "RETURN_NAMES", ())) if name == "seed"]


def _values(results: Results, node_id: str, slot: int) -> list[Any]:
    return results.outputs[node_id][slot] if node_id in results.outputs else []


def _print(options: argparse.Namespace, data: Any, lines: Sequence[str]) -> None:
    if options.json:
        lines = [json.dumps(data, indent=1, ensure_ascii=False, default=str)]
    for line in lines:
        print(line)
    sys.stdout.flush()


def _told(options: argparse.Namespace, console: Console, error: Exception) -> int:
    """Tell an error in one line, as JSON too where that is asked for; returns the exit code."""
    console.close()
    if options.debug:
        traceback.print_exception(error)
    if options.json:
        print(json.dumps({"error": str(error)}, ensure_ascii=False), flush=True)
    print(f"error: {error}", file=sys.stderr)
    return REFUSED if isinstance(error, UserError) else FAILED


def _ended(console: Console, word: str, code: int) -> int:
    console.close()
    print(word, file=sys.stderr)
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
