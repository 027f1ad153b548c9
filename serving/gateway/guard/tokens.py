"""Short-lived tokens that stand for a key, for uploads and streams that cannot send it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ....pipelines.files import write_file


def secret_of(path: Path) -> bytes:
    """Return the server's secret, made at the first call and readable by its user alone."""
    if not path.exists():
        previous = os.umask(0o077)
        try:
            write_file(path, secrets.token_bytes(32))
        finally:
            os.umask(previous)
    return path.read_bytes()


class Tokens:
    """Issues and checks tokens signed with the server's secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, owner: str, expires: float) -> str:
        """Return a token of an owner, valid until that time."""
        text = base64.urlsafe_b64encode(f"{expires:.0f} {owner}".encode()).decode().rstrip("=")
        return f"{text}.{self._sign(text)}"

    def owner(self, token: str, now: float) -> str | None:
        """Return the owner of a token, None for a wrong or expired one."""
        text, _, signature = token.partition(".")
        if not signature.isascii() or not hmac.compare_digest(signature, self._sign(text)):
            return None
        expires, _, owner = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(" ")
        return owner if float(expires) > now else None

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
