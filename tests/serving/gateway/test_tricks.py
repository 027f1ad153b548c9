"""What somebody might try on a gateway with keys: paths that lead out, split headers, used-up and revoked keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.serving.gateway.guard.fetch import Fetcher
from fooocus_stages.serving.gateway.guard.keys import FILE, KeyStore
from fooocus_stages.serving.gateway.ports import InputUrl, Unfetchable

from .fakes import APP, Served, serving
from .servers import answer
from .servers import serving as listening

OURS = ("fooocus_stages", "fooocus_stages.gateway")  # `serve` writes no other log
SECRET = "nobody's business"


@asynccontextmanager
async def guarded(folder: Path, per_minute: int = 6000) -> AsyncIterator[tuple[Served, KeyStore, dict[str, str]]]:
    """A gateway with a key, its key store, and the header with the key. A secret lies beside its folder."""
    (folder / "secret.txt").write_text(SECRET)
    keys = KeyStore(folder / FILE)
    header = {"Authorization": f"Key {keys.add('ann', per_minute)}"}
    async with serving(folder / "state", keys=keys) as served:
        yield served, keys, header


async def raw(url: str, head: str) -> str:
    """Send a request head as it stands and return the whole reply."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(head.encode("latin-1") + b"Connection: close\r\n\r\n")
    reply = (await asyncio.wait_for(reader.read(), 20)).decode("latin-1")
    writer.close()
    return reply


PATHS = (
    "/fal/files/../secret.txt", "/fal/files/../../secret.txt", "/fal/files/..%2f..%2fsecret.txt",
    "/fal/files/%2e%2e/%2e%2e/secret.txt", "/fal/files/..%252f..%252fsecret.txt", "/fal/files/....//....//secret.txt",
    "/fal/files/..\\..\\secret.txt", "/fal/files/..%5c..%5csecret.txt", "/fal/files//etc/passwd", "/fal/files/%00",
    "/fal/files/state%00/x", "/fal/cdn/files/../../secret.txt", "/fal/cdn/files/%2fetc%2fpasswd", "/../secret.txt",
    "//etc/passwd", "/fal/queue/../../secret.txt", "/fal/files/webhook.key", "/fal/files/gateway.sqlite",
    "/fal/files/../state/webhook.key", "/fal/files/./secret", "/fal/files/",
)  # fmt: skip


def test_no_path_leads_out_of_the_folders(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with guarded(tmp_path) as (served, _, header):
            key = f"Authorization: {header['Authorization']}\r\n"
            for path in PATHS:
                reply = await raw(served.url, f"GET {path} HTTP/1.1\r\nHost: x\r\n{key}")
                status = int(reply.split(" ")[1])
                assert 400 <= status < 500, path
                assert SECRET not in reply
                assert "root:" not in reply
                assert str(tmp_path) not in reply

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "name",
    ["../../evil.sh", "..\\..\\evil.sh", "/etc/evil", "C:\\evil", "a/../../evil", "....//evil", ".", "..", "~/evil"],
)
def test_the_name_of_an_upload_decides_no_place(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with guarded(tmp_path) as (served, _, header):
            body = {"file_name": name, "content_type": "text/html\r\nX-Injected: a"}
            _, urls, _ = await served.call("POST", "/fal/rest/storage/upload/initiate", json=body, headers=header)
            assert (await served.call("PUT", urls["upload_url"], data=b"content"))[0] == 200
            status, content, headers = await served.call("GET", urls["file_url"])
            assert (status, content) == (200, b"content")
            assert headers["Content-Type"] == "application/octet-stream"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Content-Disposition"].startswith("attachment")
            assert ".." not in headers["Content-Disposition"]
            assert "X-Injected" not in headers

    before = set(tmp_path.parent.iterdir())
    asyncio.run(scenario())
    assert set(tmp_path.parent.iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"state", "secret.txt", FILE, f"{FILE}-journal"}
    assert not list(tmp_path.rglob("*evil*"))


def test_upload_urls_can_not_be_guessed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with guarded(tmp_path) as (served, _, header):
            paths = set()
            for _ in range(5):
                body = {"file_name": "a.png"}
                _, urls, _ = await served.call("POST", "/fal/rest/storage/upload/initiate", json=body, headers=header)
                token = max(urlsplit(urls["file_url"]).path.split("/"), key=len)
                assert len(token) >= 32
                paths.add(token)
                near = urls["file_url"].replace(token, token[:-1] + ("A" if token[-1] != "A" else "B"))
                assert (await served.call("GET", near))[0] == 404
            assert len(paths) == 5

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "head",
    [
        f"GET /fal/queue{APP}/requests/a%0d%0aX-Injected:%20b/status HTTP/1.1\r\nHost: x\r\n",
        f"GET /fal/queue{APP}/requests/a%0aX-Injected:b HTTP/1.1\r\nHost: x\r\n",
        f"GET /fal/queue{APP}?fal_webhook=http://example.org/%0d%0aX-Injected:b HTTP/1.1\r\nHost: x\r\n",
        "GET /fal/files/a%0d%0aX-Injected:b HTTP/1.1\r\nHost: x\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nX-A: b\rX-Injected: c\r\n",
        "GET /health HTTP/1.1\r\nHost: x%0d%0aX-Injected: b\r\n",
    ],
)
def test_nothing_in_a_request_splits_the_headers_of_its_reply(tmp_path: Path, head: str) -> None:
    async def scenario() -> None:
        async with guarded(tmp_path) as (served, _, header):
            reply = await raw(served.url, f"{head}Authorization: {header['Authorization']}\r\n")
            names = [line.partition(":")[0].lower() for line in reply.partition("\r\n\r\n")[0].split("\r\n")[1:]]
            assert reply.startswith("HTTP/1.")
            assert "x-injected" not in names

    asyncio.run(scenario())


