"""The routes of `serve` inside ComfyUI: below /fal/ of its own server, with its own queue doing the work."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...nodes.comfy import current_host
from ...pipelines.errors import BadValue, UserError
from .requested import OFF
from .serve import add_serving_options, canvas_of, found_checker, is_loopback, settings_of
from .serve_doors import keys_of

if TYPE_CHECKING:
    from aiohttp import web

    from ..pool.comfy_pool import ComfyPool

VARIABLE = "FOOOCUS_STAGES_SERVE"
PREFIX = "/fal"
ON, SWITCHED_OFF = ("1", "on", "true", "yes"), ("", "0", "off", "false", "no")
log = logging.getLogger("fooocus_stages")


class _Parser(ArgumentParser):
    """Raises BadValue in place of ending the program."""

    def error(self, message: str) -> Any:
        raise BadValue(f"{VARIABLE} has options that can't be used: {message}")


def options_of(value: str, state: Path) -> Namespace:
    """Return the options in the variable: those of `serve`, without what ComfyUI decides. Raises BadValue."""
    parser = _Parser(prog=VARIABLE, add_help=False)
    add_serving_options(parser, state)
    try:
        words = [] if value.casefold() in ON else shlex.split(value, posix=os.name != "nt")
    except ValueError as error:
        raise BadValue(f"{VARIABLE} is {value!r}, which is not closed by a quote: {error}") from error
    return parser.parse_args(words)


def add_to_comfyui(value: str) -> None:
    """Add the routes to the ComfyUI that this process is, if the variable's value says so.

    What keeps them from being added is logged as an error; ComfyUI goes on without them.
    """
    if value.strip().casefold() in SWITCHED_OFF:
        return
    try:
        _add(value.strip())
    except ModuleNotFoundError as error:
        log.error("%s: package %s is not installed; run: pip install 'fooocus-stages[serve]'", VARIABLE, error.name)
    except UserError as error:
        log.error("%s: %s", VARIABLE, error)


def _add(value: str) -> None:
    from ...nodes.comfy import prompt_queue

    options = options_of(value, prompt_queue.state_folder())
    lets_others_in = not all(map(is_loopback, prompt_queue.listens_to()))
    app = application_of(options, lets_others_in, asyncio.get_running_loop())
    prompt_queue.add_application(PREFIX, app)
    logging.getLogger("fooocus_stages.gateway").setLevel(logging.WARNING)  # not a line for each call
    log.info("the hosted endpoints are served below %s/ of this ComfyUI, with a page at %s/", PREFIX, PREFIX)


def application_of(options: Namespace, lets_others_in: bool, loop: asyncio.AbstractEventLoop) -> web.Application:
    """Return the gateway over ComfyUI's queue. Raises UserError."""
    from ..gateway.app import application
    from ..gateway.guard.fetch import Fetcher, Limits
    from ..gateway.guard.policy import Policy
    from ..gateway.hosted import HostedEndpoints
    from ..gateway.outside import OutsideInputs
    from ..gateway.store import Store

    checker = found_checker(options.safety_checker, current_host(), log.warning)
    settings = settings_of(options, options.safety_checker != OFF)
    settings.state.mkdir(parents=True, exist_ok=True)
    keys = keys_of(settings.state, lets_others_in or bool(settings.public_url))
    limits = Limits()
    fetcher = Fetcher(Policy.of(options.allow_network), limits)
    pool = _pool(loop)
    app = application(
        settings,
        pool,
        Store(settings.state / "gateway.sqlite"),
        HostedEndpoints(checker, canvas_of),
        lambda uploads: OutsideInputs(fetcher, uploads, limits),
        fetcher,
        keys,
    )

    async def close_pool(app: web.Application) -> None:
        pool.close()

    app.on_cleanup.append(close_pool)
    return app


def _pool(loop: asyncio.AbstractEventLoop) -> ComfyPool:
    from ...nodes.comfy import prompt_queue
    from ..pool.comfy_pool import ComfyPool, Surroundings

    around = Surroundings(prompt_queue.folder_of, prompt_queue.class_of, prompt_queue.device_name())
    return ComfyPool(partial(prompt_queue.PromptQueue, "fooocus-stages"), around, loop)
