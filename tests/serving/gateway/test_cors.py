"""Web pages as callers: own and named origins only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
import pytest
from aiohttp import web
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.gateway.guard.cors import Cors, install

NAMED = "https://pictures.example"


def asked(cors: Cors, path: str, headers: Mapping[str, str], method: str = "POST") -> tuple[int, Mapping[str, str]]:
    """Status and headers of a reply, from a real server."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/stream"):
            stream = web.StreamResponse(headers={"Vary": "x-fal-target-url"})
            await stream.prepare(request)
            await stream.write_eof()
            return stream
        return web.json_response({})

    async def run() -> tuple[int, Mapping[str, str]]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        install(app, cors)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        sent = {name: value.replace("SELF", url).replace("HOST", url[7:]) for name, value in headers.items()}
        try:
            request = aiohttp.request(method, url + path, headers=sent)
            async with request as reply:
                return reply.status, dict(reply.headers)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_programs_and_the_server_s_own_page_may_call() -> None:
    for headers in ({}, {"Origin": "SELF"}, {"sec-fetch-mode": "cors"}, {"Sec-Fetch-Site": "same-origin"}):
        status, replied = asked(Cors(), "/fal/queue/fal-ai/fooocus", headers)
        assert status == 200
        assert not any(name.startswith("Access-Control") for name in replied)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost",
        f"{NAMED}.evil.example",
        "SELF.evil.example",
    ],
)
@pytest.mark.parametrize("cors", [Cors(), Cors.of([NAMED])])
def test_pages_of_other_sites_may_not(cors: Cors, origin: str) -> None:
    status, replied = asked(cors, "/fal/queue/fal-ai/fooocus", {"Origin": origin, "Content-Type": "text/plain"})
    assert status == 403
    assert "Access-Control-Allow-Origin" not in replied


@pytest.mark.parametrize("mode", ["no-cors", "navigate"])
def test_a_link_or_an_image_of_another_site_starts_nothing(mode: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
    assert asked(Cors(), "/fal/run/fal-ai/fooocus?prompt=a", headers, "GET")[0] == 403
    assert asked(Cors(), "/fal/files/abc/image.png", headers, "PUT")[0] == 403


def test_a_page_of_another_site_may_show_a_file_whose_address_it_knows() -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert asked(Cors(), "/fal/files/abc/image.png", headers, "GET")[0] == 200


def test_a_named_origin_may_call_and_read() -> None:
    for path in ("/fal/queue/fal-ai/fooocus", "/fal/run/fal-ai/fooocus/stream"):
        status, replied = asked(Cors.of([NAMED + "/"]), path, {"Origin": NAMED})
        assert status == 200
        assert replied["Access-Control-Allow-Origin"] == NAMED
        assert "x-fal-request-id" in replied["Access-Control-Expose-Headers"]
        assert replied["Vary"].endswith("Origin")
        assert "Access-Control-Allow-Credentials" not in replied


def test_a_preflight_allows_the_clients_headers() -> None:
    headers = {
        "Origin": NAMED,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-type, X-Fal-Queue-Priority,x-fal-target-url,cookie",
    }
    status, replied = asked(Cors.of([NAMED]), "/fal/queue/fal-ai/fooocus", headers, "OPTIONS")
    assert status == 204
    assert replied["Access-Control-Allow-Headers"] == (
        "authorization, content-type, x-fal-queue-priority, x-fal-target-url"
    )
    assert "PUT" in replied["Access-Control-Allow-Methods"]
    status, replied = asked(Cors(), "/fal/queue/fal-ai/fooocus", headers, "OPTIONS")
    assert status == 403


def test_a_server_without_keys_answers_by_its_own_names_alone() -> None:
    cors = Cors.of([], hosts=["queue.fal.run", "Box.Local"])
    for host in ("127.0.0.1:8190", "localhost:8190", "[::1]:8190", "queue.fal.run", "box.local:8190", "BOX.local"):
        assert asked(cors, "/", {"Host": host})[0] == 200
    for host in ("evil.example:8190", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.evil.example"):
        rebound = {"Host": host, "Origin": f"http://{host}"}
        assert asked(cors, "/fal/run/fal-ai/fooocus", rebound)[0] == 403
    assert asked(Cors(), "/", {"Host": "anything.example"})[0] == 200


@pytest.mark.parametrize("origin", ["*", "pictures.example", "https://a.example/path", "https://a:b@c.example", ""])
def test_what_is_no_origin_is_an_error(origin: str) -> None:
    with pytest.raises(BadValue, match="is not an origin"):
        Cors.of([origin])


def test_a_header_of_the_request_does_not_break_out_into_the_reply() -> None:
    status, replied = asked(Cors.of([NAMED]), "/fal/run/x", {"Origin": "https://a.example%0d%0aX-Injected: b"})
    assert status == 403
    assert "X-Injected" not in replied
