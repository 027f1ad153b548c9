"""The page, in a headless Chromium and as its script calls the server."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.serving.gateway.hosted import HostedEndpoints

from .fakes import FakeEndpoints, serving
from .test_doors import TwoKeys

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / ".browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class PageEndpoints(FakeEndpoints):
    """The hosted endpoints' document over requests that do as the prompt says."""

    def ids(self) -> Collection[str]:
        return HostedEndpoints().ids()

    def openapi(self) -> Mapping[str, Any]:
        return HostedEndpoints().openapi()


def chromium() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.mark.parametrize("prefix", ["", "/fal/"])
def test_a_person_uses_the_page(tmp_path: Path, prefix: str) -> None:
    node, browser = shutil.which("node"), chromium()
    if node is None or browser is None or not (MODULES / "node_modules" / "playwright-core").is_dir():
        pytest.skip("Node.js, Chromium and .browser/node_modules/playwright-core are needed: make browser")

    async def scenario() -> None:
        async with serving(tmp_path, endpoints=PageEndpoints(), prefix=prefix.rstrip("/")) as served:
            script = str(Path(__file__).parent / "clients" / "page.mjs")
            pipe = asyncio.subprocess.PIPE
            arguments = (node, script, served.url + prefix, browser, str(MODULES))
            process = await asyncio.create_subprocess_exec(*arguments, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
            output, _ = await asyncio.wait_for(process.communicate(), 120)
            assert process.returncode == 0, output.decode()
            assert b"the page works" in output

    asyncio.run(scenario())


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for path, kind in (
                ("/", "text/html"),
                ("/page/page.js", "text/javascript"),
                ("/page/page.css", "text/css"),
            ):
                code, content, headers = await served.call("GET", path)
                assert (code, headers["Content-Type"].partition(";")[0]) == (200, kind)
                assert "default-src 'self'" in headers["Content-Security-Policy"]
                assert b"http://" not in content
                assert b"https://" not in content
            for path in ("/page/index.html", "/page/../app.py", "/page/page.py"):
                assert (await served.call("GET", path))[0] == 404

    asyncio.run(scenario())


def test_what_the_script_asks_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({"prompt": "steps 3", "mask": "data:image/png;base64," + "A" * 5000})
            await served.wait(id)
            _, state, _ = await served.call("GET", "/page/state")
            assert (state["waiting"], [one["id"] for one in state["recent"]]) == (0, [id])
            _, one, _ = await served.call("GET", f"/page/requests/{id}")
            assert (one["status"], one["request"]["prompt"]) == ("COMPLETED", "steps 3")
            assert len(one["request"]["mask"]) < 100
            assert one["output"]["images"][0]["url"].startswith(served.url)
            _, workflow, _ = await served.call("GET", f"/page/requests/{id}/workflow")
            assert workflow["endpoint"] == "fal-ai/fooocus"
            assert (await served.call("GET", "/openapi.json"))[0] == 200

    asyncio.run(scenario())


def test_each_key_sees_its_own_requests(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, keys=TwoKeys()) as served:
            one, two = {"Authorization": "Key one"}, {"Authorization": "Key two"}
            id = await served.submit({}, headers=one)
            assert (await served.call("GET", "/page/state"))[0] == 401
            assert (await served.call("GET", f"/page/requests/{id}", headers=two))[0] == 404
            assert (await served.call("GET", f"/page/requests/{id}/workflow", headers=two))[0] == 404
            _, state, _ = await served.call("GET", "/page/state", headers=two)
            assert (state["recent"], state["unfinished"]) == ([], [])
            assert (await served.call("GET", f"/page/requests/{id}", headers=one))[0] == 200

    asyncio.run(scenario())
