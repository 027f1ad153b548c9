"""Rows of the database and the statements that read and write them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import quote

from .store import Act

FILES, INLINE = "/fal/files/", "/fal/inline/"


@dataclass(frozen=True)
class Options:
    """The caller's wishes that come in headers and in the query. Times are of the steady clock, in seconds.

    `webhook`: URL to post the result to. `start_by`: the latest time to start. `lifetime`: how long to keep results,
    None for the server's setting. `base`: address under which the caller reached the server.
    """

    webhook: str = ""
    start_by: float | None = None
    lifetime: float | None = None
    base: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Outcome:
    """The reply to a result call: status, JSON body, error type and further headers. `seconds`: running time."""

    status: int
    body: Mapping[str, Any]
    error_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def ok(self) -> bool:
        return self.status == 200


@dataclass(frozen=True)
class Accepted:
    """An accepted request. `number` counts the requests in the order of their acceptance; `body` is JSON.

    `attempts`: how often it was started. `cancelled`: its cancellation was requested while it ran.
    """

    id: str
    endpoint: str
    owner: str
    priority: int
    options: Options
    accepted: float
    number: int = 0
    attempts: int = 0
    cancelled: bool = False


@dataclass(frozen=True)
class StoredFile:
    """A file of the results or an upload; `token` is its unguessable name on the disk and in its URL.

    `kind`: "upload", "result", or "inline" for a result that is returned as a data URI and has no URL of its own.
    """

    token: str
    kind: str
    name: str
    media_type: str
    size: int
    expires: float
    request: str = ""
    complete: bool = True

    @property
    def url(self) -> str:
        """The path of the file on the server."""
        return f"{INLINE if self.kind == 'inline' else FILES}{self.token}/{quote(self.name)}"


@dataclass(frozen=True)
class Finished:
    """A request with its outcome and its log."""

    request: Accepted
    outcome: Outcome
    logs: Sequence[Mapping[str, str]]


COLUMNS = "number, id, endpoint, owner, priority, options, accepted, attempts, cancelled"


def insert(request: Accepted, body: bytes) -> Act[Accepted]:
    """Add a request; returns it with its number. Raises sqlite3.IntegrityError if its id exists."""

    def act(connection: sqlite3.Connection) -> Accepted:
        cursor = connection.execute(
            "INSERT INTO requests (id, endpoint, owner, priority, options, accepted, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                request.id,
                request.endpoint,
                request.owner,
                request.priority,
                json.dumps(asdict(request.options)),
                request.accepted,
                body,
            ),
        )
        return replace(request, number=int(cursor.lastrowid or 0))

    return act


def unfinished(connection: sqlite3.Connection) -> list[Accepted]:
    """Return the unfinished requests in the order of their acceptance."""
    rows = connection.execute(f"SELECT {COLUMNS} FROM requests WHERE finished IS NULL ORDER BY number")
    return [_accepted(row) for row in rows]


def body_of(id: str) -> Act[bytes]:
    """Return the JSON body of a request; b"" for an unknown one."""

    def act(connection: sqlite3.Connection) -> bytes:
        row = connection.execute("SELECT body FROM requests WHERE id = ?", (id,)).fetchone()
        return bytes(row["body"]) if row is not None else b""

    return act


def begin(id: str) -> Act[None]:
    """Count a start of a request."""
    return _update("UPDATE requests SET attempts = attempts + 1 WHERE id = ?", (id,))


def request_cancel(id: str) -> Act[None]:
    """Record that a running request is to be cancelled, so that it isn't run again after a restart."""
    return _update("UPDATE requests SET cancelled = 1 WHERE id = ? AND finished IS NULL", (id,))


def finish(
    request: Accepted,
    outcome: Outcome,
    logs: Sequence[Mapping[str, str]],
    files: Sequence[StoredFile],
    now: float,
    expires: float,
) -> Act[bool]:
    """Commit the outcome of a request, its files and its webhook delivery, once; False if it was finished before."""

    def act(connection: sqlite3.Connection) -> bool:
        cursor = connection.execute(
            "UPDATE requests SET finished = ?, expires = ?, status = ?, error_type = ?, headers = ?, result = ?, "
            "logs = ?, seconds = ? WHERE id = ? AND finished IS NULL",
            (
                now,
                expires,
                outcome.status,
                outcome.error_type,
                json.dumps(dict(outcome.headers)),
                json.dumps(outcome.body).encode(),
                json.dumps(logs).encode(),
                outcome.seconds,
                request.id,
            ),
        )
        if cursor.rowcount == 0:
            return False
        for file in files:
            add_file(file)(connection)
        if request.options.webhook:
            connection.execute(
                "INSERT OR IGNORE INTO deliveries (request, url, next) VALUES (?, ?, ?)",
                (request.id, request.options.webhook, now),
            )
        return True

    return act


