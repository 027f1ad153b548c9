"""Settings of the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1024 * 1024
DAY = 86400.0


@dataclass(frozen=True)
class Settings:
    """Folders, limits and lifetimes. Sizes are in bytes, times in seconds.

    `state`: folder of the database, results and uploads. `public_url`: address under which callers reach the server,
    without a final slash; "" takes scheme and host from each request. `safety_checker`: False answers every request
    unchecked, and says so in the header `x-fooocus-safety-checker`. `log_reasons`: log the whole reason of a failure,
    which may quote the request. `body_seconds`, `body_pace`: the server waits so long for the body of a call, and a
    second more for each so many bytes of it. `quick_disconnect`: how long a `run` whose caller has gone is kept for the
    same call to be made again.
    """

    state: Path
    public_url: str = ""
    safety_checker: bool = True
    log_reasons: bool = False
    max_queue: int = 10_000
    max_body: int = 128 * MEBIBYTE
    max_upload: int = 512 * MEBIBYTE
    request_seconds: float = 600.0
    result_seconds: float = DAY
    upload_seconds: float = DAY
    body_seconds: float = 30.0
    body_pace: int = 1024
    quick_disconnect: float = 10.0

    @property
    def results(self) -> Path:
        return self.state / "results"

    @property
    def uploads(self) -> Path:
        return self.state / "uploads"

    @property
    def bodies(self) -> Path:
        return self.state / "bodies"

    @property
    def inputs(self) -> Path:
        return self.state / "inputs"
