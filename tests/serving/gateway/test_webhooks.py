"""Webhooks: signed, repeated until they are taken, and delaying nobody."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fooocus_stages.serving.gateway import records

from .fakes import APP, serving


class Receiver:
    """A receiver that answers with the given statuses, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.calls: list[tuple[bytes, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append((await request.read(), request.headers))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@contextlib.asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook?a=1&b=2"
    finally:
        await runner.cleanup()


async def calls_of(receiver: Receiver, count: int) -> None:
    for _ in range(500):
        if len(receiver.calls) >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(receiver.calls)} of {count} calls")


def test_a_webhook_is_repeated_until_it_is_taken_and_its_signature_holds(tmp_path: Path) -> None:
    async def scenario() -> None:
        receiver = Receiver(500, 302)
        async with receiving(receiver) as hook, serving(tmp_path) as served:
            params = {"fal_webhook": hook}
            _, reply, _ = await served.call("POST", f"/fal/queue{APP}", json={"prompt": "a"}, params=params)
            await calls_of(receiver, 3)
            body, headers = receiver.calls[-1]
            sent = json.loads(body)
            assert (sent["request_id"], sent["status"]) == (reply["request_id"], "OK")
            assert sent["payload"]["images"][0]["url"].startswith(served.url)
            _, jwks, _ = await served.call("GET", "/fal/rest/.well-known/jwks.json")
            x = jwks["keys"][0]["x"]
            public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
            names = ("Request-Id", "User-Id", "Timestamp")
            text = "\n".join([*(headers[f"X-Fal-Webhook-{name}"] for name in names), hashlib.sha256(body).hexdigest()])
            public.verify(bytes.fromhex(headers["X-Fal-Webhook-Signature"]), text.encode())
            await asyncio.sleep(0.1)
            assert await served.gateway.store.read(records.deliveries) == []

    asyncio.run(scenario())


def test_a_failed_request_reports_its_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        receiver = Receiver()
        async with receiving(receiver) as hook, serving(tmp_path) as served:
            await served.call("POST", f"/fal/queue{APP}", json={"guidance_scale": 99}, params={"fal_webhook": hook})
            await calls_of(receiver, 1)
            sent = json.loads(receiver.calls[0][0])
            assert (sent["status"], sent["error"]) == ("ERROR", "Invalid status code: 422")
            assert sent["payload"]["detail"][0]["loc"] == ["body", "guidance_scale"]

    asyncio.run(scenario())


def test_a_dead_webhook_is_given_up_and_delays_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        receiver = Receiver()
        async with receiving(receiver) as hook, serving(tmp_path) as served:
            for _ in range(50):
                dead = {"fal_webhook": "http://127.0.0.1:9/"}
                await served.call("POST", f"/fal/queue{APP}", json={}, params=dead)
            await served.call("POST", f"/fal/queue{APP}", json={}, params={"fal_webhook": hook})
            await calls_of(receiver, 1)
            for _ in range(500):
                if not await served.gateway.store.read(records.deliveries):
                    break
                await asyncio.sleep(0.01)
            assert await served.gateway.store.read(records.deliveries) == []

    asyncio.run(scenario())


def test_a_call_that_is_left_is_made_by_the_next_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        receiver = Receiver(500, 500)
        async with receiving(receiver) as hook:
            async with serving(tmp_path, pauses=(0.3, 0.3)) as served:
                await served.call("POST", f"/fal/queue{APP}", json={}, params={"fal_webhook": hook})
                await calls_of(receiver, 1)
            async with serving(tmp_path, pauses=(0.3, 0.3)):
                await calls_of(receiver, 3)

    asyncio.run(scenario())


def test_a_refused_address_is_an_error_of_the_submit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            reply = await served.call("POST", f"/fal/queue{APP}", json={}, params={"fal_webhook": "file:///x"})
            assert reply[0] == 400

    asyncio.run(scenario())
