"""Checks fal's Python client against a gateway, whose address the environment gives to the client itself."""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fal_client

APP = "fal-ai/fooocus"
FAST = {"uov_method": "Upscale (Fast 2x)", "output_format": "png", "enable_safety_checker": False}
PICTURE = Path(os.environ["PICTURE"])
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(uploads: bool) -> None:
    client = fal_client.SyncClient(key=os.environ["GATEWAY_KEY"])
    url = client.upload_file(PICTURE) if uploads else fal_client.encode_file(PICTURE)
    enlarge = {**FAST, "uov_image_url": url}
    seen: list[Any] = []
    output = client.subscribe(f"{APP}/upscale-or-vary", enlarge, with_logs=True, on_queue_update=seen.append)
    assert output["images"][0]["width"] == output["images"][0]["height"]
    assert isinstance(seen[-1], fal_client.Completed)
    assert seen[-1].logs
    with DIRECT.open(output["images"][0]["url"]) as reply:
        assert reply.headers["Content-Type"] == "image/png"
    if os.environ.get("LARGE"):
        large = bytes(101 * 1024 * 1024)  # sent in parts
        with DIRECT.open(client.upload(large, "application/octet-stream")) as reply:
            assert len(reply.read()) == len(large)
    assert len(client.run(f"{APP}/upscale-or-vary", enlarge)["images"]) == 1
    handle = client.submit(f"{APP}/upscale-or-vary", enlarge)
    assert len(handle.get()["images"]) == 1

    slow = {"prompt": "a red circle", "performance": "Quality", "aspect_ratio": "1024x1024"}
    running, waiting = (client.submit(APP, {**slow, "enable_safety_checker": False}) for _ in range(2))
    while not isinstance(running.status(), fal_client.InProgress):
        time.sleep(0.05)
    for handle in (waiting, running):
        handle.cancel()
        fails(499, handle.get)

    assert "guidance_scale" in str(fails(422, lambda: client.subscribe(APP, {"guidance_scale": 99})))
    fails(404, lambda: client.result(APP, "nobody"))
    fails(401, lambda: fal_client.SyncClient(key="wrong:key").submit(APP, {}))
    if os.environ.get("EXAMPLES"):
        examples(client, url)
    print("all checks passed")


def examples(client: fal_client.SyncClient, url: str) -> None:
    """The example requests of the two endpoint documents; the second one's picture is served here."""
    shared = {
        "negative_prompt": "(worst quality, low quality, normal quality, lowres)",
        "styles": ["Fooocus Enhance", "Fooocus Sharp", "Fooocus V2"],
        "performance": "Extreme Speed",
        "guidance_scale": 4,
        "sharpness": 2,
        "aspect_ratio": "1024x1024",
        "num_images": 1,
        "loras": [],
        "refiner_model": "None",
        "refiner_switch": 0.8,
        "output_format": "jpeg",
        "seed": 176400,
        "enable_safety_checker": True,
    }
    astronaut = "an astronaut in the jungle, cold color palette with butterflies in the background, highly detailed, 8k"
    control = {"control_type": "ImagePrompt", "control_image_weight": 1, "control_image_stop_at": 1}
    output = client.subscribe(APP, {**shared, "prompt": astronaut, **control})
    assert (output["images"][0]["content_type"], output["seed"]) == ("image/jpeg", 176400)
    prompt = {"weight": 1, "stop_at": 1, "type": "PyraCanny", "image_url": url}
    options = {"inpaint_mode": "Inpaint or Outpaint (default)", "outpaint_selections": [], "uov_method": "Disabled"}
    output = client.subscribe(
        f"{APP}/image-prompt", {**shared, "prompt": "pikachu", "image_prompt_1": prompt, **options}
    )
    assert len(output["images"]) == 1


def fails(status: int, act: Callable[[], Any]) -> fal_client.FalClientHTTPError:
    try:
        act()
    except fal_client.FalClientHTTPError as error:
        if error.status_code != status:
            raise
        return error
    raise AssertionError(f"no error, expected {status}")


if __name__ == "__main__":
    main(uploads="--no-uploads" not in sys.argv)
