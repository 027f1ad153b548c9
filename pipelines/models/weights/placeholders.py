"""Inert placeholders for foreign classes in pickles of weights, so that the weights of training checkpoints load.

Checkpoints of training programs contain callbacks, configurations and numpy scalars besides their tensors, and torch's
weights-only unpickler refuses the whole file because of them. Here the names in the pickle are listed without executing
anything, and each harmless one is replaced by a class that ignores its arguments; torch's unpickler reads the file. A
file is refused if a name refers to code: a function, or anything of the standard library that is not plain data.
"""

from __future__ import annotations

import pickletools
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

PICKLES_OF_OLD_FORMAT = 4  # magic number, protocol, system, content; then the storages
_BUILT_IN = {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "set",
             "slice", "str", "tuple"}  # fmt: skip
_DATA_OF_STDLIB = {
    "builtins": _BUILT_IN,
    "collections": {"Counter", "OrderedDict", "deque"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "argparse": {"Namespace"},
    "types": {"SimpleNamespace"},
    "typing": {"Any", "Dict", "List", "Optional", "Tuple", "Union"},
    "decimal": {"Decimal"},
    "uuid": {"UUID"},
    "copyreg": {"_reconstructor"},
    "_codecs": {"encode"},
}
_NUMPY_FUNCTIONS = {
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"),
}  # fmt: skip


class Placeholder:
    """An object without content or behaviour, made from and set to anything."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Placeholder:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take any arguments and keep none."""

    def __setstate__(self, state: Any) -> None:
        """Take any state and keep none."""


class ForeignObject(Placeholder):
    """Stands in for an instance of a foreign class: an empty dictionary, since some of these are dictionaries."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


def placeholders(path: Path, zipped: bool) -> AbstractContextManager[None]:
    """A context in which torch's weights-only unpickler reads the foreign names in a file as placeholders.

    Raises UnpicklingError if a name refers to code. Before torch 2.5 there are no placeholders, and the unpickler
    refuses such files by itself. torch's list of names is global to the process, so a pickle that another thread loads
    at the same time may get placeholders too; they are inert there as well.
    """
    safe_globals = getattr(torch.serialization, "safe_globals", None)
    if safe_globals is None:
        return nullcontext()
    context: AbstractContextManager[None] = safe_globals([_placeholder(*name) for name in sorted(_names(path, zipped))])
    return context


def _placeholder(module: str, name: str) -> type[Placeholder]:
    if (module, name) == ("collections", "defaultdict"):
        return type(name, (ForeignObject,), {"__module__": module})
    if (module, name) in _NUMPY_FUNCTIONS or name in _DATA_OF_STDLIB.get(module, ()):
        return type(name, (Placeholder,), {"__module__": module})
    if module.partition(".")[0] in sys.stdlib_module_names or not name[:1].isupper() or "." in name:
        raise UnpicklingError(f"{module}.{name} is code")
    return type(name, (ForeignObject,), {"__module__": module})


def _names(path: Path, zipped: bool) -> set[tuple[str, str]]:
    """The (module, name) pairs that the file's pickles refer to, except torch's own.

    Older pickle protocols write the names of Python 2; torch's unpickler and this list translate them.
    """
    found: set[tuple[str, str]] = set()
    for arg in _references(path, zipped):
        module, _, name = arg.partition(" ")
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if module.partition(".")[0] != "torch":
            found.add((module, name))
    return found


def _references(path: Path, zipped: bool) -> Iterator[str]:
    try:
        if not zipped:
            with path.open("rb") as file:
                for _ in range(PICKLES_OF_OLD_FORMAT):
                    yield from _globals_in(file)
            return
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                if entry.rpartition("/")[2] == "data.pkl":
                    with archive.open(entry) as file:
                        yield from _globals_in(file)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UnpicklingError(f"the pickle can't be listed: {error}") from error


def _globals_in(file: Any) -> Iterator[str]:
    """The arguments of the GLOBAL opcodes, 'module name', of the pickle at the file's position."""
    for opcode, arg, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and isinstance(arg, str):
            yield arg
