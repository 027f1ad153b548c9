"""A program run in a ComfyUI process without its server: ComfyUI's modules, the pack's nodes, and helpers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fooocus_stages
import pytest

NAMED = os.environ.get("COMFYUI_DIR")
COMFYUI = str(Path(NAMED).resolve()) if NAMED else ""
PYTHON = os.environ.get("COMFYUI_PYTHON") or sys.executable
PACK = Path(fooocus_stages.__file__).parent

needs_comfyui = pytest.mark.skipif(not COMFYUI, reason="COMFYUI_DIR names no ComfyUI checkout")

HELPERS = r'''
import asyncio, gc, hashlib, importlib, json, sys, weakref
from pathlib import Path

comfyui, pack, base, flags = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:]
sys.argv = ["main.py", "--cpu", "--base-directory", base, *flags]
sys.path.insert(0, comfyui)
import comfy.options
comfy.options.enable_args_parsing()
import utils.extra_config
import torch
import comfy.model_management as management
import comfy.model_patcher, comfy.sample, comfy.samplers, comfy.sd, comfy.utils, folder_paths, nodes, latent_preview


def load_pack():
    assert asyncio.run(nodes.load_custom_node(str(pack)))


def pack_module(name):
    """A module of the pack, which ComfyUI loads under a name made from its path."""
    root = next(n for n in sys.modules if n.endswith("fooocus-stages"))
    return importlib.import_module(f"{root}.{name}")


def workflow(name, **inputs):
    """A bundled workflow on the pocket model; `inputs` replaces inputs of that name in all nodes."""
    graph = json.loads((pack / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for node in graph.values():
        own = node["inputs"]
        named = [k for k in own if k.endswith("_name") and k not in ("vae_name", "detector_name")]
        files = {k: f"pocket/{own[k]}" for k in named}
        own.update(files | {k: v for k, v in inputs.items() if k in own})
    return graph


def run_node(graph, done, node_id):
    if node_id not in done:
        node = graph[node_id]
        inputs = {k: run_node(graph, done, v[0])[v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()}
        cls = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
        result = getattr(cls(), cls.FUNCTION)(**inputs)
        result = result["result"] if isinstance(result, dict) else result
        lists = getattr(cls, "OUTPUT_IS_LIST", None) or [False] * len(result)
        done[node_id] = [value[0] if is_list else value for value, is_list in zip(result, lists)]
    return done[node_id]


def results(graph, class_type="FooocusVaeDecode"):
    """The outputs of the first node of a class and of all that it needs, by their ids; and the id of that node."""
    done, last = {}, next(i for i, node in graph.items() if node["class_type"] == class_type)
    with torch.inference_mode():
        run_node(graph, done, last)
    return done, last


def digest(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def drawn(graph):
    """A digest of the image that a workflow draws."""
    done, last = results(graph)
    return digest(done[last][0])


def answer(value):
    print("\n" + json.dumps(value))
'''


def run_inside(folder: Path, code: str, *flags: str) -> Any:
    """Run code after the helpers, with ComfyUI's `flags` and `folder` as its base folder; return what it answers."""
    for name in ("custom_nodes", "input", "output", "temp", "models", "user"):
        (folder / name).mkdir(exist_ok=True)
    link = folder / "custom_nodes" / "fooocus-stages"
    if not link.exists():
        link.symlink_to(PACK)
    for picture in (PACK / "pocket" / "pictures").iterdir():
        shutil.copy(picture, folder / "input")
    program = folder / "program.py"
    program.write_text(HELPERS + code, encoding="utf-8")
    command = [PYTHON, str(program), COMFYUI, str(link), str(folder), *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
