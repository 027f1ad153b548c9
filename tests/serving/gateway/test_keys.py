"""API keys: hashed, several, revocable, limited in their rate, compared in constant time."""

from __future__ import annotations

import argparse
import hmac
import json
import stat
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile, BadValue, UnknownName
from fooocus_stages.serving.commands import serve_keys
from fooocus_stages.serving.console import Console
from fooocus_stages.serving.gateway.guard.keys import FILE, KeyStore
from fooocus_stages.serving.gateway.ports import TooManyRequests


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> KeyStore:
    return KeyStore(tmp_path / FILE, clock)


def test_a_key_opens_the_door_for_its_name(store: KeyStore) -> None:
    first, second, other = store.add("ann"), store.add("ann"), store.add("ben")
    assert [store.owner(key) for key in (first, second, other)] == ["ann", "ann", "ben"]
    assert len({first, second, other}) == 3
    assert len(first.partition(":")[2]) >= 43  # 256 bits


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "", lambda key: ":", lambda key: key[:-1], lambda key: key + "x", lambda key: key.upper(),
        lambda key: key.partition(":")[0], lambda key: key.partition(":")[0] + ":", lambda key: ":" + key,
        lambda key: key.partition(":")[2], lambda key: "0" * 16 + ":" + key.partition(":")[2],
        lambda key: key + "\ud800",
        lambda key: "' OR 1=1 --:x", lambda key: key.replace(":", "::"),
    ],
)  # fmt: skip
def test_anything_else_does_not(store: KeyStore, change: object) -> None:
    assert store.owner(change(store.add("ann"))) is None  # type: ignore[operator]


def test_the_file_holds_no_secret_and_is_its_user_s_alone(tmp_path: Path, store: KeyStore) -> None:
    key = store.add("ann")
    store.close()
    secret = key.partition(":")[2].encode()
    for path in tmp_path.iterdir():
        assert secret not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert KeyStore(tmp_path / FILE).owner(key) == "ann"


def test_a_secret_is_compared_in_constant_time_even_for_an_unknown_id(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []

    def counted(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return a == b

    key = store.add("ann")
    monkeypatch.setattr(hmac, "compare_digest", counted)
    assert store.owner(key) == "ann"
    assert store.owner("unknown:secret") is None
    assert store.owner("") is None
    assert compared == [(32, 32)] * 3


def test_a_key_is_revoked_while_the_server_runs(tmp_path: Path, store: KeyStore) -> None:
    first, second, other = store.add("ann"), store.add("ann"), store.add("ben")
    assert store.owner(first) == "ann"
    elsewhere = KeyStore(tmp_path / FILE)
    assert elsewhere.revoke(first.partition(":")[0]) == 1
    assert [store.owner(key) for key in (first, second, other)] == [None, "ann", "ben"]
    assert elsewhere.revoke("ann") == 1
    assert [store.owner(key) for key in (first, second, other)] == [None, None, "ben"]
    assert [key.revoked is None for key in store.list()] == [False, False, True]
    with pytest.raises(UnknownName, match="unknown key 'ann'"):
        elsewhere.revoke("ann")
    added = elsewhere.add("cleo")
    assert store.owner(added) == "cleo"


def test_each_key_has_its_rate(store: KeyStore, clock: Clock) -> None:
    key, other = store.add("ann", per_minute=3), store.add("ann", per_minute=3)
    for _ in range(3):
        assert store.owner(key) == "ann"
    with pytest.raises(TooManyRequests) as raised:
        store.owner(key)
    assert raised.value.seconds == pytest.approx(20)
    assert store.owner(other) == "ann"
    clock.seconds += 20
    assert store.owner(key) == "ann"
    with pytest.raises(TooManyRequests):
        store.owner(key)
    clock.seconds += 3600
    for _ in range(3):
        assert store.owner(key) == "ann"


def test_a_wrong_secret_takes_nothing_from_a_key_s_rate(store: KeyStore) -> None:
    key = store.add("ann", per_minute=1)
    for _ in range(5):
        assert store.owner(key + "x") is None
    assert store.owner(key) == "ann"


def test_a_name_and_a_rate_are_checked(store: KeyStore) -> None:
    for name in ("", "a" * 65, "a\nb"):
        with pytest.raises(BadValue, match="printable"):
            store.add(name)
    with pytest.raises(BadValue, match="at least 1"):
        store.add("ann", 0)


def test_another_file_is_no_key_store(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("these are no keys" * 100)
    with pytest.raises(BadFile, match="can't be opened"):
        KeyStore(tmp_path / FILE)


def by_command(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What an action of `serve` prints."""
    parser = argparse.ArgumentParser()
    serve = parser.add_subparsers().add_parser("serve")
    serve.add_argument("--state", type=Path, default=Path("elsewhere"))
    serve_keys.add(serve.add_subparsers())
    options = parser.parse_args(["serve", *words])
    assert options.act(options, Console()) == 0
    return capsys.readouterr().out


def test_keys_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--state", str(tmp_path)]
    assert "there are no keys" in by_command(capsys, *folder, "keys", "list")
    key = by_command(capsys, "keys", "add", "ann", "--per-minute", "7", *folder).strip()
    assert KeyStore(tmp_path / FILE).owner(key) == "ann"
    out = by_command(capsys, "keys", "list", "--json", *folder)
    assert (json.loads(out)[0]["name"], json.loads(out)[0]["per_minute"]) == ("ann", 7)
    assert key.partition(":")[2] not in out
    assert "1 key revoked" in by_command(capsys, *folder, "keys", "revoke", key.partition(":")[0])
    assert KeyStore(tmp_path / FILE).owner(key) is None
    assert ", revoked " in by_command(capsys, *folder, "keys", "list")
    with pytest.raises(UnknownName):
        by_command(capsys, *folder, "keys", "revoke", "ann")
    with pytest.raises(BadValue):
        by_command(capsys, *folder, "keys", "add", "")


def test_the_authority_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = by_command(capsys, "ca", "--address", "http://127.0.0.1:9", "--state", str(tmp_path))
    assert f"export SSL_CERT_FILE={tmp_path / 'ca' / 'ca-bundle.pem'}" in out.splitlines()
    assert "export HTTPS_PROXY=http://127.0.0.1:9" in out.splitlines()
    assert (tmp_path / "ca" / "ca.pem").is_file()
