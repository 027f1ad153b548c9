"""Checks which files a workflow would miss, with the functions that find them when it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...nodes import recipe
from ...nodes.comfy import use_host
from ...pipelines import stages
from ...pipelines.assets import needs
from ...pipelines.errors import MissingFile, UserError
from ...pipelines.host import Host, LocalHost
from ...pipelines.settings import AUTO, DEFAULT_VAE, MAX_LORAS, NO_FILE, PERFORMANCES
from ..engine.declarations import Registry
from ..engine.graph import ApiGraph, Node, is_link
from ..engine.validate import validate

Find = Callable[[Host, Mapping[str, Any], Path | None], object]


@dataclass(frozen=True)
class Readiness:
    """The problems of a workflow as sentences, and the (kind, name) of each file that it misses."""

    problems: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()


class SearchingHost:
    """A host that only finds files, each once, for workflows that are checked but not run.

    `lenient`: a missing file is recorded in `missing` and treated as found, so that all missing files are recorded.
    """

    def __init__(self, host: LocalHost, lenient: bool = False) -> None:
        self._host = host
        self._lenient = lenient
        self._names: dict[str, list[str]] = {}
        self._found: dict[tuple[str, str, Path | None], Path | MissingFile] = {}
        self.missing: dict[tuple[str, str], None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def names(self, kind: str) -> list[str]:
        if kind not in self._names:
            self._names[kind] = self._host.names(kind)
        return list(self._names[kind])

    def find(self, kind: str, name: str, home: Path | None = None) -> Path:
        key = (kind, name, home)
        if key not in self._found:
            try:
                self._found[key] = self._host.find(kind, name, home)
            except MissingFile as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, Path):
            return found
        if not self._lenient:
            raise found
        self.missing[kind, name] = None
        return Path(name)

    def notice(self, text: str) -> None:
        """Drop the notice: nothing runs."""


class Checker:
    """Checks workflows in one host."""

    def __init__(self, host: LocalHost, classes: Mapping[str, type[Any]]) -> None:
        self._registry = Registry(classes)
        self._strict, self._lenient = SearchingHost(host), SearchingHost(host, lenient=True)

    def check(self, graph: ApiGraph) -> Readiness:
        """Return what keeps the workflow from running; nothing if it can run."""
        problems = tuple(dict.fromkeys(self._problems(graph, self._strict)))
        if not problems:
            return Readiness()
        self._lenient.missing.clear()
        list(self._problems(graph, self._lenient))
        return Readiness(problems, tuple(self._lenient.missing))

    def _problems(self, graph: ApiGraph, host: SearchingHost) -> Iterator[str]:
        with use_host(host):
            recipes: dict[str, tuple[Any, ...]] = {}
            for node_id, node in graph.items():
                if node.get("class_type") in RECIPES:
                    try:
                        recipes[node_id] = self._recipe(node)
                    except UserError as error:
                        yield f"node {node_id} ({node['class_type']}): {error}"
            yield from self._problems_of(with_values(graph, recipes), recipes, host)

    def _recipe(self, node: Node) -> tuple[Any, ...]:
        """Run a node that chooses the settings of other nodes, and return its outputs."""
        outputs: tuple[Any, ...] = self._registry[node["class_type"]].cls().run(**_constants(node))
        return outputs

    def _problems_of(
        self, graph: ApiGraph, recipes: Mapping[str, tuple[Any, ...]], host: SearchingHost
    ) -> Iterator[str]:
        try:
            validate(graph, self._registry)
        except UserError as error:
            yield str(error)
        home = _home(graph, host)
        try:
            for lora in (lora for outputs in recipes.values() for lora in outputs[RECIPE_LORAS]):
                stages.load.find_lora(host, lora.name, home)
        except UserError as error:
            yield str(error)
        for node in graph.values():
            try:
                for find in FOUND_AT_RUN_TIME.get(str(node.get("class_type")), ()):
                    find(host, _constants(node), home)
            except (UserError, ImportError) as error:  # OpenCV may be missing
                yield str(error)


def with_values(graph: ApiGraph, outputs: Mapping[str, Sequence[Any]]) -> ApiGraph:
    """Return a graph whose links to known outputs are replaced by their values, where a workflow can hold these."""

    def value(given: Any) -> Any:
        if not is_link(given) or given[0] not in outputs or not 0 <= given[1] < len(outputs[given[0]]):
            return given
        known = outputs[given[0]][int(given[1])]
        return known if isinstance(known, str | int | float) else given

    def resolved(node: Node) -> Node:
        return {**node, "inputs": {name: value(given) for name, given in node.get("inputs", {}).items()}}

    return {node_id: resolved(node) for node_id, node in graph.items()}


def _constants(node: Node) -> dict[str, Any]:
    return {name: value for name, value in node.get("inputs", {}).items() if not is_link(value)}


def _home(graph: ApiGraph, host: Host) -> Path | None:
    """Return the models folder of the checkpoint, in which its other files are searched for first."""
    with suppress(UserError):
        return stages.load.home_of(_checkpoint(graph, host))
    return None


def _checkpoint(graph: ApiGraph, host: Host) -> Path:
    loaders = [node for node in graph.values() if node.get("class_type") == "FooocusLoadCheckpoint"]
    names = [node.get("inputs", {}).get("ckpt_name") for node in loaders]
    named = [name for name in names if isinstance(name, str)]
    if not named:
        raise MissingFile("the workflow loads no checkpoint")
    return stages.load.find_files(host, named[0], DEFAULT_VAE)[0]


def _find_vocabulary(host: Host, inputs: Mapping[str, Any], home: Path | None) -> None:
    if isinstance(name := inputs.get("ckpt_name"), str):
        path = stages.load.find_files(host, name, DEFAULT_VAE)[0]
        if path.is_file():
            host.keep(("vocabulary", path), lambda: needs.vocabulary(path))  # reading it takes 0.1 s


def _find_loras(host: Host, inputs: Mapping[str, Any], home: Path | None) -> None:
    slots = () if inputs.get("skip_missing") is True else ("lora_name", *(f"lora_{i}" for i in range(1, MAX_LORAS + 1)))
    names = [inputs.get(key) for key in slots]
    names.append(PERFORMANCES[mode].lora if (mode := str(inputs.get("performance"))) in PERFORMANCES else "")
    for name in names:
        if isinstance(name, str) and name not in ("", NO_FILE):
            stages.load.find_lora(host, name, home)


def _find_engine(host: Host, inputs: Mapping[str, Any], home: Path | None) -> None:
    if isinstance(engine := inputs.get("engine"), str) and engine != NO_FILE:
        stages.inpaint.find_engine(host, engine, home)


def _find_interposer(host: Host, inputs: Mapping[str, Any], home: Path | None) -> None:
    stages.refiner.find_interposer(host, home)  # the refiner of the bundled workflows is an SD 1.5 checkpoint


def _find_detector(host: Host, inputs: Mapping[str, Any], home: Path | None) -> None:
    if not inputs.get("landmarks"):
        stages.control.find_detector(host, str(inputs.get("detector_name") or AUTO))


RECIPES = ("FooocusPreset", "FooocusReadInfo")
"""The nodes that choose the files of other nodes. They are run, since they only read settings."""

RECIPE_LORAS = recipe.NAMES.index("loras")

FOUND_AT_RUN_TIME: Mapping[str, tuple[Find, ...]] = {
    "FooocusLoadCheckpoint": (_find_vocabulary,),
    "FooocusLora": (_find_loras,),
    "FooocusLoraStack": (_find_loras,),
    "FooocusPerformance": (_find_loras,),
    "FooocusInpaint": (_find_engine,),
    "FooocusInpaintModel": (_find_engine,),
    "FooocusRefinerSwitch": (_find_interposer,),
    "FooocusFaceCrop": (_find_detector,),
}
"""Searches for the files of each node class, which are found in the checkpoint's folder first."""