def test_two_lengths_do_not_smuggle_a_second_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with guarded(tmp_path) as (served, _, header):
            key = f"Authorization: {header['Authorization']}\r\n"
            inside = f"POST /fal/queue{APP} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
            for lengths in (
                f"Content-Length: 0\r\nContent-Length: {len(inside)}\r\n",
                f"Transfer-Encoding: chunked\r\nContent-Length: {len(inside)}\r\n",
                "Transfer-Encoding: xchunked\r\n",
            ):
                reply = await raw(served.url, f"POST /fal/queue{APP} HTTP/1.1\r\nHost: x\r\n{key}{lengths}")
                assert reply.count("HTTP/1.1 ") <= 1
                assert not reply.startswith("HTTP/1.1 2")

    asyncio.run(scenario())


def test_a_key_ends_with_its_revocation_and_rests_at_its_rate(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with guarded(tmp_path, per_minute=3) as (served, keys, header):
            id = await served.submit({"prompt": "a"}, headers=header)
            path = f"/fal/queue{APP}/requests/{id}/status"
            statuses = [(await served.call("GET", path, headers=header))[0] for _ in range(3)]
            assert statuses[:2] != [429, 429]
            assert statuses[2] == 429
            code, _, headers = await served.call("GET", path, headers=header)
            assert (code, int(headers["Retry-After"]) > 0) == (429, True)
            keys.revoke("ann")
            assert (await served.call("GET", path, headers=header))[0] == 401

    asyncio.run(scenario())


def test_logs_hold_no_prompt_and_no_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> list[str]:
        async with guarded(tmp_path) as (served, _, header):
            for prompt in ("fail", "user my-own-prompt", "crash", "steps 1"):
                await served.submit({"prompt": prompt, "negative_prompt": "my-own-prompt"}, headers=header)
            await served.call("POST", f"/fal/queue{APP}", json={"guidance_scale": 99}, headers=header)
            await served.call("GET", f"/fal/queue{APP}/requests/none", headers={"Authorization": "Key my-own-key"})
            await served.call("GET", "/fal/files/none?fal_jwt_token=my-own-key")
            await asyncio.sleep(0.3)
            return [header["Authorization"].removeprefix("Key "), "my-own-prompt", "my-own-key"]

    with caplog.at_level(logging.DEBUG):
        private = asyncio.run(scenario())
    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.name in OURS)
    assert not [word for word in private if word in logged]


class OutsideOnly:
    """Fetches by URL alone, as the gateway does for what is no upload."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def fetch(self, url: InputUrl, folder: Path) -> Path:
        try:
            return (await self._fetcher.image(url.value, folder)).path
        except UserError as error:
            raise Unfetchable(str(error)) from error

    async def close(self) -> None:
        await self._fetcher.close()


def test_a_request_reaches_nothing_inside(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with listening(answer(b"secret")) as inside:
            private = ("http://169.254.169.254/latest/", "file:///etc/passwd")
            urls = (inside.url("/admin"), f"http://localhost:{inside.port}/", *private)
            async with serving(tmp_path, inputs=OutsideOnly(Fetcher())) as served:
                for url in urls:
                    id = await served.submit({"prompt": "a", "image_url": url})
                    await served.wait(id)
                    code, body, _ = await served.result(id)
                    (problem,) = body["detail"]
                    assert (code, problem["loc"], problem["type"]) == (422, ["body", "image_url"], "image_load_error")
                    assert "secret" not in str(body)
                assert served.pool.ran == []
                assert not list((tmp_path / "inputs").rglob("*.*"))
            assert inside.heads == []

    asyncio.run(scenario())
