"""Submit, status, stream, result and cancel, as the clients use them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from .fakes import APP, FakePool, Served, serving


def run(scenario: object) -> None:
    asyncio.run(scenario)  # type: ignore[arg-type]


def test_a_request_is_accepted_run_and_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            status, reply, headers = await served.call("POST", f"/fal/queue{APP}/image-prompt", json={"prompt": "a"})
            id = reply["request_id"]
            base = f"{served.url}/fal/queue{APP}/requests/{id}"
            assert (status, reply["status"], reply["queue_position"]) == (200, "IN_QUEUE", 0)
            assert (reply["status_url"], reply["cancel_url"]) == (f"{base}/status", f"{base}/cancel")
            assert reply["response_url"] == base
            assert headers["x-fal-request-id"] == id
            state = await served.wait(id)
            assert [entry["message"] for entry in state["logs"]] == ["running on fake:0", "a notice"]
            assert state["metrics"]["inference_time"] == 0
            status, output, headers = await served.result(id)
            assert (status, headers["x-fal-request-id"], output["notices"]) == (200, id, ["a notice"])
            status, image, headers = await served.call("GET", output["images"][0]["url"])
            assert status == 200
            assert image.startswith(b"\x89PNG")
            assert headers["Content-Type"] == "image/png"

    run(scenario())


def test_polled_logs_are_cumulative_and_streamed_logs_incremental(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({"prompt": "steps 5"})
            url = f"{served.url}/fal/queue{APP}/requests/{id}/status/stream?logs=1"
            events = []
            async with served.session.get(url, headers={"Accept": "application/json, text/event-stream"}) as reply:
                assert reply.content_type == "text/event-stream"
                async for line in reply.content:
                    if line.startswith(b"data: "):
                        events.append(json.loads(line[6:]))
            streamed = [entry["message"] for event in events for entry in event.get("logs", [])]
            assert streamed == ["running on fake:0", *(f"step {n}/5" for n in range(1, 6)), "a notice"]
            assert events[-1]["status"] == "COMPLETED"
            assert "queue_position" in events[0] or events[0]["status"] == "IN_PROGRESS"
            polled = (await served.status(id))["logs"]
            assert [entry["message"] for entry in polled] == streamed
            assert (await served.status(id, "false"))["logs"] == []

    run(scenario())


def test_requests_start_in_the_order_of_their_acceptance(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            served.pool.open.clear()
            ids = [await served.submit({"prompt": f"number {n}"}) for n in range(4)]
            low = await served.submit({"prompt": "low"}, headers={"x-fal-queue-priority": "low"})
            last = await served.submit({"prompt": "last"})
            await served.wait(ids[0], "IN_PROGRESS")
            positions = [(await served.status(id)).get("queue_position") for id in [*ids[1:], last, low]]
            assert positions == [0, 1, 2, 3, 4]
            served.pool.open.set()
            await served.wait(low)
            assert served.pool.ran == [*(f"number {n}" for n in range(4)), "last", "low"]

    run(scenario())


@pytest.mark.parametrize(
    ("prompt", "status", "error_type"),
    [
        ("user", 422, ""),
        ("node", 500, "runner_server_error"),
        ("memory", 500, "runner_server_error"),
        ("timeout", 504, "request_timeout"),
        ("crash", 500, "runner_disconnected"),
    ],
)
def test_a_failed_request_is_completed_with_an_error(tmp_path: Path, prompt: str, status: int, error_type: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({"prompt": prompt})
            state = await served.wait(id)
            assert state["error"]
            code, body, headers = await served.result(id)
            assert (code, headers.get("x-fal-error-type", "")) == (status, error_type)
            assert headers["x-fal-request-id"] == id
            assert body["detail"]
            assert (await served.wait(await served.submit({"prompt": "next"}))).get("error") is None

    run(scenario())


def test_a_wrong_request_is_completed_with_the_platforms_422(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({"guidance_scale": 99})
            assert (await served.status(id))["status"] == "COMPLETED"
            code, body, _ = await served.result(id)
            assert code == 422
            assert body["detail"][0]["loc"] == ["body", "guidance_scale"]
            for data in (b"{", b"[1]", b'{"seed": NaN}', b"[" * 100_000):
                assert (await served.call("POST", f"/fal/queue{APP}", data=data))[0] == 422

    run(scenario())


def test_an_empty_body_is_an_empty_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            headers = {"Content-Type": "application/json"}
            for data in (b"", b" \n"):
                status, reply, _ = await served.call("POST", f"/fal/queue{APP}", data=data, headers=headers)
                assert status == 200
                assert "error" not in await served.wait(reply["request_id"])

    run(scenario())


async def _cancel(served: Served, id: str) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"}
    status, reply, _ = await served.call("PUT", f"/fal/queue{APP}/requests/{id}/cancel", data=b"", headers=headers)
    return status, reply["status"]


def test_cancel_while_waiting_while_running_and_afterwards(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            running = await served.submit({"prompt": "steps 500"})
            waiting = await served.submit({"prompt": "never"})
            await served.wait(running, "IN_PROGRESS")
            assert await _cancel(served, waiting) == (200, "OK")
            assert await _cancel(served, running) == (202, "CANCELLATION_REQUESTED")
            for id in (waiting, running):
                assert (await served.wait(id))["error_type"] == "client_cancelled"
                code, body, _ = await served.result(id)
                assert (code, body["detail"]) == (499, "Request cancelled by the client.")
            assert await _cancel(served, running) == (400, "ALREADY_COMPLETED")
            assert await _cancel(served, "nobody") == (404, "NOT_FOUND")
            assert "never" not in served.pool.ran

    run(scenario())


def test_unknown_ids_endpoints_and_unfinished_results_have_their_own_answers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            assert (await served.result("nobody"))[0] == 404
            assert (await served.call("GET", f"/fal/queue{APP}/requests/x/status"))[0] == 404
            assert (await served.call("POST", "/fal/queue/fal-ai/flux", json={}))[0] == 404
            assert (await served.call("GET", f"/fal/queue{APP}"))[0] == 405
            id = await served.submit({"prompt": "steps 50"})
            code, body, headers = await served.result(id)
            assert (code, body["detail"], headers["x-fal-request-id"]) == (400, "Request is still in progress", id)

    run(scenario())


def test_start_deadlines_and_queue_lengths(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, max_queue=3) as served:
            served.pool.open.clear()
            first = await served.submit({"prompt": "first"})
            await served.wait(first, "IN_PROGRESS")
            late = await served.submit({"prompt": "late"}, headers={"x-fal-request-timeout": "0.1"})
            code, body, _ = await served.call("POST", f"/fal/queue{APP}?fal_max_queue_length=0", json={})
            assert (code, body["error_type"]) == (429, "queue_full")
            assert (await served.call("POST", f"/fal/queue{APP}?fal_max_queue_length=x", json={}))[0] == 400
            await served.wait(late)
            code, body, headers = await served.result(late)
            assert (code, headers["x-fal-request-timeout-type"]) == (504, "user")
            for _ in range(3):
                await served.submit({})
            assert (await served.call("POST", f"/fal/queue{APP}", json={}))[0] == 429

    run(scenario())


def test_a_slow_input_delays_nobody_and_a_bad_one_is_a_422(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            slow = await served.submit({"prompt": "slow", "image_url": "http://slow/"})
            fast = await served.submit({"prompt": "fast"})
            bad = await served.submit({"image_url": "http://bad/"})
            for id in (slow, fast, bad):
                await served.wait(id)
            assert served.pool.ran == ["fast", "slow"]
            code, body, _ = await served.result(bad)
            assert (code, body["detail"][0]["loc"]) == (422, ["body", "image_url"])
            assert not list((tmp_path / "inputs").glob("*"))

    run(scenario())


def test_sync_mode_returns_data_uris_and_serves_no_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            id = await served.submit({"sync_mode": True})
            await served.wait(id)
            _, output, _ = await served.result(id)
            assert output["images"][0]["url"].startswith("data:image/png;base64,iVBOR")
            (token,) = [path.name for path in (tmp_path / "results").glob("*")]
            assert (await served.call("GET", f"/fal/files/{token}/x.png"))[0] == 404

    run(scenario())


def test_run_answers_with_the_output_or_the_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, FakePool(2)) as served:
            code, body, headers = await served.call("POST", f"/fal/run{APP}", json={"prompt": "steps 2"})
            assert (code, len(body["images"])) == (200, 1)
            assert headers["x-fal-request-id"]
            assert (await served.call("POST", f"/fal/run{APP}", json={"prompt": "node"}))[0] == 500
            assert (await served.call("POST", f"/fal/run{APP}", json={"guidance_scale": 99}))[0] == 422
            async with served.session.post(f"{served.url}/fal/run{APP}/stream", json={"prompt": "steps 2"}) as reply:
                events = [line async for line in reply.content if line.startswith(b"data: ")]
            assert json.loads(events[-1][6:])["images"]

    run(scenario())


def test_a_run_whose_caller_has_gone_is_joined_by_the_same_call_or_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, quick_disconnect=1.0) as served:
            call = served.call("POST", f"/fal/run{APP}", json={"prompt": "steps 60"})
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call, 0.3)
            await asyncio.sleep(0.6)
            code, _, _ = await served.call("POST", f"/fal/run{APP}", json={"prompt": "steps 60"})
            assert (code, served.pool.ran) == (200, ["steps 60"])
            call = served.call("POST", f"/fal/run{APP}", json={"prompt": "steps 500"})
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call, 0.3)
            (id,) = served.gateway.dispatcher.live
            assert (await served.wait(id))["error_type"] == "client_cancelled"

    run(scenario())
