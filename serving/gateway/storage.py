"""Uploads: files that callers send, single or in parts, under unguessable URLs that expire."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ...pipelines.files import commit_file
from . import records
from .clock import SteadyClock
from .outcomes import Problem
from .records import FILES, StoredFile
from .results import new_token
from .settings import Settings
from .store import Store

CHUNK = 1 << 18
MOST_PARTS = 10_000
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


class Uploads:
    """The files of callers, in the folder and within the limits of the settings."""

    def __init__(self, settings: Settings, store: Store, clock: SteadyClock) -> None:
        self._settings, self._store, self._clock = settings, store, clock

    async def begin(self, name: str, media_type: str, lifetime: float | None) -> StoredFile:
        """Return a new file that has no content yet."""
        most = self._settings.upload_seconds
        expires = self._clock.now() + (most if lifetime is None else min(most, lifetime))
        file = StoredFile(new_token(), "upload", safe_name(name), safe_type(media_type), 0, expires, complete=False)
        await self._store.write(records.add_file(file))
        return file

    async def find(self, token: str) -> StoredFile:
        """Return the file of a token that has not expired. Raises Problem 404."""
        file = await self._store.read(records.file_of(token)) if TOKEN.fullmatch(token) else None
        if file is None or file.expires <= self._clock.now():
            raise Problem(404, "there is no such file; it may have expired", "not_found")
        return file

    async def receive(self, file: StoredFile, content: AsyncIterator[bytes]) -> StoredFile:
        """Store the content of a file. Raises Problem 400 if it has content already, 413, or OSError."""
        if file.complete or file.kind != "upload":
            raise Problem(400, "this upload is complete; begin another one", "bad_request")
        temporary = self._path(file).with_name(f"{file.token}.{new_token()}.tmp")
        size, _ = await self._write(temporary, content, self._settings.max_upload)
        return await self._complete(file, temporary, size)

    async def receive_part(self, file: StoredFile, number: int, content: AsyncIterator[bytes]) -> str:
        """Store a part, from 1, and return its tag. Raises Problem."""
        if not 1 <= number <= MOST_PARTS:
            raise Problem(400, f"part {number} is not in 1 … {MOST_PARTS}", "bad_request")
        if file.complete or file.kind != "upload":
            raise Problem(400, "this upload is complete; begin another one", "bad_request")
        folder = self._parts(file)
        others = sum(path.stat().st_size for path in _listed(folder) if path.name != str(number))
        temporary = folder / f"{number}.{new_token()}.tmp"
        _, tag = await self._write(temporary, content, self._settings.max_upload - others)
        temporary.replace(folder / str(number))
        return tag

    async def complete(self, file: StoredFile, numbers: list[int]) -> StoredFile:
        """Join the parts in the order of their numbers. Raises Problem."""
        if file.complete:
            return file
        folder = self._parts(file)
        numbers = sorted(set(numbers)) or sorted(int(path.name) for path in _listed(folder))
        missing = [number for number in numbers if not (folder / str(number)).is_file()]
        if missing or not numbers:
            raise Problem(400, f"part {missing[0] if missing else 1} of this upload was not received", "bad_request")
        temporary = self._path(file).with_name(f"{file.token}.{new_token()}.tmp")
        size = await asyncio.to_thread(_join, [folder / str(number) for number in numbers], temporary)
        done = await self._complete(file, temporary, size)
        await asyncio.to_thread(shutil.rmtree, folder, True)
        return done

    def path_of(self, file: StoredFile) -> Path:
        """Return where a file's content lies."""
        return self._path(file) if file.kind == "upload" else self._settings.results / file.token

    async def local(self, url: str) -> Path | None:
        """Return the content of a URL of this server's own files, None for any other URL."""
        found = re.search(rf"{FILES}([A-Za-z0-9_-]{{32}})(?:/|$)", url)
        if found is None:
            return None
        with contextlib.suppress(Problem):
            file = await self.find(found[1])
            return self.path_of(file) if file.complete and file.kind != "inline" else None
        return None

    async def expire(self) -> None:
        """Delete the files and requests whose time is over."""
        for file in await self._store.write(records.expired(self._clock.now())):
            await asyncio.to_thread(self._delete, file)

    async def sweep(self) -> None:
        """Delete files that the database does not know, left by a process that was killed."""
        known = await self._store.read(records.tokens)
        await asyncio.to_thread(self._sweep, known)

    def _sweep(self, known: set[str]) -> None:
        for folder in (self._settings.results, self._settings.uploads):
            for path in folder.glob("*"):
                if path.suffix == ".tmp" or path.stem not in known:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _delete(self, file: StoredFile) -> None:
        self.path_of(file).unlink(missing_ok=True)
        shutil.rmtree(self._parts(file), ignore_errors=True)

    def _path(self, file: StoredFile) -> Path:
        return self._settings.uploads / file.token

    def _parts(self, file: StoredFile) -> Path:
        return self._settings.uploads / f"{file.token}.parts"

    async def _complete(self, file: StoredFile, temporary: Path, size: int) -> StoredFile:
        await asyncio.to_thread(commit_file, temporary, self._path(file))
        done = replace(file, size=size, complete=True)
        await self._store.write(records.add_file(done))
        return done

    async def _write(self, path: Path, content: AsyncIterator[bytes], most: int) -> tuple[int, str]:
        """Write a stream to a file and to the disk; return its size and MD5. Raises Problem 413 or OSError."""
        size, digest = 0, hashlib.md5(usedforsecurity=False)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                async for chunk in content:
                    size += len(chunk)
                    if size > most:
                        raise too_large(self._settings.max_upload)
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_sync, file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return size, digest.hexdigest()


def too_large(most: int) -> Problem:
    """Return the problem of an upload beyond so many bytes."""
    return Problem(413, f"the upload is larger than the {most} bytes allowed here", "file_too_large")


def safe_name(name: str) -> str:
    """Return a file name without folders, control characters and leading dots, of at most 100 characters."""
    plain = re.sub(r"[^\w.\- ]", "_", name.replace("\\", "/").rsplit("/", 1)[-1]).strip(". ")
    path = PurePosixPath(plain or "file")
    return f"{path.stem[:80]}{path.suffix[:20]}"


def safe_type(media_type: str) -> str:
    """Return a media type that can stand in a header."""
    plain = media_type.partition(";")[0].strip().lower()
    return plain if re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", plain) else "application/octet-stream"


def _listed(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.name.isdigit()]


def _join(parts: list[Path], into: Path) -> int:
    with into.open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, CHUNK)
        file.flush()
        _sync(file.fileno())
        return file.tell()


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
