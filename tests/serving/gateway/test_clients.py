"""The published clients, unchanged, against `serve` with the pocket model."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fooocus_stages.serving.gateway.guard.keys import FILE, KeyStore
from fooocus_stages.serving.gateway.guard.tls import Authority
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = ROOT / ".clients"
SCRIPTS, RECIPES = Path(__file__).parent / "clients", ROOT / "docs" / "clients"
PYTHON = CLIENTS / "python" / "bin" / "python"
NEW, OLD = "@fal-ai/client", "@fal-ai/serverless-client"
SECONDS = 600
NODE = os.environ.get("NODE") or shutil.which("node") or ""
FIRST_WITH_PROXY = (24, 0)


def node_version() -> tuple[int, ...]:
    """The version of Node.js; that which the variable NODE names, if it is set."""
    shown = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=False).stdout if NODE else ""
    return tuple(map(int, shown.strip().removeprefix("v").split("."))) if shown else ()


needs_node = pytest.mark.skipif(not NODE or not (CLIENTS / "node_modules").is_dir(), reason="no .clients/node_modules")
needs_python = pytest.mark.skipif(not PYTHON.exists(), reason="no .clients/python")


@dataclass(frozen=True)
class Server:
    """A server in a process of its own, a key for it, and a small picture."""

    url: str
    https_url: str
    key: str
    state: Path
    picture: Path

    @property
    def variables(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        mine = {"FOOOCUS_GATEWAY": self.url, "GATEWAY_KEY": self.key, "PICTURE": str(self.picture), "FAL_KEY": self.key}
        return {**plain, **mine, "PYTHONPATH": ""}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("state")
    picture = state / "picture.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    store = KeyStore(state / FILE)
    key = store.add("tests")
    store.close()
    command = [sys.executable, "-m", "fooocus_stages.serving.cli", "serve", "--models", "pocket", "--device", "cpu"]
    command += ["--port", "0", "--state", str(state), "--safety-checker", "off"]
    command += ["--tls-proxy", "--tls-port", "0"]
    with (
        (state / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as served,
    ):
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert served.stdout is not None
        threading.Thread(target=lambda: [lines.put(line) for line in served.stdout or ()], daemon=True).start()
        try:
            urls = [lines.get(timeout=SECONDS).split()[-1] for _ in range(2)]
            yield Server(*urls, key, state, picture)
        finally:
            served.terminate()
            served.wait(60)


def ran(command: list[str], variables: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=CLIENTS, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_node
@pytest.mark.parametrize(("client", "recipe"), [(NEW, "J1"), (NEW, "J3"), (NEW, "J4"), (OLD, "J3"), (OLD, "J4")])
def test_javascript(server: Server, client: str, recipe: str) -> None:
    variables = server.variables
    if recipe == "J4":
        variables["NODE_OPTIONS"] = f"--require {RECIPES / 'preload.cjs'}"
    if recipe == "J3":
        variables["LARGE"] = "1"
    output = ran([NODE, str(SCRIPTS / "check.mjs"), client, recipe], variables)
    assert "checks passed" in output


@needs_node
@pytest.mark.parametrize("client", [NEW, OLD])
def test_javascript_through_the_proxy(server: Server, client: str) -> None:
    if node_version() < FIRST_WITH_PROXY:
        pytest.skip("this Node.js does not read HTTPS_PROXY: 24 does")
    trusted = {"NODE_EXTRA_CA_CERTS": str(Authority(server.state / "ca").certificate), "NODE_USE_ENV_PROXY": "1"}
    variables = {**server.variables, **trusted, "HTTPS_PROXY": server.url, "NO_PROXY": "127.0.0.1"}
    output = ran([NODE, str(SCRIPTS / "check.mjs"), client, "unchanged"], variables)
    assert "checks passed" in output


@needs_python
def test_python_with_sitecustomize_and_the_documents_examples(server: Server) -> None:
    variables = {**server.variables, "PYTHONPATH": str(RECIPES), "EXAMPLES": "1", "LARGE": "1"}
    assert "all checks passed" in ran([str(PYTHON), str(SCRIPTS / "check.py")], variables)


@needs_python
def test_python_through_the_proxy(server: Server) -> None:
    bundle = Authority(server.state / "ca").bundle
    variables = {**server.variables, "HTTPS_PROXY": server.url, "SSL_CERT_FILE": str(bundle)}
    assert "all checks passed" in ran([str(PYTHON), str(SCRIPTS / "check.py")], variables)


@needs_python
def test_python_by_its_own_variables_over_tls(server: Server) -> None:
    address, bundle = server.https_url.removeprefix("https://"), Authority(server.state / "ca").bundle
    variables = {**server.variables, "SSL_CERT_FILE": str(bundle)}
    variables |= {"FAL_RUN_HOST": f"{address}/fal/run", "FAL_QUEUE_RUN_HOST": f"{address}/fal/queue"}
    assert "all checks passed" in ran([str(PYTHON), str(SCRIPTS / "check.py"), "--no-uploads"], variables)
