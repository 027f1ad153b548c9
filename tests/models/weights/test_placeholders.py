"""Pickles with foreign names: leftovers of trainings are read as inert placeholders, code is refused and not run."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import importlib
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import types
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models.weights.files import open_weights, read_state

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}
MODULE = "trainer_that_is_not_installed"


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of a training program, there while a file is written; `forget` takes it away."""
    module = types.ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    return module


def class_in(module: types.ModuleType, name: str, *bases: type, **body: Any) -> Any:
    made = type(name, bases, {"__module__": MODULE, **body})
    setattr(module, name, made)
    return made


def explode(*args: Any) -> None:
    raise AssertionError("code of the file was run")


def leftovers(module: types.ModuleType) -> dict[str, Any]:
    callback = class_in(module, "ModelCheckpoint")
    with_state = callback()
    with_state.best_model_score, with_state.monitor = torch.tensor(0.5), None
    attributes = class_in(module, "AttributeDict", dict)
    stage = enum.Enum("Stage", {"FIT": "fit"}, module=MODULE)
    module.Stage = stage  # type: ignore[attr-defined]
    return {
        "a class as a key": {callback: {"monitor": None}},
        "an object with a state": with_state,
        "a dictionary of its own kind": attributes(lr=1e-4, nested=attributes(x=1)),
        "a member of an enumeration": stage.FIT,  # type: ignore[attr-defined]
        "numpy scalars": [np.float64(0.5), np.int64(3), np.float32(1)],
        "a numpy array": np.arange(3.0),
        "a path": pathlib.PurePosixPath("/data/run"),
        "a date": datetime.datetime(2024, 1, 1),
        "arguments": argparse.Namespace(lr=1e-4),
        "a dictionary with a default": collections.defaultdict(list, {"x": [1]}),
    }


KINDS = list(leftovers(types.ModuleType("x")))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_leftovers_of_a_training_do_not_cost_the_weights(
    tmp_path: Path, trainer: types.ModuleType, kind: str, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.ckpt"
    content = {"epoch": 3, "state_dict": WEIGHTS, "leftover": leftovers(trainer)[kind]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, MODULE)
    before = set(torch.serialization.get_safe_globals())
    state = read_state(path)
    assert set(torch.serialization.get_safe_globals()) == before
    assert MODULE not in sys.modules
    assert state.keys() == WEIGHTS.keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in WEIGHTS.items())
    with open_weights(path) as weights:
        assert dict(weights.shapes) == {"a": (2, 3), "b": (4,)}


def test_a_foreign_class_that_is_installed_is_not_imported_or_called(tmp_path: Path, monkeypatch: Any) -> None:
    """Its module would leave a mark when imported, its methods when called."""
    source, mark = tmp_path / f"{MODULE}.py", tmp_path / "mark"
    touch = f"open({str(mark)!r}, 'w').close()"
    methods = "".join(f"\n    def {m}(self, *args): {touch}" for m in ("__init__", "__setstate__", "__setitem__"))
    source.write_text(f"class Callback:{methods}\n    def __new__(cls, *args):\n        {touch}\n{touch}\n")
    module = types.ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    made = class_in(module, "Callback")()
    made.state = 1
    torch.save({"state_dict": WEIGHTS, "callback": made}, tmp_path / "model.ckpt")
    monkeypatch.delitem(sys.modules, MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    assert read_state(tmp_path / "model.ckpt").keys() == WEIGHTS.keys()
    assert not mark.exists()
    assert MODULE not in sys.modules


class Call:
    """Unpickles by calling a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.args


def hostile(mark: Path, module: types.ModuleType) -> dict[str, Any]:
    text = str(mark)
    function = types.FunctionType(explode.__code__, explode.__globals__, "run")
    function.__module__, function.__qualname__ = MODULE, "run"
    module.run = function  # type: ignore[attr-defined]
    return {
        "open": Call(open, text, "w"),
        "eval": Call(eval, f"open({text!r}, 'w')"),
        "exec": Call(exec, f"open({text!r}, 'w')"),
        "getattr": Call(getattr, "x", "upper"),
        "import": Call(__import__, "this"),
        "system": Call(os.system, f"touch {text}"),
        "a process": Call(subprocess.Popen, ["touch", text]),
        "a reference to a process": {"x": subprocess.Popen},
        "removal": Call(shutil.rmtree, text),
        "an import": Call(importlib.import_module, "this"),
        "a browser": Call(webbrowser.open, "about:blank"),
        "pickles": Call(pickle.loads, b"."),
        "a partial call": Call(functools.partial, os.system, f"touch {text}"),
        "torch's own": Call(torch.save, WEIGHTS, text),
        "numpy's own": Call(np.save, text, np.zeros(1)),
        "a function of a program": Call(function, text),
        "a reference to a function": {"x": function},
    }


CALLS = list(hostile(Path("x"), types.ModuleType("x")))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", CALLS)
def test_code_is_refused_and_not_run(
    tmp_path: Path, trainer: types.ModuleType, kind: str, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mark = tmp_path / "model.ckpt", tmp_path / "mark"
    leftover = class_in(trainer, "Callback")()
    content = {"state_dict": WEIGHTS, "first": leftover, "x": hostile(mark, trainer)[kind]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, MODULE)
    with pytest.raises(BadFile, match=r"model\.ckpt .* running code"):
        read_state(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["Cls.method", "OrderedDict.fromkeys", "Any.__class__", "Path.home"])
@pytest.mark.parametrize("module", [MODULE, "collections", "typing", "pathlib", "torch", "builtins"])
def test_attributes_of_classes_are_refused(tmp_path: Path, module: str, name: str) -> None:
    """A name with a dot would reach methods of what stands before it."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"\x80\x02c" + f"{module}\n{name}\n".encode() + b")R.")
    with pytest.raises(BadFile):
        read_state(path)
