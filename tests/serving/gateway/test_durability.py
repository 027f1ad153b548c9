"""Nothing that was accepted is lost, and nothing is committed twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import stat
import uuid
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.serving.gateway import dispatcher as dispatching
from fooocus_stages.serving.gateway import records, results
from fooocus_stages.serving.gateway.dispatcher import MOST_ATTEMPTS
from fooocus_stages.serving.gateway.records import Accepted, Options
from fooocus_stages.serving.gateway.seeds import seed_of
from fooocus_stages.serving.gateway.store import Store
from fooocus_stages.serving.pool.types import Cancelled

from .fakes import APP, FakePool, serving


def test_requests_of_an_earlier_process_are_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "LARGE_BODY", 1000)

    async def scenario() -> None:
        pool = FakePool()
        pool.open.clear()
        async with serving(tmp_path, pool) as served:
            ids = [
                await served.submit({"prompt": f"number {n}", "big": "x" * (2_000 if n == 3 else 1)}) for n in range(6)
            ]
            assert len(list((tmp_path / "bodies").iterdir())) == 1
        async with serving(tmp_path) as served:
            for id in ids:
                assert (await served.wait(id)).get("error") is None
            assert served.pool.ran == [f"number {n}" for n in range(6)]
            assert not list((tmp_path / "bodies").iterdir())

    asyncio.run(scenario())


def test_finished_requests_and_their_images_outlive_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({"prompt": "steps 2"})
            logs = (await served.wait(id))["logs"]
        (tmp_path / "results" / ("x" * 32)).write_bytes(b"written, but never committed")
        async with serving(tmp_path) as served:
            assert (await served.status(id))["logs"] == logs
            _, output, _ = await served.result(id)
            assert (await served.call("GET", output["images"][0]["url"]))[0] == 200
            assert served.pool.ran == []
            assert len(list((tmp_path / "results").iterdir())) == 1

    asyncio.run(scenario())


def test_a_request_that_ends_the_server_again_and_again_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store(tmp_path / "gateway.sqlite")
        for id in ("killer", "stopped"):
            await store.write(records.insert(Accepted(id, "fal-ai/fooocus", "", 0, Options(), 1.0), b"{}"))
        for _ in range(MOST_ATTEMPTS):
            await store.write(records.begin("killer"))
        await store.write(records.request_cancel("stopped"))
        async with serving(tmp_path, store=store) as served:
            await served.wait("killer")
            assert (await served.result("killer"))[0] == 500
            await served.wait("stopped")
            assert (await served.result("stopped"))[0] == 499
            assert served.pool.ran == []

    asyncio.run(scenario())


def test_an_image_and_its_name_are_on_the_disk_before_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    real, finish = os.fsync, records.finish

    def fsync(descriptor: int) -> None:
        real(descriptor)
        happened.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "image")

    def act(*arguments: Any) -> records.Act[bool]:
        happened.append("row")
        return finish(*arguments)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            monkeypatch.setattr(os, "fsync", fsync)
            monkeypatch.setattr(records, "finish", act)
            await served.wait(await served.submit({}))
            assert happened == ["image", "folder", "row"]

    asyncio.run(scenario())


def test_a_result_waits_for_a_full_disk_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(28, "No space left on device")] * 2

    def write(path: Path, data: bytes) -> None:
        if failures:
            raise failures.pop()
        path.write_bytes(data)

    monkeypatch.setattr(results, "write_new", write)
    monkeypatch.setattr(dispatching, "WAIT_FOR_DISK", (0.05,))

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({})
            assert (await served.wait(id)).get("error") is None
            assert (await served.result(id))[0] == 200
            assert (len(served.pool.ran), failures) == (1, [])

    asyncio.run(scenario())


def test_a_full_database_refuses_requests_and_takes_them_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            store = served.gateway.store
            await store.write(lambda connection: connection.execute("PRAGMA max_page_count=30").fetchone())
            code, body, _ = await served.call("POST", f"/fal/queue{APP}", json={"prompt": "x" * 900_000})
            assert (code, "full" in body["detail"]) == (507, True)
            await store.write(lambda connection: connection.execute("PRAGMA max_page_count=1000000").fetchone())
            await served.wait(await served.submit({"prompt": "x" * 900_000}))

    asyncio.run(scenario())


def test_a_locked_database_is_a_503_and_loses_no_result(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store(tmp_path / "gateway.sqlite", patience=0.1)
        async with serving(tmp_path, store=store) as served:
            id = await served.submit({"prompt": "steps 10"})
            await served.wait(id, "IN_PROGRESS")
            with contextlib.closing(sqlite3.connect(tmp_path / "gateway.sqlite", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert (await served.call("POST", f"/fal/queue{APP}", json={}))[0] == 503
                await asyncio.sleep(0.5)
                assert (await served.status(id))["status"] == "IN_PROGRESS"
                other.execute("COMMIT")
            await served.wait(id)
            assert (await served.result(id))[0] == 200

    asyncio.run(scenario())


def test_an_id_that_exists_is_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same, other = uuid.UUID(int=1), uuid.UUID(int=2)
    drawn = iter([same, same, other])
    monkeypatch.setattr(dispatching.uuid, "uuid4", lambda: next(drawn))

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            assert [await served.submit({}), await served.submit({})] == [str(same), str(other)]

    asyncio.run(scenario())


def test_the_seed_of_a_request_without_one_is_the_same_after_a_restart() -> None:
    id = str(uuid.uuid4())
    assert seed_of(id) == seed_of(id)
    assert 0 <= seed_of(id) < 2**53


def test_an_event_for_an_unknown_request_is_ignored(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            served.pool._events.put(Cancelled("nobody"))
            await served.wait(await served.submit({}))

    asyncio.run(scenario())


def test_bodies_are_json_as_they_came(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({"prompt": "\u00e9", "n": 1})
            body = await served.gateway.store.read(records.body_of(id))
            assert json.loads(body) == {"prompt": "\u00e9", "n": 1}

    asyncio.run(scenario())