def finished(id: str) -> Act[Finished | None]:
    """Return a finished request, None for one that isn't known or not finished."""

    def act(connection: sqlite3.Connection) -> Finished | None:
        row = connection.execute(
            f"SELECT {COLUMNS}, status, error_type, headers, result, logs, seconds FROM requests "
            "WHERE id = ? AND finished IS NOT NULL",
            (id,),
        ).fetchone()
        if row is None:
            return None
        outcome = Outcome(
            row["status"], json.loads(row["result"]), row["error_type"], json.loads(row["headers"]), row["seconds"]
        )
        return Finished(_accepted(row), outcome, json.loads(row["logs"]))

    return act


def recent(owner: str | None, count: int) -> Act[list[dict[str, Any]]]:
    """Return the latest finished requests, newest first; `owner` None for those of all keys."""

    def act(connection: sqlite3.Connection) -> list[dict[str, Any]]:
        rows = connection.execute(
            "SELECT id, endpoint, accepted, finished, status, error_type, seconds FROM requests "
            "WHERE finished IS NOT NULL AND (? IS NULL OR owner = ?) ORDER BY number DESC LIMIT ?",
            (owner, owner, count),
        )
        return [dict(row) for row in rows]

    return act


def add_file(file: StoredFile) -> Act[None]:
    """Add a file, or replace the row of the same token."""
    return _update(
        "INSERT OR REPLACE INTO files (token, kind, request, name, media_type, size, complete, expires) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (file.token, file.kind, file.request, file.name, file.media_type, file.size, file.complete, file.expires),
    )


def file_of(token: str) -> Act[StoredFile | None]:
    """Return the file with a token."""

    def act(connection: sqlite3.Connection) -> StoredFile | None:
        row = connection.execute("SELECT * FROM files WHERE token = ?", (token,)).fetchone()
        return _file(row) if row is not None else None

    return act


def expired(now: float) -> Act[list[StoredFile]]:
    """Delete the requests and files whose time is over; returns the files, to be deleted from the disk."""

    def act(connection: sqlite3.Connection) -> list[StoredFile]:
        files = [_file(row) for row in connection.execute("SELECT * FROM files WHERE expires <= ?", (now,))]
        connection.execute("DELETE FROM files WHERE expires <= ?", (now,))
        connection.execute(
            "DELETE FROM requests WHERE expires <= ? AND id NOT IN (SELECT request FROM deliveries)", (now,)
        )
        connection.execute("INSERT OR REPLACE INTO facts VALUES ('clock', ?)", (now,))
        return files

    return act


def tokens(connection: sqlite3.Connection) -> set[str]:
    """Return the tokens of all files."""
    return {row["token"] for row in connection.execute("SELECT token FROM files")}


def latest_time(connection: sqlite3.Connection) -> float:
    """Return the latest time that an earlier process recorded; 0 in a new database."""
    row = connection.execute(
        "SELECT MAX(IFNULL((SELECT value FROM facts WHERE name = 'clock'), 0), "
        "IFNULL((SELECT accepted FROM requests ORDER BY number DESC LIMIT 1), 0)) AS latest"
    ).fetchone()
    return float(row["latest"])


@dataclass(frozen=True)
class Delivery:
    """A webhook call to be made: `attempts` have failed, the next is due at `next`."""

    request: str
    url: str
    attempts: int
    next: float


def deliveries(connection: sqlite3.Connection) -> list[Delivery]:
    """Return all webhook calls to be made."""
    rows = connection.execute("SELECT request, url, attempts, next FROM deliveries ORDER BY next")
    return [Delivery(**dict(row)) for row in rows]


def postpone(request: str, attempts: int, next: float) -> Act[None]:
    """Record that a webhook call failed."""
    return _update("UPDATE deliveries SET attempts = ?, next = ? WHERE request = ?", (attempts, next, request))


def delivered(request: str) -> Act[None]:
    """Record that a webhook call succeeded or was given up."""
    return _update("DELETE FROM deliveries WHERE request = ?", (request,))


def _update(statement: str, values: tuple[Any, ...]) -> Act[None]:
    def act(connection: sqlite3.Connection) -> None:
        connection.execute(statement, values)

    return act


def _accepted(row: sqlite3.Row) -> Accepted:
    return Accepted(
        row["id"],
        row["endpoint"],
        row["owner"],
        row["priority"],
        Options(**json.loads(row["options"])),
        row["accepted"],
        row["number"],
        row["attempts"],
        bool(row["cancelled"]),
    )


def _file(row: sqlite3.Row) -> StoredFile:
    return StoredFile(
        row["token"],
        row["kind"],
        row["name"],
        row["media_type"],
        row["size"],
        row["expires"],
        row["request"],
        bool(row["complete"]),
    )
