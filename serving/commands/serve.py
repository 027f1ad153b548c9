"""`serve`: answers requests to the hosted endpoints on this machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...pipelines.errors import BadValue, MissingFile
from ...pipelines.host import POCKET, Host
from ...pipelines.settings import DEFAULT_SAFETY_CHECKER, NO_FILE, POCKET_CHECKER
from ..console import Console
from . import serve_doors, serve_keys
from .common import OK, REGISTRY, Commands, add_command, add_host_options, host_of
from .pools import add_pool_options, check_pool_options, pool_of
from .requested import OFF, checker_file

if TYPE_CHECKING:
    from ..gateway.settings import Settings

PORT = 8190
HOUR = 3600.0
CONNECTION_SECONDS = 75.0
"""How long a connection may stand without a call, or with a head that is not whole."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    serve = add_command(commands, "serve", run_serve, "answer requests to the hosted endpoints on this machine")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at; default: 127.0.0.1")
    serve.add_argument("--port", type=int, default=PORT, help=f"port; 0 takes a free one; default: {PORT}")
    add_pool_options(serve)
    add_serving_options(serve, serve_keys.STATE)
    serve_doors.add_options(serve)
    add_host_options(serve)
    serve_keys.add(serve.add_subparsers(metavar="ACTION", help="keys or ca; without one, serve"))


def add_serving_options(serve: argparse.ArgumentParser, state: Path) -> None:
    """Add the options that also count inside ComfyUI; `state` is the default folder of the queue."""
    serve.add_argument(
        "--state",
        type=Path,
        default=state,
        metavar="DIR",
        help=f"folder of the queue, results and uploads; default: {state.name}",
    )
    serve.add_argument(
        "--public-url", default="", metavar="URL", help="address under which callers reach a server behind a proxy"
    )
    serve.add_argument(
        "--safety-checker",
        default=DEFAULT_SAFETY_CHECKER,
        metavar="FILE|off",
        help=f"file of the safety checker, or 'off' to check nothing; default: {DEFAULT_SAFETY_CHECKER}",
    )
    serve.add_argument("--max-queue", type=int, default=10_000, metavar="N", help="most waiting requests")
    serve.add_argument("--max-seconds", type=float, default=600.0, metavar="S", help="most seconds for one request")
    serve.add_argument("--max-upload", type=int, default=512, metavar="MIB", help="largest upload in MiB")
    serve.add_argument(
        "--keep", type=float, default=24.0, metavar="HOURS", help="how long results and uploads are kept"
    )
    serve.add_argument(
        "--allow-network",
        action="append",
        default=[],
        metavar="NETWORK",
        help="a network that is not public from which inputs are fetched and whose webhooks are called, such as "
        "192.168.1.0/24; repeatable",
    )
    serve.add_argument(
        "--log-reasons", action="store_true", help="also log why requests failed, in words that may quote a prompt"
    )


def run_serve(options: argparse.Namespace, console: Console) -> int:
    """Serve until SIGINT or SIGTERM."""
    try:
        from ..gateway.logs import log_to_stderr
    except ModuleNotFoundError as error:
        raise MissingFile(f"package {error.name} is not installed; run: pip install 'fooocus-stages[serve]'") from error
    check_pool_options(options)
    checker = checker_of(options, console)
    settings = settings_of(options, checker != NO_FILE)
    log_to_stderr()
    asyncio.run(_serve(options, settings, checker))
    return OK


def checker_of(options: argparse.Namespace, console: Console) -> str:
    """Return the file of the safety checker that the options name, see `found_checker`."""
    folders = argparse.Namespace(**{name: value for name, value in vars(options).items() if name != "device"})
    return found_checker(options.safety_checker, host_of(folders, console), console.notice)


