"""Messages to callers do not tell where files lie on the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fooocus_stages.serving.gateway import outcomes

from .fakes import serving


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
