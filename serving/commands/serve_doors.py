"""Who may call the server of `serve`: its API keys, web pages, and the door for programs that go through a proxy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...pipelines.errors import BadValue
from .serve_keys import AUTHORITY

if TYPE_CHECKING:
    from aiohttp import web

    from ..gateway.guard.cors import Cors
    from ..gateway.guard.keys import KeyStore


def add_options(serve: argparse.ArgumentParser) -> None:
    """Add the options to the parser of `serve`."""
    serve.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="an origin whose web pages may use the server, such as https://pictures.example; repeatable; default: "
        "the server's own alone",
    )
    serve.add_argument(
        "--tls-proxy",
        action="store_true",
        help="also answer CONNECT at the same port, as a proxy for the names of the hosted services alone: unchanged "
        "programs then work with the variables that `serve ca` prints",
    )
    serve.add_argument(
        "--tls-port",
        type=int,
        metavar="PORT",
        help="also answer HTTPS at this port, with a certificate of the authority of `serve ca`; 0 takes a free one",
    )


def keys_of(state: Path, lets_others_in: bool) -> KeyStore | None:
    """Return the server's keys; None if none was ever made, and only this machine reaches the server.

    Raises BadValue if other machines reach it and there are no keys.
    """
    from ..gateway.guard.keys import FILE, KeyStore

    if not (state / FILE).exists():
        if lets_others_in:
            raise BadValue(
                "other machines can reach the server, and it has no API keys: make one with `fooocus-stages serve keys "
                "add NAME`, or keep to --host 127.0.0.1"
            )
        return None
    store = KeyStore(state / FILE)
    if not store.list():
        store.close()
        (state / FILE).unlink()  # `serve keys list` makes the file
        return keys_of(state, lets_others_in)
    return store


def cors_of(origins: list[str], keys: KeyStore | None, public_url: str) -> Cors:
    """Return the rule for web pages. Without keys, the server also has to be called by a name of its own."""
    from ..gateway.addresses import HOSTS
    from ..gateway.guard.cors import Cors

    return Cors.of(origins, None if keys is not None or public_url else HOSTS)


def site_of(runner: web.AppRunner, state: Path, host: str, port: int, tls_proxy: bool) -> web.BaseSite:
    """Return what listens for plain HTTP, and with `tls_proxy` also for CONNECT; it ends with the runner."""
    from aiohttp import web

    if not tls_proxy:
        return web.TCPSite(runner, host, port)
    from ..gateway.addresses import HOSTS
    from ..gateway.guard.tls import Authority, DoorSite

    return DoorSite(runner, Authority(state / AUTHORITY).context(HOSTS), HOSTS, host, port)


def https_site_of(runner: web.AppRunner, state: Path, host: str, port: int) -> web.BaseSite:
    """Return what listens for HTTPS, for the hosted names and for the address itself if it is one."""
    from aiohttp import web

    from ..gateway.addresses import HOSTS
    from ..gateway.guard.tls import Authority

    address = "127.0.0.1" if host == "localhost" else host  # the authority may name no host but the hosted ones
    context = Authority(state / AUTHORITY).context({*HOSTS, address})
    return web.TCPSite(runner, host, port, ssl_context=context)
