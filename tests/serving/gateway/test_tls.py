"""The local authority, and the door that ends TLS for the hosted services' names."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.serving.gateway.guard.tls import CERTIFICATE, KEY, Authority, DoorSite, client_variables

HOSTS = ("queue.fal.run", "fal.run", "rest.fal.ai", "v3.fal.media")
Result = TypeVar("Result")


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response({"host": request.host, "scheme": request.scheme, "path": request.path, "size": len(body)})


def at_the_door(
    folder: Path, use: Callable[[str, Authority], Awaitable[Result]], hosts: tuple[str, ...] = HOSTS
) -> Result:
    """Run with the address of a door in front of a server that echoes."""

    async def run() -> Result:
        authority = Authority(folder)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", echo)
        runner = web.AppRunner(app)
        await runner.setup()
        await DoorSite(runner, authority.context(hosts), hosts, "127.0.0.1", 0).start()
        try:
            return await use(f"http://127.0.0.1:{runner.addresses[0][1]}", authority)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def trusting(path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(path))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    return context


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("trust", ["certificate", "bundle"])
def test_a_hosted_name_is_answered_here(tmp_path: Path, host: str, trust: str) -> None:
    async def use(address: str, authority: Authority) -> object:
        context = trusting(getattr(authority, trust))
        async with aiohttp.ClientSession() as session:
            replies = []
            for size in (0, 900_000):
                async with session.post(
                    f"https://{host}/fal-ai/fooocus", data=bytes(size), proxy=address, ssl=context
                ) as reply:
                    replies.append(await reply.json())
            return replies

    told = {"host": host, "scheme": "https", "path": "/fal-ai/fooocus"}
    assert at_the_door(tmp_path, use) == [{**told, "size": 0}, {**told, "size": 900_000}]


def test_plain_http_goes_through_the_same_port(tmp_path: Path) -> None:
    async def use(address: str, authority: Authority) -> object:
        async with aiohttp.ClientSession() as session, session.get(f"{address}/health") as reply:
            return await reply.json()

    told = at_the_door(tmp_path, use)
    assert told["scheme"] == "http"  # type: ignore[index]
    assert told["path"] == "/health"  # type: ignore[index]


def test_a_client_that_sends_with_its_handshake_loses_nothing(tmp_path: Path) -> None:
    async def use(address: str, authority: Authority) -> list[bytes]:
        replies = []
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            writer.write(b"CONNECT fal.run:443 HTTP/1.1\r\nHost: fal.run:443\r\n\r\n")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = trusting(authority.certificate).wrap_bio(incoming, outgoing, server_hostname="fal.run")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(2**16))
            tls.write(b"GET /early HTTP/1.1\r\nHost: fal.run\r\nConnection: close\r\n\r\n")
            writer.write(outgoing.read())  # the end of the handshake and the request in one piece
            text = b""
            while b"}" not in text:
                incoming.write(await reader.read(2**16))
                with contextlib.suppress(ssl.SSLWantReadError):
                    text += tls.read(2**16)
            replies.append(text)
            writer.close()
        return replies

    replies = at_the_door(tmp_path, use)
    assert len(replies) == 5
    assert all(b"200 OK" in reply and b'"path": "/early"' in reply for reply in replies)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("CONNECT example.org:443 HTTP/1.1", b" 403 "),
        ("CONNECT 127.0.0.1:22 HTTP/1.1", b" 403 "),
        ("CONNECT fal.run:80 HTTP/1.1", b" 403 "),
        ("CONNECT fal.run.example.org:443 HTTP/1.1", b" 403 "),
        ("CONNECT fal.run HTTP/1.1", b" 403 "),
        ("CONNECT  HTTP/1.1", b" 40"),
        ("CONNECT fal.run:443 SPDY/3", b" 400 "),
    ],
)
def test_it_is_no_way_to_other_hosts(tmp_path: Path, request_line: str, status: bytes) -> None:
    async def use(address: str, authority: Authority) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(request_line.encode() + b"\r\n\r\n")
        reply = await reader.read()
        writer.close()
        return reply

    assert status in at_the_door(tmp_path, use).split(b"\r\n")[0]


def test_an_endless_head_is_cut_off(tmp_path: Path) -> None:
    async def use(address: str, authority: Authority) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(b"CONNECT fal.run:443 HTTP/1.1\r\nX: " + b"a" * 9000)
        reply = await reader.read()
        writer.close()
        return reply

    assert b" 431 " in at_the_door(tmp_path, use)


def test_a_client_that_does_not_trust_it_leaves_the_server_well(tmp_path: Path) -> None:
    async def use(address: str, authority: Authority) -> bool:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get("https://fal.run/", proxy=address)
            async with session.get("https://fal.run/", proxy=address, ssl=trusting(authority.certificate)) as reply:
                return reply.ok

    assert at_the_door(tmp_path, use)


def test_the_authority_vouches_for_no_other_host(tmp_path: Path) -> None:
    async def use(address: str, authority: Authority) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get("https://bank.example/", proxy=address, ssl=trusting(authority.certificate))

    at_the_door(tmp_path, use, ("bank.example",))  # as somebody would who has stolen the key


def test_the_authority_is_made_once_and_its_keys_are_its_user_s_alone(tmp_path: Path) -> None:
    first = Authority(tmp_path / "ca").certificate.read_bytes()
    again = Authority(tmp_path / "ca")
    again.context(HOSTS)
    assert again.certificate.read_bytes() == first
    for name in (KEY, "hosts.pem"):
        assert stat.S_IMODE((tmp_path / "ca" / name).stat().st_mode) == 0o600
    assert again.bundle.read_bytes().startswith(first)
    assert again.bundle.read_bytes().count(b"BEGIN CERTIFICATE") > 50
    assert dict(client_variables("http://127.0.0.1:8190", again))["SSL_CERT_FILE"] == str(again.bundle)


def test_a_damaged_authority_is_an_error(tmp_path: Path) -> None:
    Authority(tmp_path)
    (tmp_path / CERTIFICATE).write_text("nothing")
    with pytest.raises(BadFile, match="can't be read"):
        Authority(tmp_path)
