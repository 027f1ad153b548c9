"""Ed25519 signatures of webhook calls, in the platform's form."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ...pipelines.files import write_file


class Signer:
    """Signs with the key in a file, which is made at the first use and readable by its user alone."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            previous = os.umask(0o077)
            try:
                write_file(path, Ed25519PrivateKey.generate().private_bytes_raw())
            finally:
                os.umask(previous)
        self._key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())

    def jwks(self) -> dict[str, Any]:
        """Return the key set with which receivers check signatures."""
        public = self._key.public_key().public_bytes_raw()
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(public).decode().rstrip("=")}]}

    def headers(self, request: str, user: str, seconds: int, body: bytes) -> dict[str, str]:
        """Return the headers of a call with this body at that time, in seconds since 1970."""
        text = f"{request}\n{user}\n{seconds}\n{hashlib.sha256(body).hexdigest()}"
        return {
            "X-Fal-Webhook-Request-Id": request,
            "X-Fal-Webhook-User-Id": user,
            "X-Fal-Webhook-Timestamp": str(seconds),
            "X-Fal-Webhook-Signature": self._key.sign(text.encode()).hex(),
        }
