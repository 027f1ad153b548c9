"""Who may call the server: keys are asked for as soon as there is one, or other machines can call."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.commands import serve_doors
from fooocus_stages.serving.gateway.keys import FILE, KeyStore
from fooocus_stages.serving.gateway.tls import DoorSite


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
    assert vars(parser.parse_args([])) == {"allow_origin": [], "tls_proxy": False}


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
