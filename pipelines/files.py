"""Writing a file whole or not at all, and hashing files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import uuid
from collections.abc import Callable
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

_hashes: dict[tuple[str, int, int], str] = {}


def write_whole(folder: Path, name: str, suffix: str, save: Callable[[IO[bytes]], None]) -> Path:
    """Write `<name>_<counter>_<suffix>` under a temporary name, then rename it; nothing is left of a failure.

    The counter is one above the highest in the folder. Raises UserError naming the folder and the cause.
    """
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(_encoded(save))
            file.flush()
            os.fsync(file.fileno())
        return _move_to_next(temporary, folder, name, suffix)
    except (OSError, ValueError) as error:
        cause = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise UserError(f"a picture can't be saved in {folder}: {cause}{way_out(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def way_out(error: Exception) -> str:
    """What to do about a file that can't be written; '' when the cause says it all."""
    advice = WAYS_OUT.get(getattr(error, "errno", None) or 0)
    return f"; {advice}" if advice else ""


def _encoded(save: Callable[[IO[bytes]], None]) -> memoryview:
    """What `save` writes. Given a real file, Pillow takes a write that was cut short for a whole one."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getbuffer()


def _move_to_next(temporary: Path, folder: Path, name: str, suffix: str) -> Path:
    counter = next_counter(folder, name)
    while True:
        target = folder / f"{name}_{counter:05}_{suffix}"
        try:
            target.open("xb").close()  # ours from here on, also against another process
        except FileExistsError:
            counter += 1
            continue
        try:
            return temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def next_counter(folder: Path, name: str) -> int:
    """One above the highest counter of the files `<name>_<counter>_…` in a folder."""
    counted = re.compile(re.escape(os.path.normcase(name)) + r"_(\d+)_")
    found = (counted.match(os.path.normcase(file.name)) for file in folder.iterdir())
    return max((int(match[1]) for match in found if match), default=0) + 1


def file_hash(path: Path, check_interrupted: Callable[[], None] = lambda: None) -> str:
    """The first ten hex digits of a file's SHA-256, remembered while the file stays as it is (util.py: sha256)."""
    stat = path.stat()
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    if key not in _hashes:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(2**22):
                check_interrupted()
                digest.update(chunk)
        _hashes[key] = digest.hexdigest()[:10]
    return _hashes[key]
