"""API keys: stored as hashes, several for a name, revocable while the server runs, and limited in their rate."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ....pipelines.errors import BadFile, BadValue, UnknownName
from ..ports import TooManyRequests

FILE = "keys.sqlite"
PER_MINUTE = 6000  # the Python client asks for the state of a request ten times a second
LONGEST_NAME = 64
NO_HASH = bytes(hashlib.sha256().digest_size)
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL, "
    "created REAL NOT NULL, revoked REAL, per_minute INTEGER NOT NULL)"
)


@dataclass(frozen=True)
class Key:
    """A key without its secret. `revoked` and `created` are seconds since 1970; `per_minute` requests are allowed."""

    id: str
    name: str
    created: float
    revoked: float | None
    per_minute: int


class KeyStore:
    """The keys in an SQLite file, which is made at the first use and readable by its user alone.

    A key is `id:secret`. Only the SHA-256 of the secret is stored: with 256 random bits in it there is nothing that a
    slower hash would protect. Changes by another process count from the next request on. Raises BadFile.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        previous = os.umask(0o077)
        try:
            self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
            self._connection.execute(SCHEMA)
        except sqlite3.Error as error:
            raise BadFile(f"{path} can't be opened as the file of the API keys: {error}") from error
        finally:
            os.umask(previous)
        self._clock = clock
        self._version = -1
        self._known: dict[str, tuple[Key, bytes]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}

    def add(self, name: str, per_minute: int = PER_MINUTE) -> str:
        """Make a key and return it; it can't be shown again. Raises BadValue."""
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise BadValue(f"a key needs a name of 1 to {LONGEST_NAME} printable characters, got {name!r}")
        if per_minute < 1:
            raise BadValue(f"a key needs at least 1 request a minute, got {per_minute}")
        id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        values = (id, name, _hash(secret), time.time(), per_minute)
        self._connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, NULL, ?)", values)
        self._version = -1
        return f"{id}:{secret}"

    def list(self) -> tuple[Key, ...]:
        """Return all keys, oldest first."""
        return tuple(key for key, _ in self._read().values())

    def revoke(self, which: str) -> int:
        """Revoke the key with that id, or all keys with that name, and return how many. Raises UnknownName."""
        valid = [key for key in self.list() if key.revoked is None]
        found = [key for key in valid if key.id == which] or [key for key in valid if key.name == which]
        if not found:
            raise UnknownName("key", which, [*(key.id for key in valid), *(key.name for key in valid)])
        now = time.time()
        self._connection.executemany("UPDATE keys SET revoked = ? WHERE id = ?", [(now, key.id) for key in found])
        self._version = -1
        return len(found)

    def owner(self, key: str) -> str | None:
        """Return the name of a key, None for one that is wrong or revoked. Raises TooManyRequests.

        The secret's hash is compared in constant time, also for an unknown id.
        """
        id, _, secret = key.partition(":")
        known, stored = self._read().get(id, (None, NO_HASH))
        if not hmac.compare_digest(_hash(secret), stored) or known is None or known.revoked is not None:
            return None
        self._take(known)
        return known.name

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _read(self) -> dict[str, tuple[Key, bytes]]:
        """The keys, read again when another connection has changed them."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            columns = "id, name, created, revoked, per_minute, hash"
            with closing(self._connection.execute(f"SELECT {columns} FROM keys ORDER BY created, id")) as rows:
                self._known = {row[0]: (Key(*row[:5]), row[5]) for row in rows}
            self._version = version
        return self._known

    def _take(self, key: Key) -> None:
        """Take one request from the key's bucket, which holds a minute's and fills steadily."""
        now = self._clock()
        left, at = self._buckets.get(key.id, (float(key.per_minute), now))
        left = min(float(key.per_minute), left + (now - at) * key.per_minute / 60)
        if left < 1:
            self._buckets[key.id] = (left, now)
            raise TooManyRequests((1 - left) * 60 / key.per_minute)
        self._buckets[key.id] = (left - 1, now)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
