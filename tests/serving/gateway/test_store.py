"""Writes reach the disk together, once, or say why they did not."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.serving.gateway import records
from fooocus_stages.serving.gateway.records import Accepted, Options, Outcome
from fooocus_stages.serving.gateway.store import Store, StoreError

ONE = Accepted("one", "fal-ai/fooocus", "", 0, Options(), 1.0)


def insert(id: str) -> records.Act[Accepted]:
    return records.insert(Accepted(id, "fal-ai/fooocus", "", 0, Options(webhook="http://x/"), 1.0), b"{}")


def test_writes_that_wait_share_a_transaction_and_keep_their_own_errors(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store(tmp_path / "a.sqlite")
        held = threading.Event()
        first = asyncio.ensure_future(store.write(lambda connection: held.wait(5)))
        await asyncio.sleep(0.1)
        writes = [store.write(insert(id)) for id in ("a", "b", "a", "c")]
        together = asyncio.gather(*writes, return_exceptions=True)
        await asyncio.sleep(0.05)
        held.set()
        await first
        values = await together
        assert [value.number for value in values if isinstance(value, Accepted)] == [1, 2, 3]
        assert isinstance(values[2], sqlite3.IntegrityError)
        assert [one.id for one in await store.read(records.unfinished)] == ["a", "b", "c"]
        store.close()

    asyncio.run(scenario())


def test_a_transaction_is_confirmed_by_the_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store(tmp_path / "a.sqlite")
        asked = ("PRAGMA synchronous", "PRAGMA journal_mode")
        found = [await store.write(lambda connection, one=one: connection.execute(one).fetchone()[0]) for one in asked]
        assert found == [2, "wal"]  # FULL: the log reaches the disk in each transaction
        store.close()

    asyncio.run(scenario())


def test_a_caller_that_is_cancelled_stops_no_other_write(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store(tmp_path / "a.sqlite")
        held = threading.Event()
        begun = asyncio.ensure_future(store.write(lambda connection: held.wait(5)))
        await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(store.write(insert("a")))
        await asyncio.sleep(0.05)
        begun.cancel()
        waiting.cancel()
        await asyncio.sleep(0)
        held.set()
        await store.write(insert("b"))
        assert [one.id for one in await store.read(records.unfinished)] == ["b"]
        store.close()

    asyncio.run(scenario())


def test_an_outcome_is_committed_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store(tmp_path / "a.sqlite")
        accepted = await store.write(insert("one"))
        first = await store.write(records.finish(accepted, Outcome(200, {"images": []}), [], [], 2.0, 9.0))
        second = await store.write(records.finish(accepted, Outcome(500, {}), [], [], 3.0, 9.0))
        assert (first, second) == (True, False)
        found = await store.read(records.finished("one"))
        assert found is not None
        assert found.outcome.status == 200
        assert [one.request for one in await store.read(records.deliveries)] == ["one"]
        store.close()

    asyncio.run(scenario())


def test_a_lock_of_another_process_is_waited_for_and_then_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store(tmp_path / "a.sqlite", patience=0.3)
        with contextlib.closing(sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked") as caught:
                await store.write(insert("a"))
            assert caught.value.reason == "locked"
            waiting = asyncio.ensure_future(store.write(insert("b")))
            await asyncio.sleep(0.1)
            other.execute("COMMIT")
        assert (await waiting).id == "b"
        store.close()

    asyncio.run(scenario())


def test_a_full_disk_refuses_what_does_not_fit_and_takes_the_rest(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Store(tmp_path / "a.sqlite")
        await store.write(lambda connection: connection.execute("PRAGMA max_page_count=40").fetchone())
        large = records.insert(ONE, b"x" * 1_000_000)
        values = await asyncio.gather(store.write(large), store.write(insert("b")), return_exceptions=True)
        assert isinstance(values[0], StoreError)
        assert values[0].reason == "full"
        assert isinstance(values[1], Accepted)
        store.close()

    asyncio.run(scenario())


def test_what_was_acknowledged_survives_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from fooocus_stages.serving.gateway import records\n"
        "from fooocus_stages.serving.gateway.store import Store\n"
        "async def main():\n"
        "    store = Store(Path(sys.argv[1]))\n"
        "    for n in range(20):\n"
        "        one = records.Accepted(str(n), 'e', '', 0, records.Options(), 1.0)\n"
        "        await store.write(records.insert(one, b'{}'))\n"
        "        print(n, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "a.sqlite"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(n) for n in range(20)], done.stderr

    async def scenario() -> None:
        store = Store(path)
        assert len(await store.read(records.unfinished)) == 20
        store.close()

    asyncio.run(scenario())


def test_another_file_or_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but a text that is long enough for a header of SQLite" * 20)
    with pytest.raises(BadFile, match="choose another state folder"):
        Store(tmp_path / "text")
    with contextlib.closing(sqlite3.connect(tmp_path / "b.sqlite")) as other:
        other.execute("PRAGMA user_version=99")
    with pytest.raises(BadFile, match="version 99"):
        Store(tmp_path / "b.sqlite")
