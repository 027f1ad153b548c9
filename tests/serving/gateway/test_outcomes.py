"""Messages to callers do not tell where files lie on the server."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.serving.gateway import outcomes
from fooocus_stages.serving.gateway.logs import JsonLines

from .fakes import FakePool, serving


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "loras file 'x' is missing; looked in: /srv/models/loras, /data/loras",
            "loras file 'x' is missing; looked in: loras, loras",
        ),
        ("'/srv/models/loras/a.safetensors' is broken", "'a.safetensors' is broken"),
        (r"'C:\Users\me\models\a.ckpt' and D:/models/b.ckpt", "'a.ckpt' and b.ckpt"),
        ("from https://example.org/models/a.safetensors", "from https://example.org/models/a.safetensors"),
        ("fal-ai/fooocus/image-prompt takes 1/2 or w/h", "fal-ai/fooocus/image-prompt takes 1/2 or w/h"),
        ("looked in: /srv/my models/loras, /home/Ann Lee/x y/loras", "looked in: loras, loras"),
        ("'/srv/ann's models/v1.5,new/a b.ckpt' is broken", "'a b.ckpt' is broken"),
        ("file /srv/my models/a.safetensors has 1/2 of it", "file a.safetensors has 1/2 of it"),
        (r"C:\Users\Ann Lee\My Models\a.ckpt and \\server\my share\b.ckpt", "a.ckpt and b.ckpt"),
        ("file:///srv/my models/a.png, in:/srv/a b/c", "a.png, in:c"),
        ("http://[::1]/a/b and http://host:80/c/d, a / b", "http://[::1]/a/b and http://host:80/c/d, a / b"),
    ],
)
def test_folders_are_left_out(text: str, told: str) -> None:
    assert outcomes.public(text) == told


def test_a_failure_names_files_without_their_folders(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({"prompt": "user /srv/models/loras/a.safetensors is broken"})
            await served.wait(id)
            _, body, _ = await served.result(id)
            assert "a.safetensors is broken" in body["detail"][0]["msg"]
            assert "/srv" not in str(body)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("prompt", "log_reasons", "logged"),
    [
        ("user of /srv/my models/a.ckpt", False, {"error_type": "user", "paths": ["/srv/my models/a.ckpt"]}),
        ("user of /srv/my models/a.ckpt", True, {"error_type": "user", "error": "no: user of /srv/my models/a.ckpt"}),
        (
            "memory of /srv/my models/a.ckpt",
            False,
            {"error_type": "memory", "error": "no: memory of /srv/my models/a.ckpt"},
        ),
    ],
)
def test_the_log_has_the_folders_that_callers_are_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, prompt: str, log_reasons: bool, logged: dict[str, Any]
) -> None:
    async def scenario() -> str:
        async with serving(tmp_path, log_reasons=log_reasons) as served:
            id = await served.submit({"prompt": prompt})
            await served.wait(id)
            assert "my models" not in str((await served.result(id))[1])
            return id

    with caplog.at_level(logging.INFO):
        id = asyncio.run(scenario())
    (record,) = [one for one in caplog.records if one.message == "failed"]
    line = json.loads(JsonLines().format(record))
    assert (line.pop("level"), line.pop("message"), line.pop("request")) == ("warning", "failed", id)
    line.pop("time")
    assert line == logged


def test_why_a_worker_can_not_start_is_told_without_folders(tmp_path: Path) -> None:
    async def scenario() -> None:
        pool = FakePool()
        pool.reason = "folder /srv/models/loras does not exist"
        async with serving(tmp_path, pool) as served:
            (worker,) = (await served.call("GET", "/ready"))[1]["workers"]
            assert worker["reason"] == "folder loras does not exist"

    asyncio.run(scenario())
