"""The aiohttp application of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from ..pool.protocol import Pool
from . import health, logs, records
from .clock import SteadyClock
from .dispatcher import Dispatcher
from .gateway import GATEWAY, Gateway
from .guard.tokens import Tokens, secret_of
from .metrics import Metrics
from .ports import Endpoints, Inputs, Keys
from .routes import front, page
from .settings import Settings
from .signing import Signer
from .storage import Uploads
from .store import Store, StoreError
from .webhooks import PAUSES, Poster, Webhooks

HOUSEKEEPING = 30.0
logger = logging.getLogger("fooocus_stages.gateway")


def application(
    settings: Settings,
    pool: Pool,
    store: Store,
    endpoints: Endpoints,
    inputs: Callable[[Uploads], Inputs],
    poster: Poster,
    keys: Keys | None = None,
    pauses: tuple[float, ...] = PAUSES,
) -> web.Application:
    """Return the application, to be run by itself or below the prefix /fal of another.

    It takes up the requests in `store`, which it closes, and leaves `pool` to the caller.

    `inputs` makes what fetches files that are no uploads of this server. `pauses`: as for Webhooks.
    """
    clock, metrics = SteadyClock(store.read_now(records.latest_time)), Metrics()
    for folder in (settings.results, settings.uploads, settings.bodies):
        folder.mkdir(parents=True, exist_ok=True)
    signer = Signer(settings.state / "webhook.key")
    webhooks = Webhooks(store, clock, signer, poster, settings.results, metrics, pauses)
    uploads = Uploads(settings, store, clock)
    dispatcher = Dispatcher(settings, store, pool, endpoints, inputs(uploads), clock, metrics)
    dispatcher.on_finished.append(webhooks.on_finished)
    metrics.watch(lambda: len(dispatcher.queue), lambda: len(dispatcher.live) - len(dispatcher.queue))
    app = web.Application(middlewares=[logs.access, front.problems], client_max_size=settings.max_body)
    tokens = Tokens(secret_of(settings.state / "secret"))
    app[GATEWAY] = Gateway(settings, clock, store, dispatcher, endpoints, uploads, webhooks, metrics, tokens, keys)
    app.on_response_prepare.append(front.add_headers)
    app.cleanup_ctx.append(_life)
    app.router.add_get("/health", health.health)
    app.router.add_get("/ready", health.ready)
    app.router.add_get("/metrics", health.metrics)
    page.add_routes(app.router)
    app.router.add_route("*", "/{path:.*}", front.handle)
    return app


async def _life(app: web.Application) -> AsyncIterator[None]:
    gateway = app[GATEWAY]
    await gateway.uploads.sweep()
    await asyncio.to_thread(_sweep_bodies, gateway.settings.bodies, set(await _unfinished(gateway)))
    await gateway.webhooks.start()
    await gateway.dispatcher.start()
    housekeeper = asyncio.get_running_loop().create_task(_keep_house(gateway))
    yield
    housekeeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await housekeeper
    await gateway.dispatcher.close()
    await gateway.webhooks.close()
    await asyncio.to_thread(gateway.store.close)


async def _unfinished(gateway: Gateway) -> list[str]:
    return [accepted.id for accepted in await gateway.store.read(records.unfinished)]


def _sweep_bodies(folder: Path, known: set[str]) -> None:
    for path in folder.glob("*"):
        if path.name not in known:
            path.unlink()


async def _keep_house(gateway: Gateway) -> None:
    while True:
        try:
            await gateway.uploads.expire()
            gateway.dispatcher.forget_finished()
        except (OSError, StoreError) as error:
            logger.error("expired files could not be deleted", extra={"error": str(error)})
        await asyncio.sleep(HOUSEKEEPING)
