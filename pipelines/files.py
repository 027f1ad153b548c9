"""Writes files whole or not at all, under names that are free, and hashes files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import IO

from .errors import UserError

ANOTHER_FOLDER = "choose another output folder"
WAYS_OUT = {
    errno.ENOSPC: "make room on that disk, or choose another output folder",
    errno.EDQUOT: "make room, or choose another output folder",
    errno.EFBIG: "it is larger than a file may be there: choose another output folder or format",
    errno.ENAMETOOLONG: "choose a shorter file name",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR), ANOTHER_FOLDER),
}

Keep = Callable[[Hashable, Callable[[], str]], str]
"""`Host.keep` for text."""


class NewFile:
    """A file under a temporary name in a folder, made by `new_file`."""

    def __init__(self, folder: Path, what: str) -> None:
        self._folder, self._what = folder, what
        self._temporary = folder / f".{secrets.token_hex(16)}.tmp"
        with saving(folder, what):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._temporary.open("xb")

    def write(self, data: bytes | memoryview) -> None:
        """Append data. Raises UserError naming the folder and the cause."""
        with saving(self._folder, self._what):
            self._file.write(data)

    def keep(self, names: Iterable[str]) -> Path:
        """Rename the file to the first of the names that is free; no file is overwritten. Raises UserError."""
        with saving(self._folder, self._what):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            return _renamed(self._temporary, self._folder, names)

    def discard(self) -> None:
        """Close the file, and delete it unless it was kept."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(folder: Path, what: str) -> Iterator[NewFile]:
    """Write a file whole or not at all: it has a temporary name until `keep`, and is deleted without it.

    `what` begins the message of the UserError that a failure raises, such as "a picture".
    """
    file = NewFile(folder, what)
    try:
        yield file
    finally:
        file.discard()


def write_whole(folder: Path, name: str, suffix: str, save: Callable[[IO[bytes]], None]) -> Path:
    """Write what `save` writes as `<name>_<counter>_<suffix>`, whole or not at all.

    The counter is one above the highest in the folder. Raises UserError naming the folder and the cause.
    """
    with new_file(folder, "a picture") as file:
        with saving(folder, "a picture"):
            content = encoded(save)
        file.write(content)
        return file.keep(counted_names(folder, name, suffix))


def replace_whole(path: Path, data: bytes | memoryview, what: str) -> Path:
    """Write a file whole or not at all, over an earlier one, and return its path; folders are made.

    `what` begins the message of the UserError that a failure raises.
    """
    with saving(path.parent, what):
        return write_file(path, data)


def write_file(path: Path, data: bytes | memoryview) -> Path:
    """Write a file as `replace_whole` does; its name is on the disk only after its content is. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(16)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: Path, data: bytes | memoryview) -> None:
    """Write a file that does not exist, and its content to the disk; its name is left to `sync_folder`.

    A file that can't be written whole is deleted. Raises OSError.
    """
    file = path.open("xb")
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def commit_file(temporary: Path, path: Path) -> Path:
    """Rename a file whose content is on the disk, and put the new name on the disk too. Raises OSError."""
    temporary.replace(path)
    sync_folder(path.parent)
    return path


def sync_folder(folder: Path) -> None:
    """Put the names of a folder on the disk, where the system can. Raises OSError."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(folder: Path, what: str) -> None:
    """Raise UserError, as saving `what` there would, if nothing can be written in a folder; it is not made."""
    above = (folder.absolute(), *folder.absolute().parents)
    with saving(folder, what), contextlib.closing(_probe(next(one for one in above if one.exists()))) as file:
        file.write(b"\0")


def _probe(folder: Path) -> IO[bytes]:
    """Open a file that is deleted when it is closed. Raises OSError."""
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return tempfile.TemporaryFile(dir=folder)


@contextlib.contextmanager
def saving(folder: Path, what: str) -> Iterator[None]:
    """Raise UserError for an error of the disk: what can't be saved where, why, and what to do."""
    try:
        yield
    except (OSError, ValueError) as error:
        cause = (error.strerror if isinstance(error, OSError) else "") or str(error)
        file = next((path for path in (folder, *folder.parents) if os.path.isfile(path)), None)  # noqa: PTH113  any name
        if file is not None:
            cause = f"{file.name} is a file, not a folder"
        raise UserError(f"{what} can't be saved in {folder}: {cause}{way_out(error)}") from error


def way_out(error: Exception) -> str:
    """Return advice on a file that can't be written; '' if the cause is enough."""
    advice = WAYS_OUT.get(getattr(error, "errno", None) or 0)
    return f"; {advice}" if advice else ""


def encoded(save: Callable[[IO[bytes]], None]) -> memoryview:
    """Return the bytes that `save` writes. Into a real file, Pillow takes a write cut short for a whole one."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getbuffer()


def _renamed(temporary: Path, folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        target = folder / name
        try:
            target.open("xb").close()  # reserves the name, also against other processes
        except FileExistsError:
            continue
        try:
            return temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))


def counted_names(folder: Path, name: str, suffix: str) -> Iterator[str]:
    """Yield `<name>_<counter>_<suffix>`, counting up from one above the highest counter in the folder."""
    return (f"{name}_{counter:05}_{suffix}" for counter in itertools.count(next_counter(folder, name)))


def next_counter(folder: Path, name: str) -> int:
    """Return one above the highest counter of the files `<name>_<counter>_…` in a folder."""
    counted = re.compile(re.escape(os.path.normcase(name)) + r"_(\d+)_")
    found = (counted.match(os.path.normcase(file.name)) for file in folder.iterdir())
    return max((int(match[1]) for match in found if match), default=0) + 1


def file_state(path: Path) -> tuple[Hashable, ...]:
    """Path, time and size of a file: a key under which `Host.keep` keeps what was read from it. Raises OSError."""
    stat = path.stat()
    return str(path.resolve()), stat.st_mtime_ns, stat.st_size


def file_hash(path: Path, keep: Keep, check_interrupted: Callable[[], None] = lambda: None) -> str:
    """Return the first ten hex digits of a file's SHA-256 (Fooocus modules/util.py: sha256).

    `keep`: a host's, so that a file is hashed once while it stays unchanged. Raises OSError.
    """

    def hashed() -> str:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(2**22):
                check_interrupted()
                digest.update(chunk)
        return digest.hexdigest()[:10]

    return keep(("sha256", *file_state(path)), hashed)
