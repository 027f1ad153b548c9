"""Frames on a pipe: a JSON message with blocks of bytes; and jobs and events as messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from .types import Cancelled, Done, Event, Failed, Job, JobResult, Log, Lost, Preview, Progress, ResultFile, Started

HEADER = struct.Struct(">I")
EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind for kind in (Started, Progress, Preview, Log, Done, Failed, Lost, Cancelled)
}


class Frame(NamedTuple):
    """A message with its kind, and the blocks of bytes that go with it."""

    kind: str
    message: Mapping[str, Any] = MappingProxyType({})
    blocks: Sequence[bytes] = ()


def write_frame(stream: IO[bytes], frame: Frame) -> None:
    """Write a frame and flush. Values that JSON does not have are written as text. Raises OSError, ValueError."""
    sizes = [len(block) for block in frame.blocks]
    head = json.dumps([frame.kind, sizes, dict(frame.message)], default=str).encode()
    stream.write(HEADER.pack(len(head)) + head)
    for block in frame.blocks:
        stream.write(block)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Frame | None:
    """Read a frame; None at the end of the stream, also inside a frame whose writer has ended."""
    size = stream.read(HEADER.size)
    if len(size) < HEADER.size:
        return None
    (length,) = HEADER.unpack(size)
    head = stream.read(length)
    if len(head) < length:
        return None
    kind, sizes, message = json.loads(head)
    blocks = [stream.read(size) for size in sizes]
    if any(len(block) < size for block, size in zip(blocks, sizes, strict=True)):
        return None
    return Frame(kind, message, blocks)


def frame_of_job(job: Job) -> Frame:
    """Return a job as a frame of the kind "job"; files are named by absolute paths."""
    message = {field.name: getattr(job, field.name) for field in fields(job)}
    return Frame("job", {**message, "files": {name: str(path.absolute()) for name, path in job.files.items()}})


def job_of(frame: Frame) -> Job:
    """Return the job of a frame."""
    message = dict(frame.message)
    files = {name: Path(path) for name, path in message.pop("files").items()}
    return Job(**{**message, "outputs": tuple(message["outputs"])}, files=files)


def frame_of_event(event: Event) -> Frame:
    """Return an event as a frame whose kind is the name of its class."""
    kind = type(event).__name__
    if isinstance(event, Done):
        blocks = [file.data for file in event.result.files]
        result = replace(event.result, files=tuple(replace(file, data=b"") for file in event.result.files))
        message = {field.name: getattr(result, field.name) for field in fields(result)}
        return Frame(kind, {"job": event.job, **message, "files": [_plain(file) for file in result.files]}, blocks)
    if isinstance(event, Preview):
        return Frame(kind, {"job": event.job, "media_type": event.media_type}, [event.image])
    return Frame(kind, {field.name: getattr(event, field.name) for field in fields(event)})


def event_of(frame: Frame) -> Event:
    """Return the event of a frame. Raises KeyError for a frame of another kind."""
    message = dict(frame.message)
    kind = EVENTS[frame.kind]
    if kind is Done:
        pairs = zip(message.pop("files"), frame.blocks, strict=True)
        files = tuple(ResultFile(**file, data=block) for file, block in pairs)
        notices = tuple(message.pop("notices"))
        return Done(message.pop("job"), JobResult(files, notices=notices, **message))
    if kind is Preview:
        return Preview(image=frame.blocks[0], **message)
    return kind(**message)


def _plain(file: ResultFile) -> dict[str, Any]:
    return {field.name: getattr(file, field.name) for field in fields(file) if field.name != "data"}
