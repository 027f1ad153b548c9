"""Jobs for workers, the events that a job causes, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Graph = dict[str, dict[str, Any]]
FailureKind = Literal["user", "node", "timeout", "memory", "crash"]
WorkerState = Literal["starting", "idle", "busy", "broken", "closed"]
Level = Literal["info", "warning"]


@dataclass(frozen=True)
class Job:
    """A graph in API form to run once. `id` is unique among the unfinished jobs of a pool.

    `files`: local files by the name that the graph carries; model files (.safetensors and so on) are found as LoRAs
    under that name, all others as input images. `seconds`: limit of the running time, None for no limit. Jobs of a
    higher `priority` run first, those of equal priority in the order of submission. `outputs`: names of node outputs
    whose values the result shall hold. `previews`: send previews of the unfinished image.
    """

    id: str
    graph: Graph
    files: Mapping[str, Path] = field(default_factory=dict)
    seconds: float | None = None
    priority: int = 0
    outputs: tuple[str, ...] = ("seed",)
    previews: bool = False


@dataclass(frozen=True)
class ResultFile:
    """A file that a node saved. `width` and `height` are 0 for a file that is no image.

    `temporary` is True for a file that a preview node wrote.
    """

    name: str
    media_type: str
    data: bytes = field(repr=False)
    width: int
    height: int
    node: str
    temporary: bool = False


@dataclass(frozen=True)
class JobResult:
    """The result of a job that is done.

    `files`: in the order in which the nodes saved them. `ui`: UI values by node, as the nodes returned them. `outputs`:
    the values of the requested outputs, by node and by name of the output; only numbers, texts and truth values.
    `seconds`: "total", and the time of each node by its id. `notices`: what the user must be told.
    """

    files: tuple[ResultFile, ...]
    ui: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Started:
    """A worker has begun the job."""

    job: str
    worker: str


@dataclass(frozen=True)
class Progress:
    """`value` of `total` steps of a node are done."""

    job: str
    value: int
    total: int
    node: str


@dataclass(frozen=True)
class Preview:
    """A preview of the unfinished image."""

    job: str
    image: bytes = field(repr=False)
    media_type: str = "image/jpeg"


@dataclass(frozen=True)
class Log:
    """A message about the job: a notice ("warning"), or a node that starts ("info"). `time`: seconds since 1970."""

    job: str
    level: Level
    message: str
    time: float


@dataclass(frozen=True)
class Done:
    """The job is done. One of Done, Failed, Lost and Cancelled is the last event of every job."""

    job: str
    result: JobResult


@dataclass(frozen=True)
class Failed:
    """The job has failed; to run it again unchanged makes no sense, except for "memory" and "crash".

    "user": an error that the user can fix. "node": any other error of a node. "timeout": longer than its limit.
    "memory": out of memory. "crash": no worker can be started.
    """

    job: str
    reason: str
    kind: FailureKind


@dataclass(frozen=True)
class Lost:
    """The worker ended before the job did; the job may be submitted again."""

    job: str
    worker: str
    reason: str


@dataclass(frozen=True)
class Cancelled:
    """The job was cancelled, before or while it ran."""

    job: str


Event = Started | Progress | Preview | Log | Done | Failed | Lost | Cancelled
Ending = Done | Failed | Lost | Cancelled


@dataclass(frozen=True)
class WorkerInfo:
    """A worker: its process, and the versions of the pack, Python and libraries that it reported when it started.

    `job`: the job that it runs, if any. `reason`: why it is broken.
    """

    name: str
    device: str
    state: WorkerState
    pid: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    job: str | None = None
    reason: str = ""
