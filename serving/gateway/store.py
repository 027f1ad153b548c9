"""The database: accepted requests, their results, files and webhook deliveries, in one SQLite file.

All writes go through one thread, which puts everything that waits into one transaction. A write is done when its
transaction is on disk (`synchronous=FULL`).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ...pipelines.errors import BadFile

T = TypeVar("T")
Act = Callable[[sqlite3.Connection], T]
MOST_TOGETHER = 500
VERSION = 1
SCHEMA = """
CREATE TABLE requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    endpoint TEXT NOT NULL,
    owner TEXT NOT NULL,
    priority INTEGER NOT NULL,
    body BLOB,
    options TEXT NOT NULL,
    accepted REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    finished REAL,
    expires REAL,
    status INTEGER,
    error_type TEXT NOT NULL DEFAULT '',
    headers TEXT NOT NULL DEFAULT '{}',
    result BLOB,
    logs BLOB,
    seconds REAL
);
CREATE INDEX unfinished ON requests (number) WHERE finished IS NULL;
CREATE INDEX expiring ON requests (expires) WHERE expires IS NOT NULL;
CREATE TABLE files (
    token TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    request TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    expires REAL NOT NULL
);
CREATE INDEX expiring_files ON files (expires);
CREATE TABLE deliveries (
    request TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next REAL NOT NULL
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value);
"""


class StoreError(Exception):
    """A write that did not reach the disk; `reason` is "full", "locked" or "failed"."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Store:
    """The database file at `path`. `patience`: seconds to wait for a lock that another process holds.

    Raises BadFile if the file is no database of this version.
    """

    def __init__(self, path: Path, patience: float = 5.0) -> None:
        self._path, self._patience = path, patience
        self._writes: queue.SimpleQueue[tuple[Act[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._prepare()
        self._reader = ThreadPoolExecutor(1, "store-reader")
        self._reading: sqlite3.Connection | None = None
        self._writer = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._writer.start()

    async def write(self, act: Act[T]) -> T:
        """Run `act` in a transaction and return its value when that is on disk.

        Raises StoreError, or the error that `act` raised; then nothing of this act is kept. A write that has begun when
        its caller is cancelled is finished all the same.
        """
        future: Future[T] = Future()
        self._writes.put((act, future))
        return await asyncio.wrap_future(future)

    async def read(self, act: Act[T]) -> T:
        """Run `act`, which only reads. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, act)

    def read_now(self, act: Act[T]) -> T:
        """Run `act`, which only reads, and wait for it. Raises StoreError."""
        return self._reader.submit(self._read, act).result()

    def close(self) -> None:
        """Finish what waits, and close the file."""
        self._writes.put(None)
        self._writer.join()
        self._reader.shutdown()
        if self._reading is not None:
            self._reading.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _prepare(self) -> None:
        try:
            with contextlib.closing(self._connect()) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
                elif version != VERSION:
                    raise BadFile(
                        f"database {self._path} is of version {version}, this program reads version {VERSION}; "
                        "choose another state folder"
                    )
        except sqlite3.Error as error:
            raise BadFile(
                f"database {self._path} cannot be opened: {error}; choose another state folder, or free the file"
            ) from error

    def _read(self, act: Act[T]) -> T:
        try:
            self._reading = self._reading or self._connect()
            return act(self._reading)
        except sqlite3.Error as error:
            raise _store_error(error) from error

    def _write_all(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            going = True
            while going:
                batch = [self._writes.get()]
                with contextlib.suppress(queue.Empty):
                    while len(batch) < MOST_TOGETHER:
                        batch.append(self._writes.get_nowait())
                going = None not in batch
                _commit(connection, [one for one in batch if one is not None and one[1].set_running_or_notify_cancel()])


def _commit(connection: sqlite3.Connection, batch: list[tuple[Act[Any], Future[Any]]]) -> None:
    """Commit all acts together, or each by itself where the whole does not reach the disk."""
    try:
        values = _transaction(connection, [act for act, _ in batch])
    except sqlite3.Error as error:
        if len(batch) > 1 and _store_error(error).reason == "full":
            for one in batch:
                _commit(connection, [one])
            return
        values = [_store_error(error)] * len(batch)
    for (_, future), value in zip(batch, values, strict=True):
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)


def _transaction(connection: sqlite3.Connection, acts: list[Act[Any]]) -> list[Any]:
    """Return each act's value or error; errors of one act leave the others' changes in place."""
    values: list[Any] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for act in acts:
            connection.execute("SAVEPOINT act")
            try:
                values.append(act(connection))
            except Exception as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                connection.execute("ROLLBACK TO act")
                values.append(error)
            connection.execute("RELEASE act")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return values


def _store_error(error: sqlite3.Error) -> StoreError:
    text = str(error)
    reason = "full" if "full" in text else "locked" if "locked" in text or "busy" in text else "failed"
    return StoreError(reason, f"the database does not accept writes: {text}")
