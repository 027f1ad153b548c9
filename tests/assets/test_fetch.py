"""Fetching from a server on this machine that stalls, stops, refuses and lies."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest
from fooocus_stages.pipelines.assets.catalogue import Asset, format_bytes
from fooocus_stages.pipelines.assets.fetch import Job, fetch
from fooocus_stages.pipelines.assets.http import Connection
from fooocus_stages.pipelines.errors import BadValue, MissingFile

from .file_server import FileServer, serving

SIZE = 300_000
HALF = SIZE // 2
BODY = random.Random(0).randbytes(SIZE)
SHA = hashlib.sha256(BODY).hexdigest()
HUB = Asset("one", "loras", "one.safetensors", "none", repo="me/mine", file="deep/remote.bin")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for module in (
        huggingface_hub.constants,
        huggingface_hub.file_download,
    ):  # older versions have a copy in the second
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path / "cache"), raising=False)
    with serving() as running:
        running.add("me/mine/deep/other.bin", b"good")
        yield running


def connection(server: FileServer) -> Connection:
    return Connection(endpoint=server.url, timeout=0.5, tries=3, pause=0.01)


def plain(server: FileServer) -> Asset:
    return Asset("one", "loras", "one.safetensors", "none", url=f"{server.url}/files/remote.bin")


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("gets", "ranges"),
    [
        ("good", [None]),
        ("cut", [None, HALF]),
        ("stall", [None, HALF]),
        ("cut nothing cut", [None, HALF, HALF]),
        ("500 429", [None, None, None]),
        ("cut 416", [None, HALF, None]),
        ("cut whole", [None, HALF]),
        ("cut shifted", [None, HALF, None]),
        ("cut nameless", [None, HALF, HALF]),
    ],
)
@pytest.mark.parametrize("where", ["hub", "plain", "plain without HEAD"])
def test_a_file_comes_in_the_end(
    server: FileServer, tmp_path: Path, gets: str, ranges: list[int | None], where: str
) -> None:
    asset = HUB if where == "hub" else plain(server)
    path, heads = (
        ("me/mine/deep/remote.bin", "") if where == "hub" else ("/files/remote.bin", "405" * ("HEAD" in where))
    )
    served = server.add(path, BODY, gets, heads)
    target = tmp_path / "loras" / asset.name
    seen: list[tuple[int, int]] = []
    got = fetch([Job(asset, target)], connection(server), lambda have, total: seen.append((have, total)))
    assert got == {"one": target}
    assert target.read_bytes() == BODY
    assert served.ranges == ranges
    assert seen[-1] == (SIZE, SIZE)
    assert files_below(tmp_path) == [asset.name]


@pytest.mark.parametrize(
    ("gets", "heads", "message", "kept"),
    [
        ("404", "", r"remote\.bin .*404 Not Found", 0),
        ("", "404", r"remote\.bin .*404 Not Found", 0),
        ("403", "", r"403 Forbidden; if its page requires a login, accept its terms there and set HF_TOKEN", 0),
        ("500 502 503", "", r"503 Service Unavailable", 0),
        ("", "500 500 500", r"500 Internal Server Error", 0),
        ("nothing nothing nothing", "", r"stopped after 0 of 300,000 bytes", 0),
        ("cut nothing nothing", "", r"stopped after 150,000 of 300,000 bytes", HALF),
        ("stall nothing nothing", "", r"stopped after 150,000 of 300,000 bytes", HALF),
        ("page", "", r"is a web page, not the file: it may require a login or a confirmation", 0),
        ("hidden-page", "", r"is a web page, not the file", 0),
        ("shorter", "", r"has 300,000 bytes in one response and 299,990 in another", 0),
        ("longer", "", r"has 300,000 bytes in one response and 300,010 in another", 0),
        ("", "more", r"has 300,010 bytes in one response and 300,000 in another", 0),
        ("", "less", r"has 299,990 bytes in one response and 300,000 in another", 0),
        ("other", "", rf"the downloaded file has the sha256 {hashlib.sha256(bytes(SIZE)).hexdigest()}, not {SHA}", 0),
    ],
)
def test_a_file_that_fails_is_named_and_the_others_come(
    server: FileServer, tmp_path: Path, gets: str, heads: str, message: str, kept: int
) -> None:
    served = server.add("me/mine/deep/remote.bin", BODY, gets, heads)
    other = replace(HUB, id="other", name="other.safetensors", file="deep/other.bin")
    jobs = [Job(HUB, tmp_path / "loras" / HUB.name), Job(other, tmp_path / "loras" / other.name)]
    whole = (
        rf"^1 of 2 files could not be downloaded: one\.safetensors \(.*{message}.*\); "
        r"`fooocus-stages assets fetch one` resumes the download$"
    )
    with pytest.raises(MissingFile, match=whole):
        fetch(jobs, connection(server))
    assert (tmp_path / "loras" / other.name).read_bytes() == b"good"
    parts = [name for name in files_below(tmp_path) if name != other.name]
    assert len(parts) == bool(kept)
    assert all(name.startswith("one.safetensors.") and name.endswith(".part") for name in parts)
    served.ranges.clear()
    fetch(jobs[:1], connection(server))
    assert jobs[0].target is not None
    assert jobs[0].target.read_bytes() == BODY
    assert served.ranges == [kept or None]


def test_a_file_that_has_changed_meanwhile_is_downloaded_again(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "one.safetensors"
    server.add("me/mine/deep/remote.bin", BODY, "cut nothing nothing")
    with pytest.raises(MissingFile, match="stopped after"):
        fetch([Job(HUB, target)], connection(server))
    changed = server.add("me/mine/deep/remote.bin", BODY[::-1])
    fetch([Job(HUB, target)], connection(server))
    assert changed.ranges == [None]
    assert target.read_bytes() == BODY[::-1]


@pytest.mark.parametrize(
    ("known", "message"),
    [({"sha256": "0" * 64}, f"has changed: its sha256 is {SHA}"), ({"size": 5}, "300,000 bytes instead of 5")],
)
def test_a_file_other_than_the_catalogue_says_is_not_fetched(
    server: FileServer, tmp_path: Path, known: dict[str, int | str], message: str
) -> None:
    served = server.add("me/mine/deep/remote.bin", BODY)
    with pytest.raises(MissingFile, match=message):
        fetch([Job(replace(HUB, **known), tmp_path / "one")], connection(server))  # type: ignore[arg-type]
    assert served.ranges == []
    assert files_below(tmp_path) == []


def test_a_plain_file_is_held_against_the_sha256_of_the_catalogue(server: FileServer, tmp_path: Path) -> None:
    server.add("/files/remote.bin", BODY, "other")
    job = Job(replace(plain(server), sha256=SHA), tmp_path / "one")
    with pytest.raises(MissingFile, match="was deleted"):
        fetch([job], connection(server))
    assert files_below(tmp_path) == []
    fetch([job], connection(server))
    assert files_below(tmp_path) == ["one"]


def test_a_token_goes_to_the_hub_and_not_on_to_where_it_leads(server: FileServer, tmp_path: Path) -> None:
    served = server.add("me/mine/deep/remote.bin", BODY)
    fetch([Job(HUB, tmp_path / "one")], replace(connection(server), token="hf_secret"))
    assert served.tokens == ["Bearer hf_secret"]
    assert served.tokens_of_cdn == [None]


def test_what_the_cache_of_the_hub_holds_is_copied(server: FileServer, tmp_path: Path) -> None:
    served = server.add("me/mine/deep/remote.bin", BODY)
    snapshot = tmp_path / "cache" / "models--me--mine" / "snapshots" / ("0" * 40) / "deep"
    snapshot.mkdir(parents=True)
    (snapshot / "remote.bin").write_bytes(BODY)
    (refs := tmp_path / "cache" / "models--me--mine" / "refs").mkdir()
    (refs / "main").write_text("0" * 40)
    fetch([Job(HUB, tmp_path / "one")], connection(server))
    assert (tmp_path / "one").read_bytes() == BODY
    assert served.ranges == []


def test_a_full_disk_is_reported_before_any_download(server: FileServer, tmp_path: Path) -> None:
    served = server.add("/files/remote.bin", BODY, heads="405")
    asset = replace(plain(server), size=10**18)
    with pytest.raises(BadValue) as error:
        fetch([Job(asset, tmp_path / "loras" / "one")], connection(server))
    folder = re.escape(str(tmp_path / "loras"))
    assert re.fullmatch(
        rf"1000000\.0 TB would be downloaded into {folder} and 536\.9 MB should stay free, but the disk has "
        r"[\d.]+ [kMGT]B: free some space, or name another folder with --to",
        str(error.value),
    )
    assert served.ranges == []
    assert not (tmp_path / "loras").exists()


def test_a_folder_that_takes_nothing_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    server.add("/files/remote.bin", BODY)
    target = tmp_path / "taken" / "loras" / "one.safetensors"
    why = re.escape(f"one.safetensors ({target} can't be written: Not a directory)")
    with pytest.raises(MissingFile, match=f"1 of 1 files could not be downloaded: {why}"):
        fetch([Job(plain(server), target)], connection(server))
    assert files_below(tmp_path / "taken") == []


def test_many_files_fail_in_one_sentence(server: FileServer, tmp_path: Path) -> None:
    assets = [replace(HUB, id=str(n), name=f"{n}.bin", file=f"{n}.bin") for n in range(7)]
    with pytest.raises(
        MissingFile, match=r"^7 of 7 files could not be downloaded: 0\.bin \(.*4\.bin \(.*\); and 2 more; `fooo"
    ):
        fetch([Job(asset, tmp_path / asset.name) for asset in assets], connection(server), at_once=3)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with serving() as gone:
        url = gone.url
    nowhere = Connection(endpoint=url, timeout=0.5, tries=2, pause=0.01)
    with pytest.raises(MissingFile, match=rf"{url.removeprefix('http://')} can't be reached: .*refused"):
        fetch([Job(HUB, tmp_path / "one")], nowhere)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (6_938_040_682, "6.9 GB")]
)
def test_bytes_in_words(count: int, words: str) -> None:
    assert format_bytes(count) == words
