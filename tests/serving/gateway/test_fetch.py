"""Fetching what callers name: a test for each trick, against real servers on loopback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from fooocus_stages.pipelines.errors import BadFile, UserError
from fooocus_stages.serving.gateway.guard.fetch import Fetched, Fetcher, Limits, Unfetched
from fooocus_stages.serving.gateway.guard.policy import Policy, Refused
from PIL import Image

from .servers import Server, answer, redirect, serving

LOOPBACK = Policy.of(["127.0.0.1/32"])  # the tests' public network: 127.0.0.2 is not in it
LIMITS = Limits(image_bytes=200_000, image_seconds=2.0, pixels=1_000_000, lora_bytes=200_000, lora_seconds=2.0)
Result = TypeVar("Result")


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, kind)
    return buffer.getvalue()


def lora(**changes: object) -> bytes:
    entries = {"lora_unet.alpha": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


def done(use: Callable[[Fetcher], Awaitable[Result]], policy: Policy = LOOPBACK, limits: Limits = LIMITS) -> Result:
    """Run with a fetcher that is closed afterwards."""

    async def run() -> Result:
        fetcher = Fetcher(policy, limits)
        try:
            return await use(fetcher)
        finally:
            await fetcher.close()

    return asyncio.run(run())


def fetched(folder: Path, reply: object, path: str = "/a.png", kind: str = "image", **settings: object) -> Fetched:
    """Fetch from a server with that reply."""

    async def use(fetcher: Fetcher) -> Fetched:
        async with serving(reply) as server:  # type: ignore[arg-type]
            return await getattr(fetcher, kind)(server.url(path), folder)  # type: ignore[no-any-return]

    return done(use, **settings)  # type: ignore[arg-type]


def refused(folder: Path, why: str, reply: object, **settings: object) -> str:
    """Fetch in vain: nothing may be left in the folder."""
    with pytest.raises(UserError, match=why) as raised:
        fetched(folder, reply, **settings)  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []
    assert str(folder) not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("GIF", ".gif")])
def test_a_picture_is_named_by_its_content(tmp_path: Path, kind: str, suffix: str) -> None:
    content = picture(kind)
    found = fetched(tmp_path, answer(content, "Content-Type: text/html"), "/picture.exe?name=../../x")
    assert found.path == tmp_path / (hashlib.sha256(content).hexdigest() + suffix)
    assert found.path.read_bytes() == content
    assert (found.sha256, found.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert list(tmp_path.iterdir()) == [found.path]


def test_the_request_names_no_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    heads: list[str] = []

    async def use(fetcher: Fetcher) -> None:
        async with serving(answer(picture(), "Set-Cookie: a=b")) as server:
            for _ in range(2):
                await fetcher.image(server.url(), tmp_path)
            heads.extend(server.heads)

    done(use)
    assert len(heads) == 2
    assert all(word not in head.lower() for head in heads for word in ("authorization", "cookie", "secret"))


def test_a_refused_address_is_never_called(tmp_path: Path) -> None:
    async def use(fetcher: Fetcher) -> list[str]:
        async with serving(answer(picture())) as server:
            with pytest.raises(Refused):
                await fetcher.image(server.url(), tmp_path)
            with pytest.raises(Refused):
                await fetcher.image(f"http://localhost:{server.port}/", tmp_path)
            with pytest.raises(Refused):
                await fetcher.post(server.url(), b"{}", {})
            return server.heads

    assert done(use, Policy()) == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_each_redirect_is_checked(tmp_path: Path, status: str) -> None:
    async def use(fetcher: Fetcher) -> list[str]:
        async with serving(answer(picture()), "127.0.0.2") as inner:
            async with serving(redirect(inner.url(), status)) as outer:
                with pytest.raises(Refused, match="the redirect leads to"):
                    await fetcher.image(outer.url(), tmp_path)
            return inner.heads

    assert done(use) == []


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/", "//169.254.169.254/", "http://[::ffff:7f00:2]/", "http://2130706434/",
        "http://localhost.localdomain@127.0.0.2/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://0x7f.2/", "",
        "http://127.0.0.1:99999/", "http://a:b@127.0.0.1/", "data:image/png;base64,AAAA",
    ],
)  # fmt: skip
def test_a_redirect_to_another_place_is_refused(tmp_path: Path, location: str) -> None:
    refused(tmp_path, "redirect", redirect(location))


def test_redirects_are_followed_as_far_as_is_allowed(tmp_path: Path) -> None:
    def hops(count: int) -> object:
        async def reply(path: str, writer: asyncio.StreamWriter) -> None:
            left = int(path.rsplit("/", 1)[1])
            await (redirect(f"/hop/{left - 1}") if left else answer(picture()))(path, writer)

        return reply

    assert fetched(tmp_path, hops(5), "/hop/5").size == len(picture())
    with pytest.raises(Unfetched, match="more than 5 redirects"):
        fetched(tmp_path, hops(6), "/hop/6")


def test_a_name_is_resolved_once_and_called_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: int, *rest: object, **more: object) -> object:
        if host != "rebind.example":
            return real(host, port, *rest, **more)  # type: ignore[arg-type]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{len(asked)}", port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)

    async def use(fetcher: Fetcher) -> tuple[list[str], list[str]]:
        async with serving(answer(picture())) as public:
            inner = Server("127.0.0.2", public.port)
            await fetcher.image(f"http://rebind.example:{public.port}/", tmp_path)
            assert len(asked) == 1
            with pytest.raises(Refused, match="not a public host"):
                await fetcher.image(f"http://rebind.example:{public.port}/", tmp_path)
            return public.heads, inner.heads

    heads, inner = done(use)
    assert len(heads) == 1
    assert "Host: rebind.example" in heads[0]
    assert inner == []


def test_a_body_may_not_be_longer_than_allowed(tmp_path: Path) -> None:
    refused(tmp_path, "more than 200000 bytes", answer(b"", length=200_001))

    async def endless(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(2**16))
            await writer.drain()

    refused(tmp_path, "more than 200000 bytes", endless)


def test_a_slow_server_does_not_hold_a_request(tmp_path: Path) -> None:
    async def silent(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def dripping(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(300):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    async def slow_head(path: str, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" * 100:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    quick = Limits(image_seconds=0.5)
    for reply in (silent, dripping, slow_head):
        refused(tmp_path, r"took longer than 0\.5 s", reply, limits=quick)


def test_a_cut_body_is_not_kept(tmp_path: Path) -> None:
    refused(tmp_path, "HTTP asks for|before the file was whole", answer(picture()[:50], length=len(picture())))


def test_a_reply_that_is_no_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "status 404", answer(b"no", status="404 Not Found"))
    refused(tmp_path, "status 500", answer(picture(), status="500 Oops"))
    refused(tmp_path, "can't be read as a picture", answer(b"<html>login</html>"))
    refused(tmp_path, "can't be read as a picture", answer(b""))

    async def nonsense(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    refused(tmp_path, "does not answer as HTTP", nonsense)


def test_a_compressed_reply_is_not_inflated(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    for coding in ("gzip", "br", "deflate, gzip"):
        refused(tmp_path, "sent the file compressed", answer(bomb, f"Content-Encoding: {coding}"))


def test_a_closed_port_and_an_unknown_host(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unfetched, match="does not accept the connection"):
        done(lambda fetcher: fetcher.image(f"http://127.0.0.1:{port}/", tmp_path))
    with pytest.raises(Unfetched, match="name is not known"):
        done(lambda fetcher: fetcher.image("http://no-such-host.invalid/", tmp_path))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises that many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    decoded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self))
    refused(tmp_path, "9000×9000 pixels", answer(bomb(9_000, 9_000)))
    refused(tmp_path, "too many pixels", answer(bomb(30_000, 30_000)))
    refused(tmp_path, "100000×5 pixels", answer(bomb(100_000, 5)))
    refused(tmp_path, "too many pixels", answer(bomb(2**31 - 1, 2**31 - 1)))
    refused(tmp_path, "1001×1000 pixels", answer(picture(size=(1001, 1000))))
    assert decoded == []


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_or_a_file_of_several_pages_is_refused(tmp_path: Path, kind: str) -> None:
    refused(tmp_path, "has several frames", answer(animated(kind)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_picture_is_refused(tmp_path: Path, kind: str) -> None:
    noise = Image.effect_noise((200, 200), 60).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, kind)
    refused(tmp_path, "can't be read as a picture", answer(buffer.getvalue()[: len(buffer.getvalue()) // 2]))


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"P6 10 10 255\n" + bytes(300), b"MZ" + bytes(100), b"PK\x03\x04" + bytes(100), b"\x80\x02}q\x00.",
    ],
)  # fmt: skip
def test_other_formats_are_not_handed_to_a_decoder(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, "can't be read as a picture", answer(content))


def with_chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    plain = picture()
    check = struct.pack(">I", zlib.crc32(kind + body) ^ wrong)
    return plain[:33] + struct.pack(">I", len(body)) + kind + body + check + plain[33:]


@pytest.mark.parametrize(
    "content",
    [
        with_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(2**22))),
        with_chunk(b"iCCP", b"camera\0\0no zlib"),
        with_chunk(b"iTXt", b"note\0\1\0\0\0" + zlib.compress(bytes(2**22))),
        with_chunk(b"tEXt", b"note\0x", wrong=1),
        with_chunk(b"eXIf", b"no tiff"),
    ],
    ids=["large text", "broken profile", "large international text", "wrong checksum", "broken EXIF"],
)
def test_damaged_metadata_do_not_cost_the_picture(tmp_path: Path, content: bytes) -> None:
    assert fetched(tmp_path, answer(content)).path.read_bytes() == content


def test_a_picture_of_a_phone_is_named(tmp_path: Path) -> None:
    refused(tmp_path, "it is a HEIC image, as phones take them: send it as PNG or JPEG", answer(b"\0\0\0\x20ftypheic"))


def data_uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_a_data_uri_is_decoded_within_its_bound(tmp_path: Path) -> None:
    content = picture()
    for uri in (data_uri(content), data_uri(content, "text/html"), data_uri(content, "").rstrip("=")):
        assert done(lambda fetcher, uri=uri: fetcher.image(uri, tmp_path)).path.read_bytes() == content
    for uri, why in (
        (data_uri(bytes(200_001)), "more than 200000 bytes"),
        (data_uri(bytes(10_000_000)), "more than 200000 bytes"),
        ("data:image/png;base64,?!", "not valid base64"),
        ("data:image/png;base64,é", "not valid base64"),
        ("data:image/png", "data URI is not valid"),
        ("data:" + "x" * 300 + ",", "data URI is not valid"),
        ("data:,hello", "can't be read as a picture"),
        (data_uri(b"<svg/>", "image/svg+xml"), "can't be read as a picture"),
    ):
        with pytest.raises((Unfetched, BadFile), match=why):
            done(lambda fetcher, uri=uri: fetcher.image(uri, tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_lora_is_a_safetensors_file(tmp_path: Path) -> None:
    found = fetched(tmp_path, answer(lora()), "/lora.bin", "lora")
    assert found.path.suffix == ".safetensors"
    assert found.path.read_bytes() == lora()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04" + bytes(100), "not in the safetensors format"),  # a pickle in a zip archive
        (b"\x80\x02}q\x00.", "truncated"),
        (struct.pack("<Q", 2**62) + b"{}", "not in the safetensors format"),
        (struct.pack("<Q", 4) + b"null", "not in the safetensors format"),
        (struct.pack("<Q", 2) + b"{}", "header of the file is damaged"),
        (struct.pack("<Q", 100_000) + b"{" * 100_000, "header of the file is damaged"),
        (lora(dtype="F16"), "header of the file is damaged"),
        (lora(shape=[2**40]), "header of the file is damaged"),
        (lora(shape=[-2]), "header of the file is damaged"),
        (lora(data_offsets=[4, 12]), "overlap or leave gaps"),
        (lora(shape=[2**20], data_offsets=[0, 2**22]), "has 4194[0-9]* bytes"),
        (lora()[:-1], "truncated"),
        (lora() + b"more", "more follows"),
    ],
)
def test_another_file_is_no_lora(tmp_path: Path, content: bytes, why: str) -> None:
    refused(tmp_path, why, answer(content), path="/lora.safetensors", kind="lora")


def test_the_rest_of_a_file_that_is_no_lora_is_not_downloaded(tmp_path: Path) -> None:
    sent = 0

    async def endless(path: str, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nPK\x03\x04" + bytes(60))
        while True:
            writer.write(bytes(2**16))
            sent += 2**16
            await writer.drain()

    large = Limits(lora_bytes=2**30)
    refused(tmp_path, "not in the safetensors format", endless, kind="lora", limits=large)
    assert sent < 2**23


def test_a_webhook_is_posted_without_following_redirects() -> None:
    async def use(fetcher: Fetcher) -> tuple[int, list[str], list[str]]:
        async with serving(answer(b"")) as inner, serving(redirect(inner.url(), "307 Temporary")) as outer:
            status = await fetcher.post(outer.url("/hook?a=b"), b'{"a": 1}', {"Content-Type": "application/json"})
            return status, outer.heads, inner.heads

    status, heads, inner = done(use)
    assert status == 307
    assert heads[0].startswith("POST /hook?a=b HTTP/1.1")
    assert inner == []


def test_a_webhook_s_headers_can_not_be_split() -> None:
    async def use(fetcher: Fetcher) -> list[str]:
        async with serving(answer(b"")) as server:
            with pytest.raises(Unfetched):
                await fetcher.post(server.url(), b"", {"X-Fal": "a\r\nX-Injected: b"})
            return server.heads

    assert done(use) == []


def test_a_webhook_that_does_not_answer_is_given_up() -> None:
    async def silent(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def use(fetcher: Fetcher) -> None:
        async with serving(silent) as server:
            await fetcher.post(server.url(), b"{}", {})

    with pytest.raises(Unfetched, match="does not answer in time"):
        done(use, limits=Limits(webhook_seconds=0.3))


def test_a_webhook_s_address_is_judged_before_a_call() -> None:
    fetcher = Fetcher()
    assert fetcher.refusal("https://example.org/hook") == ""
    for url in ("http://127.0.0.1/", "http://10.0.0.1/hook", "ftp://example.org/", "http://a:b@example.org/"):
        assert fetcher.refusal(url)
