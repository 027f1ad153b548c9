"""Work in a loop of its own thread: its result, its error, and its end when it is broken off."""

import asyncio
import os
import signal
import threading

import pytest
from fooocus_stages.serving.comfyui.loop_thread import LoopThread


async def give(value: int) -> int:
    await asyncio.sleep(0)
    if value < 0:
        raise ValueError("negative")
    return value


def test_results_and_errors_come_back() -> None:
    with LoopThread() as loop:
        assert [loop.run(give(value)) for value in (1, 2)] == [1, 2]
        with pytest.raises(ValueError, match="negative"):
            loop.run(give(-1))
        assert loop.run(give(3)) == 3


def test_a_signal_breaks_off_and_waits_for_the_end() -> None:
    begun, told = threading.Event(), []

    async def work() -> None:
        try:
            begun.set()
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.05)
            told.append("tidied up")

    def press() -> None:
        assert begun.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with LoopThread() as loop, pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert told == ["tidied up"]
    finger.join()
