"""Who may call the server: keys are asked for as soon as there is one, or other machines can call."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.commands import serve_doors
from fooocus_stages.serving.gateway.guard.keys import FILE, KeyStore
from fooocus_stages.serving.gateway.guard.tls import DoorSite


def test_without_keys_only_this_machine_may_call(tmp_path: Path) -> None:
    assert serve_doors.keys_of(tmp_path, lets_others_in=False) is None
    with pytest.raises(BadValue, match="serve keys add NAME"):
        serve_doors.keys_of(tmp_path, lets_others_in=True)


def test_a_key_is_asked_for_once_one_was_made(tmp_path: Path) -> None:
    key = KeyStore(tmp_path / FILE).add("ann")
    keys = serve_doors.keys_of(tmp_path, lets_others_in=True)
    assert keys is not None
    assert keys.owner(key) == "ann"


def test_a_server_whose_keys_are_all_revoked_stays_closed(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / FILE)
    key = store.add("ann")
    store.revoke("ann")
    for others in (False, True):
        keys = serve_doors.keys_of(tmp_path, others)
        assert keys is not None
        assert keys.owner(key) is None


def test_a_list_of_no_keys_closes_nobody_out(tmp_path: Path) -> None:
    assert KeyStore(tmp_path / FILE).list() == ()
    assert serve_doors.keys_of(tmp_path, lets_others_in=False) is None
    with pytest.raises(BadValue):
        serve_doors.keys_of(tmp_path, lets_others_in=True)


def test_without_keys_the_server_has_to_be_called_by_its_own_name(tmp_path: Path) -> None:
    assert "queue.fal.run" in (serve_doors.cors_of([], None, "").hosts or ())
    assert serve_doors.cors_of([], None, "https://pictures.example").hosts is None
    assert serve_doors.cors_of([], KeyStore(tmp_path / FILE), "").hosts is None
    with pytest.raises(BadValue, match="is not an origin"):
        serve_doors.cors_of(["*"], None, "")


def test_the_options_are_off_by_default() -> None:
    parser = argparse.ArgumentParser()
    serve_doors.add_options(parser)
    assert vars(parser.parse_args([])) == {"allow_origin": [], "tls_port": None, "tls_proxy": False}


@pytest.mark.parametrize("tls_proxy", [False, True])
def test_the_door_is_opened_where_it_is_asked_for(tmp_path: Path, tls_proxy: bool) -> None:
    async def run() -> bool:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        site = serve_doors.site_of(runner, tmp_path, "127.0.0.1", 0, tls_proxy)
        await site.start()
        assert runner.addresses[0][1] > 0
        await runner.cleanup()
        return isinstance(site, DoorSite)

    assert asyncio.run(run()) is tls_proxy
    assert (tmp_path / "ca" / "ca.pem").exists() is tls_proxy


PROGRAM = """
import json, urllib.request
def ask(url, key=None):
    headers = {"Authorization": f"Key {key}"} if key else {}
    request = urllib.request.Request(url, headers=headers, data=b"{}" if "storage" in url else None)
    try:
        return urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code
import sys
key = sys.argv[1]
print(json.dumps([
    ask("https://rest.fal.ai/.well-known/jwks.json"),
    ask("https://queue.fal.run/fal-ai/fooocus/requests/none/status"),
    ask("https://queue.fal.run/fal-ai/fooocus/requests/none/status", key),
    ask("https://rest.fal.ai/storage/upload/initiate", key),
]))
"""


def test_an_unchanged_program_reaches_the_server_by_two_variables(tmp_path: Path) -> None:
    """The command itself, its keys and its door, and a program that knows nothing of them."""
    state, key = tmp_path / "state", KeyStore(tmp_path / "state" / FILE).add("ann")
    words = ["serve", "--models", "pocket", "--device", "cpu", "--port", "0", "--state", str(state), "--tls-proxy"]
    command = [sys.executable, "-m", "fooocus_stages.serving.cli", *words]
    log = tmp_path / "log"
    with log.open("w") as told, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().removeprefix("serving at ").strip()
            variables = {"HTTPS_PROXY": address, "SSL_CERT_FILE": str(state / "ca" / "ca-bundle.pem")}
            program = [sys.executable, "-c", PROGRAM, key]
            done = subprocess.run(
                program, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=300
            )
            assert json.loads(done.stdout or "null") == [200, 401, 404, 200], done.stderr
        finally:
            server.terminate()
            server.wait(60)
    assert "protects nobody" in log.read_text()
    assert key not in log.read_text()
