"""The proxy route, hosted host names, keys, health and metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.serving.gateway.ports import TooManyRequests

from .fakes import APP, FakePool, serving

TARGET = "x-fal-target-url"


class TwoKeys:
    """Two keys, and one that is used too often."""

    def owner(self, key: str) -> str | None:
        if key == "often":
            raise TooManyRequests(7)
        return {"one": "first", "two": "second"}.get(key)


def test_the_proxy_answers_for_the_hosted_address_and_fetches_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:

            async def proxied(method: str, target: str, **options: Any) -> Any:
                return await served.call(method, "/fal/proxy", headers={TARGET: target}, **options)

            code, reply, headers = await proxied("POST", f"https://queue.fal.run{APP}", json={"prompt": "a"})
            assert (code, headers["Cache-Control"], headers["Vary"]) == (200, "no-store", TARGET)
            base = f"https://queue.fal.run{APP}/requests/{reply['request_id']}"
            while (await proxied("GET", f"{base}/status?logs=1"))[1]["status"] != "COMPLETED":
                await asyncio.sleep(0.01)
            assert (await proxied("GET", f"{base}/status?logs=1"))[1]["logs"]
            assert (await proxied("GET", base))[1]["images"][0]["url"].startswith(served.url)
            for rest in ("rest.fal.ai", "rest.alpha.fal.ai"):
                code, urls, _ = await proxied("POST", f"https://{rest}/storage/upload/initiate", json={})
                assert (code, urls["upload_url"].startswith(served.url)) == (200, True)
            for wrong in (
                "",
                "https://example.com/",
                "http://fal.run/x",
                "https://fal.run@evil/",
                "https://fal.run:1/",
            ):
                assert (await proxied("POST", wrong, json={}))[0] == 400

    asyncio.run(scenario())


def test_hosted_host_names_lead_to_the_services(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            host = {"Host": "queue.fal.run"}
            reply = (await served.call("POST", APP, json={}, headers=host))[1]
            id = reply["request_id"]
            assert reply["status_url"] == f"https://queue.fal.run{APP}/requests/{id}/status"
            await served.wait(id)
            output = (await served.call("GET", f"{APP}/requests/{id}", headers=host))[1]
            assert output["images"][0]["url"].startswith(served.url)
            headers = {"Host": "v3.fal.media"}
            assert (await served.call("POST", "/files/upload", data=b"x", headers=headers))[0] == 200

    asyncio.run(scenario())


def test_a_public_url_heads_every_address(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, public_url="https://pictures.example/base") as served:
            _, reply, _ = await served.call("POST", f"/fal/queue{APP}", json={})
            assert reply["status_url"].startswith(f"https://pictures.example/base/fal/queue{APP}/requests/")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "header", ["", "Key", "Key wrong", "Basic one", "Bearer wrong", "Bearer a.b", "Bearer \xe9.\xe9"]
)
def test_a_wrong_key_is_a_401(tmp_path: Path, header: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, keys=TwoKeys()) as served:
            headers = {"Authorization": header} if header else {}
            for path in (f"/fal/queue{APP}", f"/fal/run{APP}", "/fal/rest/tokens/", "/fal/cdn/files/upload"):
                code, body, _ = await served.call("POST", path, json={}, headers=headers)
                assert (code, bool(body["detail"])) == (401, True)

    asyncio.run(scenario())


def test_keys_keep_their_requests_apart_and_are_limited(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, keys=TwoKeys()) as served:
            one, two = {"Authorization": "Key one"}, {"Authorization": "Key two"}
            id = await served.submit({}, headers=one)
            path = f"/fal/queue{APP}/requests/{id}/status"
            assert (await served.call("GET", path, headers=one))[0] in (200, 202)
            assert (await served.call("GET", path, headers=two))[0] == 404
            code, _, headers = await served.call("GET", path, headers={"Authorization": "Key often"})
            assert (code, headers["Retry-After"]) == (429, "7")
            token = (await served.call("POST", "/fal/rest/tokens/", json={"token_expiration": 60}, headers=one))[1]
            assert (await served.call("GET", f"{path}?fal_jwt_token={token}"))[0] in (200, 202)
            upload = (await served.call("POST", "/fal/rest/storage/upload/initiate", json={}, headers=one))[1]
            assert (await served.call("PUT", upload["upload_url"], data=b"x"))[0] == 200

    asyncio.run(scenario())


def test_health_readiness_and_metrics(tmp_path: Path) -> None:
    async def scenario() -> None:
        pool = FakePool()
        async with serving(tmp_path, pool) as served:
            await served.wait(await served.submit({}))
            assert (await served.call("GET", "/health"))[0] == 200
            code, state, _ = await served.call("GET", "/ready")
            assert (code, state["status"], len(state["workers"])) == (200, "ready", 1)
            text = (await served.call("GET", "/metrics"))[1].decode()
            assert 'fooocus_requests_finished_total{endpoint="fal-ai/fooocus",status="200"} 1.0' in text
            assert 'fooocus_workers{state="idle"} 1.0' in text
            pool.count = 0
            assert (await served.call("GET", "/ready"))[0] == 503
            pool.count = 1

    asyncio.run(scenario())


def test_an_unchecked_server_says_so_in_every_reply(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, safety_checker=False) as served:
            for path in ("/health", f"/fal/queue{APP}/requests/x"):
                assert (await served.call("GET", path))[2]["x-fooocus-safety-checker"] == "off"

    asyncio.run(scenario())
