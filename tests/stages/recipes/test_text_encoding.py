"""Comments in any encoding, decided by their bytes."""

from __future__ import annotations

import pytest
from fooocus_stages.pipelines.stages.recipes.text_encoding import decoded
from hypothesis import given
from hypothesis import strategies as st

LINE = "\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768"
MARKS = [b"", b"ASCII\0\0\0", b"ASCII   ", b"UNICODE\0", b"Unicode\0", b"JIS\0\0\0\0\0", bytes(8)]
ENCODINGS = ["utf-8", "utf-16-le", "utf-16-be"]
prompts = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cn", "Co")), max_size=60)


@given(prompts, st.sampled_from(MARKS), st.sampled_from(ENCODINGS), st.booleans(), st.booleans())
def test_every_encoding_is_recognised(prompt: str, mark: bytes, encoding: str, signed: bool, ended: bool) -> None:
    text = f"{prompt}\nNegative prompt: blurry{LINE}"
    written = ("\ufeff" if signed else "") + text + ("\0" if ended else "")
    assert decoded(mark + written.encode(encoding)) == text


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-be"])
def test_a_text_without_ascii(mark: bytes, encoding: str) -> None:
    assert (
        decoded(mark + "\u72d0\u72f8\u5728\u96ea\u4e2d\u6f22\u5b57".encode(encoding))
        == "\u72d0\u72f8\u5728\u96ea\u4e2d\u6f22\u5b57"
    )


def test_single_bytes_and_broken_ones() -> None:
    assert decoded("déjà vu".encode("latin-1")) == "déjà vu"
    assert decoded("naïve café, déjà".encode() + b"\xc3") == "naïve café, déjà\ufffd"
    assert decoded("caf\xc3\xa9") == "café"
    assert decoded("caf\xc3\xa9".encode()) == "café"
    assert decoded(b"JIS\0\0\0\0\0" + "\u72d0, 4".encode("iso2022_jp")) == "\u72d0, 4"
    assert decoded(b"") == decoded(None) == decoded(7) == ""


@given(st.binary(max_size=80))
def test_any_bytes_are_a_text(value: bytes) -> None:
    assert isinstance(decoded(value), str)