def found_checker(named: str, host: Host, notice: Callable[[str], None]) -> str:
    """Return the file of the safety checker, 'None' if it is off. Raises MissingFile if it is on and not there."""
    if named == OFF:
        return NO_FILE
    try:
        path = checker_file(named, host)
    except MissingFile as error:
        raise MissingFile(f"{error}; or give --safety-checker off to serve without it") from error
    if POCKET in path.resolve().parents:
        notice(POCKET_CHECKER)
    return named


def settings_of(options: argparse.Namespace, checked: bool) -> Settings:
    """Return the settings of the gateway. Raises BadValue."""
    from ..gateway.settings import MEBIBYTE, Settings

    for name in ("max_queue", "max_seconds", "max_upload", "keep"):
        if not getattr(options, name) > 0:
            raise BadValue(f"--{name.replace('_', '-')} is {getattr(options, name)}; give a number above 0")
    url = options.public_url.rstrip("/")
    if url and not url.startswith(("http://", "https://")):
        raise BadValue(f"--public-url {url!r} has no scheme; give an address such as https://pictures.example")
    return Settings(
        options.state.absolute(),
        url,
        checked,
        options.log_reasons,
        max_queue=options.max_queue,
        max_upload=options.max_upload * MEBIBYTE,
        request_seconds=options.max_seconds,
        result_seconds=options.keep * HOUR,
        upload_seconds=options.keep * HOUR,
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state folder; the lock ends with the process. Raises BadValue if another process holds it."""
    from filelock import FileLock, Timeout

    state.mkdir(parents=True, exist_ok=True)
    lock = FileLock(state / "lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise BadValue(f"another server uses the folder {state}; end it, or name another with --state") from error


async def _serve(options: argparse.Namespace, settings: Settings, checker: str) -> None:
    from aiohttp import web

    from ..gateway.app import application
    from ..gateway.guard.cors import install
    from ..gateway.guard.fetch import Fetcher, Limits
    from ..gateway.guard.policy import Policy
    from ..gateway.hosted import HostedEndpoints
    from ..gateway.logs import logger
    from ..gateway.outside import OutsideInputs
    from ..gateway.store import Store

    policy, limits = Policy.of(options.allow_network), Limits()
    fetcher = Fetcher(policy, limits)
    with only_one(settings.state):
        keys = serve_doors.keys_of(settings.state, not is_loopback(options.host) or bool(settings.public_url))
        cors = serve_doors.cors_of(options.allow_origin, keys, settings.public_url)
        store = Store(settings.state / "gateway.sqlite")
        pool = pool_of(options, checker)
        try:
            app = application(
                settings,
                pool,
                store,
                HostedEndpoints(checker, canvas_of),
                lambda uploads: OutsideInputs(fetcher, uploads, limits),
                fetcher,
                keys,
            )
            install(app, cors)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0, keepalive_timeout=CONNECTION_SECONDS)
            await runner.setup()
            try:
                site = serve_doors.site_of(runner, settings.state, options.host, options.port, options.tls_proxy)
                await site.start()
                if options.tls_port is not None:
                    await serve_doors.https_site_of(runner, settings.state, options.host, options.tls_port).start()
                for scheme, (host, port, *_) in zip(("http", "https"), runner.addresses, strict=False):
                    print(f"serving at {scheme}://{host}:{port}", flush=True)
                    logger.info("serving", extra={"address": f"{scheme}://{host}:{port}"})
                await _signal()
            finally:
                await runner.cleanup()
        finally:
            await asyncio.to_thread(pool.close)


def canvas_of(graph: Any, endpoint: str) -> dict[str, Any]:
    """Return the graph of a request as a file for ComfyUI's canvas."""
    from ...pipelines.assets.catalogue import download_link
    from ..bundled.canvas import to_canvas
    from ..bundled.write_workflows import completed

    about = {"mode": "", "title": endpoint, "description": f"Made from a request to {endpoint}."}
    return to_canvas(completed(graph, REGISTRY), REGISTRY, endpoint, __version__, about, download_link)


async def _signal() -> None:
    """Wait for SIGINT or SIGTERM."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt
            loop.add_signal_handler(number, ended.set)
    await ended.wait()
