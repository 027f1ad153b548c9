"""A gateway over the fake pool in a process of its own: killed.py FOLDER; prints its address and serves for ever."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from fakes import FakePool, serving


async def main() -> None:
    async with serving(Path(sys.argv[1]), FakePool(workers=2)) as served:
        print(served.url, flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
