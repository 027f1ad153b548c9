"""The manifest of a batch: every request, its state and its one committed result, in SQLite."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...pipelines.errors import BadFile, MissingFile, UserError
from ...pipelines.files import ANOTHER_FOLDER, saving
from ..pool.types import JobResult, ResultFile
from .lines import Request

NAME = "manifest.sqlite"
VERSION = 1
BUSY_SECONDS = 30
FLAGS = "nsfw"  # the output of the safety check: a truth value for each image
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
TABLE = """
create table if not exists requests (
    id text primary key,
    line integer not null,
    digest text not null,
    state text not null default 'waiting' check (state in ('waiting', 'done', 'failed')),
    lost integer not null default 0,
    reason text not null default '',
    kind text not null default '',
    files text not null default '[]',
    outputs text not null default '{}',
    notices text not null default '[]',
    seconds real,
    finished real
)
"""
State = Literal["waiting", "done", "failed"]


@dataclass(frozen=True)
class Counts:
    """Requests of a batch by state, and the files that the finished ones saved."""

    total: int
    done: int
    failed: int
    pictures: int

    @property
    def waiting(self) -> int:
        return self.total - self.done - self.failed


@dataclass(frozen=True)
class Failure:
    """A request that failed, and why."""

    id: str
    kind: str
    reason: str


class Manifest:
    """The manifest in a folder. Used by one thread; other processes may read it meanwhile.

    A result is committed in three steps: files under temporary names, renamed, then the row. What an interruption
    leaves before the last step is removed by `clean`, so that a request has one result or none.
    """

    def __init__(self, folder: Path, must_exist: bool = False) -> None:
        self.folder = folder
        if must_exist and not (folder / NAME).is_file():
            raise MissingFile(f"{folder} holds no batch ({NAME} is missing); name the folder given with -o")
        with saving(folder, "the manifest"):
            folder.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self._base = sqlite3.connect(folder / NAME, timeout=BUSY_SECONDS, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            found = self._base.execute("pragma user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise BadFile(f"{folder / NAME} is of version {found}, expected {VERSION}; {ANOTHER_FOLDER}")
            self._base.execute("pragma journal_mode = wal")
            self._base.execute("pragma synchronous = full")
            self._base.execute(TABLE)
            self._base.execute(f"pragma user_version = {VERSION}")

    def close(self) -> None:
        self._base.close()

    def problems(self, requests: Sequence[Request]) -> list[str]:
        """Return why requests can't be added: an id that stood for another request, or whose file name is taken."""
        known = {row["id"]: row["digest"] for row in self._rows("select id, digest from requests")}
        existing = {_id_of(path) for path in self.folder.iterdir()} - {row.casefold() for row in known}
        found = []
        for request in requests:
            where = f"line {request.line}: id {request.id!r}"
            if request.id in known:
                if known[request.id] != request.digest:
                    found.append(f"{where} was another request when this batch began; choose another id or folder")
            elif request.id.casefold() in existing:
                found.append(f"{where} would overwrite a file in {self.folder}; choose another id or folder")
        return found

    def add(self, requests: Sequence[Request]) -> None:
        """Add the requests that are not in the manifest yet."""
        rows = [(request.id, request.line, request.digest) for request in requests]
        with self._errors(), self._transaction():
            self._base.executemany("insert or ignore into requests (id, line, digest) values (?, ?, ?)", rows)

    def waiting(self) -> list[str]:
        """Return the ids of the requests without an end, in the order of the file."""
        return [row["id"] for row in self._rows("select id from requests where state = 'waiting' order by line, id")]

    def wait_again(self) -> None:
        """Let failed requests run once more."""
        with self._errors():
            self._base.execute(
                "update requests set state = 'waiting', lost = 0, reason = '', kind = '' where state = 'failed'"
            )

    def clean(self) -> None:
        """Remove what an interrupted run has left: temporary files, and files of requests that are not committed."""
        waiting = {name.casefold() for name in self.waiting()}
        with saving(self.folder, "a result"):
            for path in self.folder.iterdir():
                is_temporary = path.suffix == ".tmp" and path.name.startswith(".")
                is_result = path.suffix.lower() in PICTURES and _id_of(path) in waiting
                if path.is_file() and (is_temporary or is_result):
                    path.unlink(missing_ok=True)

    def lost(self, id: str) -> int:
        """Count that a worker ended with this request, and return how many have."""
        with self._errors(), self._transaction():
            self._base.execute("update requests set lost = lost + 1 where id = ?", [id])
            return int(self._base.execute("select lost from requests where id = ?", [id]).fetchone()[0])

    def fail(self, id: str, kind: str, reason: str) -> None:
        """Commit that a request has failed."""
        with self._errors():
            self._base.execute(
                "update requests set state = 'failed', kind = ?, reason = ?, finished = ? where id = ?",
                [kind, reason, time.time(), id],
            )

    def commit(self, id: str, result: JobResult) -> list[str]:
        """Write the files of a result, commit it, and return the names of the files. Raises UserError for the disk."""
        from ...pipelines.files import new_file

        kept = [file for file in result.files if not file.temporary] or list(result.files)
        names = file_names(id, kept)
        for name, file in zip(names, kept, strict=True):
            with new_file(self.folder, f"the result of {id!r}") as new:
                new.write(file.data)
                new.keep([name])
        values = [
            json.dumps(names), json.dumps(result.outputs), json.dumps(result.notices),
            result.seconds.get("total"), time.time(), id,
        ]  # fmt: skip
        with self._errors():
            self._base.execute(
                "update requests set state = 'done', files = ?, outputs = ?, notices = ?, seconds = ?, finished = ? "
                "where id = ? and state = 'waiting'",
                values,
            )
        return names

    def counts(self) -> Counts:
        """Return how many requests there are in each state."""
        rows = {row["state"]: row for row in self._rows(
            "select state, count(*) as n, sum(json_array_length(files)) as files from requests group by state"
        )}  # fmt: skip
        number = {state: rows[state]["n"] if state in rows else 0 for state in ("waiting", "done", "failed")}
        pictures = rows["done"]["files"] or 0 if "done" in rows else 0
        return Counts(sum(number.values()), number["done"], number["failed"], pictures)

    def failures(self) -> list[Failure]:
        """Return the failed requests, in the order of the file."""
        rows = self._rows("select id, kind, reason from requests where state = 'failed' order by line, id")
        return [Failure(row["id"], row["kind"], row["reason"]) for row in rows]

    def results(self) -> list[tuple[str, list[str]]]:
        """Return the id and the files of each request that is done, in the order of the file."""
        rows = self._rows("select id, files from requests where state = 'done' order by line, id")
        return [(row["id"], json.loads(row["files"])) for row in rows]

    def flagged(self) -> list[str]:
        """Return the files of the images that the safety checker flagged, in the order of the requests."""
        rows = self._rows("select files, outputs from requests where state = 'done' order by line, id")
        return [
            name
            for row in rows
            for values in json.loads(row["outputs"]).values()
            if len(flags := values.get(FLAGS, ())) == len(files := json.loads(row["files"]))
            for name, flag in zip(files, flags, strict=True)
            if flag is True
        ]

    def outputs_of(self, id: str) -> Mapping[str, Any]:
        """Return the values of the requested outputs of a request, such as its seeds, by node and name."""
        rows = self._rows("select outputs from requests where id = ?", [id])
        return json.loads(rows[0]["outputs"]) if rows else {}

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._errors():
            return self._base.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("begin immediate")
        try:
            yield
        except BaseException:
            if self._base.in_transaction:  # a full disk has ended it
                self._base.execute("rollback")
            raise
        self._base.execute("commit")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise UserError for an error of the database: a full disk, another program's lock, or damage."""
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(
                f"the manifest {self.folder / NAME} can't be used: {error}; make room on that disk if it is full, or "
                "restore the file, and run the same command again"
            ) from error


def file_names(id: str, files: Sequence[ResultFile]) -> list[str]:
    """Return the names of a request's result files: the id, and from the second file on a number."""
    suffixes = [Path(file.name).suffix.lower() for file in files]
    return [f"{id}{'' if number == 1 else f'~{number}'}{suffix}" for number, suffix in enumerate(suffixes, start=1)]


def _id_of(path: Path) -> str:
    """Return the id of the request that a result file would belong to, in lower case."""
    return path.stem.partition("~")[0].casefold()
