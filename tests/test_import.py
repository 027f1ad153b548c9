"""Importing the pack is fast and has no side effects: no torch, sockets, outside files, output or changed settings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

WATCH = r"""
import importlib.util, json, os, sys, sysconfig, time
root, how = sys.argv[1:]
events, allowed = [], [root, sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"]]
def audit(name, args):
    if name.startswith("socket.") or name in ("subprocess.Popen", "os.system", "os.putenv"):
        events.append([name, str(args)])
    elif name == "open" and isinstance(args[0], str):
        path = os.path.abspath(args[0])
        if not any(path.startswith(os.path.abspath(a)) for a in allowed):
            events.append([name, path])
before_path, before_env, before = list(sys.path), dict(os.environ), set(sys.modules)
sys.addaudithook(audit)
start = time.process_time()
if how == "package":
    import fooocus_stages as pack
else:
    spec = importlib.util.spec_from_file_location("_path_to_custom_nodes_pack", os.path.join(root, "__init__.py"),
                                                  submodule_search_locations=[root])
    pack = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = pack
    spec.loader.exec_module(pack)
seconds = time.process_time() - start
heavy = sorted({m.split(".")[0] for m in set(sys.modules) - before} & {
    "torch", "numpy", "diffusers", "transformers", "cv2", "PIL", "safetensors", "huggingface_hub", "aiohttp"})
print(json.dumps({"seconds": seconds, "heavy": heavy, "events": events, "nodes": len(pack.NODE_CLASS_MAPPINGS),
                  "changed": [sys.path != before_path, dict(os.environ) != before_env]}), file=sys.stderr)
"""


@pytest.mark.parametrize("how", ["package", "by path"])
def test_import_is_silent(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", WATCH, str(ROOT), how], capture_output=True, text=True, check=True)
    report = json.loads(done.stderr.splitlines()[-1])
    assert done.stdout == ""
    assert report["heavy"] == []
    assert report["events"] == []
    assert report["changed"] == [False, False]
    assert report["nodes"] > 0
    assert report["seconds"] < 0.3


def test_every_module_imports_without_touching_the_network() -> None:
    code = (
        "import sys, importlib, pathlib, socket\n"
        "def no(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = no; socket.getaddrinfo = no\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "for room in ('nodes', 'pipelines', 'preprocessors', 'serving', 'pocket'):\n"
        "    for p in sorted((root / room).rglob('*.py')):\n"
        "        name = '.'.join(p.relative_to(root).with_suffix('').parts).removesuffix('.__init__')\n"
        "        if not name.startswith(('nodes.comfy.native.', 'nodes.comfy.layer_patcher')):\n"  # import ComfyUI
        "            importlib.import_module('fooocus_stages.' + name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
