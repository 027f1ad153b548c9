"""Uploads as each client makes them, with their limits."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from fooocus_stages.serving.gateway.ports import InputUrl, Unfetchable
from fooocus_stages.serving.gateway.storage import safe_name

from .fakes import picture, serving

REST, CDN = "/fal/rest/storage", "/fal/cdn/files/upload"


def test_a_single_upload_takes_its_content_once_without_a_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            body = {"content_type": "image/png", "file_name": "../cat pictures.png"}
            code, urls, _ = await served.call("POST", f"{REST}/upload/initiate?storage_type=fal-cdn-v3", json=body)
            assert code == 200
            assert urls["file_url"].startswith(served.url)
            assert (await served.call("GET", urls["file_url"]))[0] == 404
            assert (await served.call("PUT", urls["upload_url"], data=picture()))[0] == 200
            assert (await served.call("PUT", urls["upload_url"], data=b"other"))[0] == 400
            code, content, headers = await served.call("GET", urls["file_url"])
            assert (code, content, headers["Content-Type"]) == (200, picture(), "image/png")
            assert await served.gateway.uploads.local(urls["file_url"]) is not None

    asyncio.run(scenario())


def test_an_upload_in_parts_is_joined_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            _, urls, _ = await served.call("POST", f"{REST}/upload/initiate-multipart", json={})
            path, _, query = urls["upload_url"].partition("?")
            tags = {}
            for number in (2, 1, 3):
                code, part, headers = await served.call("PUT", f"{path}/{number}?{query}", data=bytes([number]) * 10)
                assert (code, part["partNumber"], headers["ETag"]) == (200, number, f'"{part["etag"]}"')
                tags[number] = part["etag"]
            parts = [{"partNumber": number, "etag": tags[number]} for number in (3, 1, 2)]
            assert (await served.call("POST", f"{path}/complete?{query}", json={"parts": parts}))[0] == 200
            content = (await served.call("GET", urls["file_url"]))[1]
            assert content == b"\1" * 10 + b"\2" * 10 + b"\3" * 10
            assert [entry.name for entry in (tmp_path / "uploads").iterdir()] == [urls["file_url"].split("/")[-2]]

    asyncio.run(scenario())


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            _, urls, _ = await served.call("POST", f"{REST}/upload/initiate-multipart", json={})
            path = urls["upload_url"].partition("?")[0]
            await served.call("PUT", f"{path}/1", data=b"x")
            code, body, _ = await served.call("POST", f"{path}/complete", json={"parts": [{"partNumber": 2}]})
            assert (code, "part 2" in body["detail"]) == (400, True)

    asyncio.run(scenario())


def test_the_python_client_sends_one_body_or_parts_to_the_cdn(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            _, token, _ = await served.call("POST", f"{REST}/auth/token?storage_type=fal-cdn-v3", json={})
            assert token["expires_at"].endswith("+00:00")
            headers = {
                "Authorization": f"Bearer {token['token']}",
                "Content-Type": "image/png",
                "X-Fal-File-Name": "a.png",
            }
            _, reply, _ = await served.call("POST", CDN, data=picture(), headers=headers)
            assert (await served.call("GET", reply["access_url"]))[1] == picture()
            _, reply, _ = await served.call("POST", f"{CDN}/multipart", headers=headers)
            base = f"{reply['access_url']}/multipart/{reply['uploadId']}"
            for number in (2, 1):
                _, _, answer = await served.call("PUT", f"{base}/{number}", data=str(number).encode())
                assert answer["ETag"]
            await served.call("POST", f"{base}/complete", json={"parts": []})
            assert (await served.call("GET", reply["access_url"]))[1] == b"12"

    asyncio.run(scenario())


def test_what_is_too_large_is_refused_whether_or_not_it_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, max_upload=100, max_body=100) as served:
            assert (await served.call("POST", CDN, data=b"x" * 101))[0] == 413
            _, urls, _ = await served.call("POST", f"{REST}/upload/initiate", json={})

            async def chunks() -> object:
                for _ in range(20):
                    yield b"x" * 10

            assert (await served.call("PUT", urls["upload_url"], data=chunks()))[0] == 413
            assert (await served.call("POST", "/fal/queue/fal-ai/fooocus", data=io.BytesIO(b"x" * 101)))[0] == 413
            assert not [path for path in (tmp_path / "uploads").iterdir() if path.suffix == ".tmp"]

    asyncio.run(scenario())


def test_a_file_that_is_no_picture_is_not_shown_by_a_browser(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            headers = {"Content-Type": "text/html", "X-Fal-File-Name": 'a".html\r\nX: 1'.replace("\r\n", "%0D%0A")}
            _, reply, _ = await served.call("POST", CDN, data=b"<script>", headers=headers)
            _, _, answer = await served.call("GET", reply["access_url"])
            assert answer["Content-Type"] == "application/octet-stream"
            assert answer["Content-Disposition"].startswith("attachment")
            assert answer["X-Content-Type-Options"] == "nosniff"

    asyncio.run(scenario())


def test_uploads_and_results_expire(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, upload_seconds=0.2, result_seconds=0.2) as served:
            _, reply, _ = await served.call("POST", CDN, data=picture())
            id = await served.submit({})
            await served.wait(id)
            await asyncio.sleep(0.4)
            assert (await served.call("GET", reply["access_url"]))[0] == 404
            await served.gateway.uploads.expire()
            served.gateway.dispatcher.forget_finished()
            assert (await served.result(id))[0] == 404
            assert not list((tmp_path / "uploads").iterdir())
            assert not list((tmp_path / "results").iterdir())

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\cat.png", "cat.png"),
        ("", "file"),
        ("...", "file"),
        ("a\r\nSet-Cookie: x.png", "a__Set-Cookie_ x.png"),
        (f"{'a' * 500}.png", f"{'a' * 80}.png"),
    ],
)
def test_names_hold_no_folders_and_no_control_characters(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_uploaded_pictures_are_taken_from_the_disk_and_checked(tmp_path: Path) -> None:
    from fooocus_stages.serving.gateway.guard.fetch import Fetcher, Limits
    from fooocus_stages.serving.gateway.outside import OutsideInputs

    async def scenario() -> None:
        async with serving(tmp_path / "state") as served:
            inputs = OutsideInputs(Fetcher(), served.gateway.uploads, Limits())
            _, good, _ = await served.call("POST", CDN, data=picture())
            _, bad, _ = await served.call("POST", CDN, data=b"no picture")
            path = await inputs.fetch(InputUrl(good["access_url"], "image", ("image_url",)), tmp_path)
            assert (path.read_bytes(), path.suffix) == (picture(), ".png")
            for url in (bad["access_url"], f"{served.url}/fal/files/{'x' * 32}/a.png"):
                with pytest.raises(Unfetchable):
                    await inputs.fetch(InputUrl(url, "image", ("image_url",)), tmp_path)
            await inputs.close()

    asyncio.run(scenario())
