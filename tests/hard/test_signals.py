"""Ctrl-C and SIGTERM in every phase of a run: one line, the right exit code, nothing half-written, and the next run
gives the same picture."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fooocus_stages.serving.cli import main
from PIL import Image

from .wrong import DRAW, node

SIGNALS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
PACK = "fooocus_stages."
PHASES = {  # where in the pack, and at which call
    "reading the workflow": (PACK + "serving.commands.run", "read_workflow", 1),
    "checking it": (PACK + "serving.engine.validate", "_reached", 1),
    "building a network": (PACK + "pipelines.models.checkpoint", "fill", 1),
    "reading a weight": (PACK + "pipelines.models.weights.filling", "_own_storage", 100),
    "composing the prompt": (PACK + "pipelines.stages.prompts.prompt", "compose_with", 1),
    "reading a LoRA": (PACK + "pipelines.models.lora.matching", "read_state", 1),
    "merging a LoRA": (PACK + "pipelines.models.weights.merging", "_add", 5),
    "encoding the text": (PACK + "pipelines.models.clip", "encode_texts", 2),
    "planning the sampler": (PACK + "pipelines.stages.sampling.denoiser", "running", 1),
    "sampling": (PACK + "pipelines.functional.guidance", "combine", 2),
    "decoding": (PACK + "pipelines.models.vae", "_decode_whole", 1),
    "encoding the file": (PACK + "pipelines.files", "encoded", 1),
    "writing the file": ("os", "fsync", 1),
    "naming the file": (PACK + "pipelines.files", "_renamed", 1),
    "naming the second file": (PACK + "pipelines.files", "next_counter", 2),
}
CASES = [(phase, list(SIGNALS)[i % 2]) for i, phase in enumerate(PHASES)]
CASES += [("sampling", signal.SIGINT), ("writing the file", signal.SIGTERM)]
GRAPH = {
    **DRAW,
    "lora": node("FooocusLora", lora_name="sdxl_lcm_lora.safetensors", weight=0.5),
    "mode": {**DRAW["mode"], "inputs": DRAW["mode"]["inputs"] | {"overwrite_step": 3}},
    "copy": node("SaveImage", images=["decode", 0], filename_prefix="copy"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the workflow; SIGTERM is handled as before in the end."""
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The picture of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "w.json").write_text(json.dumps(GRAPH))
    handler = signal.getsignal(signal.SIGTERM)
    assert main(["run", str(folder / "w.json"), "--models", "pocket", "-o", str(folder)]) == 0
    signal.signal(signal.SIGTERM, handler)
    return pixels(folder / "x_00001_.png")


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def signalling(monkeypatch: pytest.MonkeyPatch, module: str, name: str, call: int, sent: signal.Signals) -> list[int]:
    """Let the process get a signal at one call of a function, which does its work all the same; counts the calls."""
    real, calls = getattr(importlib.import_module(module), name), [0]

    def disturbed(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), sent)
        return real(*args, **kwargs)

    monkeypatch.setattr(f"{module}.{name}", disturbed)
    return calls


@pytest.mark.parametrize(("phase", "sent"), CASES)
def test_a_signal_leaves_nothing_behind(
    phase: str,
    sent: signal.Signals,
    folder: Path,
    expected: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module, name, call = PHASES[phase]
    run = partial(main, ["run", "w.json", "--models", "pocket"])
    with monkeypatch.context() as patches:
        calls = signalling(patches, module, name, call, sent)
        code = run()
    assert calls[0] >= call
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith(("node ", "note: "))]
    assert (code, lines) == (SIGNALS[sent][0], [SIGNALS[sent][1]])
    saved = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "w.json"]
    assert saved == out.splitlines()
    assert saved == (["outputs/x_00001_.png"] if "second" in phase else [])
    assert run() == 0
    assert np.array_equal(pixels(folder / capsys.readouterr().out.splitlines()[0]), expected)


@pytest.mark.parametrize("sent", SIGNALS)
def test_a_process_that_gets_a_signal_ends_with_all_its_own(folder: Path, sent: signal.Signals) -> None:
    """The real command, in the middle of its steps, as a terminal or a service stops it."""
    many = ["--set", "mode.overwrite_step=10", "--set", "size.width=256", "--set", "size.height=256"]
    command = [sys.executable, "-m", "fooocus_stages.serving.cli", "run", "w.json", "--models", "pocket", *many]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("node sampler FooocusSampler: "):
            break
    os.killpg(process.pid, sent)
    out, err = process.communicate(timeout=60)
    code, word = SIGNALS[sent]
    assert (process.returncode, out, err.splitlines()[-1]) == (code, "", word)
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert [p.name for p in folder.iterdir()] == ["w.json"]
