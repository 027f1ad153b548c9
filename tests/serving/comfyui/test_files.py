"""Pictures sent to a ComfyUI and files fetched from it, through a real server on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.pipelines.files import new_file
from fooocus_stages.serving.comfyui.client import connected, shown
from fooocus_stages.serving.comfyui.files import free_names, place_inside
from fooocus_stages.serving.engine.results import Results, RunError

from .comfy_server import Manners, SmallComfy

pytest.importorskip("aiohttp")


def load(**named: Any) -> dict[str, Any]:
    """A graph of nodes that load the pictures named, by id."""
    return {node_id: {"class_type": "LoadImage", "inputs": {"image": name}} for node_id, name in named.items()}


def names_in(graph: dict[str, Any]) -> dict[str, Any]:
    return {node_id: node["inputs"]["image"] for node_id, node in graph.items()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("in/a.png", "in/sub/b ü.png", "elsewhere.png", "in/c.png"):
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pictures_that_are_here_are_sent(here: Path) -> None:
    graph = load(
        plain="a.png",
        again="a.png [input]",
        below="sub/b ü.png",
        path=str(here / "elsewhere.png"),
        dotted="../elsewhere.png",
        taken="c.png",
        there="on-the-server.png",
        output="a.png [output]",
        linked=["plain", 0],
        none="",
    )
    graph["mask"] = {"class_type": "LoadImageMask", "inputs": {"image": "a.png", "channel": "red"}}
    graph["other"] = {"class_type": "Twist", "inputs": {"image": "a.png"}}
    with SmallComfy(Manners()) as server, connected(server.url) as remote:
        server.input["c.png"] = b"of somebody else"
        remote.upload(graph, Path("in"))
        sent = dict(server.input)
        remote.upload(load(again="a.png"), Path("in"))
    assert names_in(graph) == {
        "plain": "a.png",
        "again": "a.png",
        "below": "sub/b ü.png",
        "path": "elsewhere.png",
        "dotted": "elsewhere.png",
        "taken": "c (1).png",
        "there": "on-the-server.png",
        "output": "a.png [output]",
        "linked": ["plain", 0],
        "none": "",
        "mask": "a.png",
        "other": "a.png",
    }
    assert (
        sent
        == server.input
        == {
            "c.png": b"of somebody else",
            "a.png": b"in/a.png",
            "sub/b ü.png": "in/sub/b ü.png".encode(),
            "elsewhere.png": b"elsewhere.png",
            "c (1).png": b"in/c.png",
        }
    )


def test_an_upload_that_the_server_refuses(here: Path) -> None:
    with SmallComfy(Manners()) as server, connected(server.url) as remote:
        server.manners.at_front = "413"
        with pytest.raises(UserError, match=r"/upload/image .*413 .*the upload is too large"):
            remote.upload(load(a="a.png"), Path("in"))


def file(filename: str, subfolder: str = "", type: str = "output") -> dict[str, str]:
    return {"filename": filename, "subfolder": subfolder, "type": type}


UI = {
    "s": {
        "images": [file("x_00001_.png"), file("y_00007_.png", "day/one"), file("t.png", type="temp")],
        "animated": [True],
    },
    "v": {"gifs": [{**file("film.mp4"), "format": "video/h264"}], "audio": [file("song.flac", "day\\one")]},
    "t": {"text": ["a cat", "a dog"]},
}
FILES = {
    ("output", "", "x_00001_.png"): b"x",
    ("output", "day/one", "y_00007_.png"): b"y",
    ("temp", "", "t.png"): b"t",
    ("output", "", "film.mp4"): b"film" * 100_000,
    ("output", "day\\one", "song.flac"): b"song",
}


def fetch(ui: dict[str, Any], files: dict[tuple[str, str, str], bytes], times: int = 1) -> list[dict[str, Any]]:
    graph = {"s": {"class_type": "SaveImage"}}
    with SmallComfy(Manners(files=files)) as server, connected(server.url) as remote:
        for _ in range(times):
            fetched = remote.fetch(Results(ui=ui), graph, Path("out"))
    return fetched


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_fetched_under_their_names(here: Path) -> None:
    fetched = fetch(UI, FILES)
    assert tree(here / "out") == {
        "x_00001_.png": b"x",
        "day/one/y_00007_.png": b"y",
        "temp/t.png": b"t",
        "film.mp4": b"film" * 100_000,
        "day/one/song.flac": b"song",
    }
    assert [{key: value for key, value in output.items() if key not in ("node", "class")} for output in fetched] == [
        {"path": str(Path("out/x_00001_.png")), "type": "output"},
        {"path": str(Path("out/day/one/y_00007_.png")), "type": "output"},
        {"path": str(Path("out/temp/t.png")), "type": "temp"},
        {"animated": True},
        {"path": str(Path("out/film.mp4")), "type": "output"},
        {"path": str(Path("out/day/one/song.flac")), "type": "output"},
        {"text": "a cat"},
        {"text": "a dog"},
    ]
    assert json.loads(json.dumps(fetched)) == fetched


def test_no_file_is_overwritten(here: Path) -> None:
    fetched = fetch(UI, FILES, times=2)
    assert set(tree(here / "out")) == {
        *("x_00001_.png", "x_00002_.png", "day/one/y_00007_.png", "day/one/y_00008_.png", "temp/t.png"),
        *("temp/t_00001_.png", "film.mp4", "film_00001_.mp4", "day/one/song.flac", "day/one/song_00001_.flac"),
    }
    assert fetched[1]["path"] == str(Path("out/day/one/y_00008_.png"))


def test_what_cannot_be_fetched_is_counted_and_the_rest_kept(here: Path) -> None:
    ui = {"s": {"images": [file("x_00001_.png"), *(file(f"{n}.png") for n in range(4)), file("y.png", "../..")]}}
    with pytest.raises(RunError, match=r"5 of its 6 files can't be fetched: 0\.png \(.*404 Not Found\); .*; …$"):
        fetch(ui, FILES)
    assert tree(here / "out") == {"x_00001_.png": b"x"}


@pytest.mark.parametrize(
    ("subfolder", "filename", "name"),
    [
        ("", "a.png", "a.png"),
        ("x/../y", "a.png", "a.png"),
        ("", "deep/a.png", "a.png"),
        ("", "..\\a.png", "a.png"),
        ("..", "a.png", None),
        ("/etc", "passwd", None),
        ("", "..", None),
        ("", "x/", "x"),
        ("", "/", None),
        ("", "a\0.png", None),
        ("x\0", "a.png", None),
    ],
)
def test_a_server_can_write_nowhere_else(tmp_path: Path, subfolder: str, filename: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(UserError, match="it would be written outside"):
            place_inside(tmp_path, tmp_path / subfolder, filename)
    else:
        assert place_inside(tmp_path, tmp_path / subfolder, filename) == (tmp_path / subfolder, name)


@pytest.mark.parametrize(
    ("there", "name", "free"),
    [
        ([], "x_00007_.png", "x_00007_.png"),
        (["x_00007_.png"], "x_00007_.png", "x_00008_.png"),
        (["x_00001_.png", "x_00041_.webp"], "x_00001_.png", "x_00042_.png"),
        (["a.b.gif"], "a.b.gif", "a.b_00001_.gif"),
        (["plain"], "plain", "plain_00001_"),
    ],
)
def test_a_free_name(tmp_path: Path, there: list[str], name: str, free: str) -> None:
    for taken in there:
        (tmp_path / taken).write_bytes(b"before")
    with new_file(tmp_path, "it") as file:
        file.write(b"new")
        assert file.keep(free_names(tmp_path, name)) == tmp_path / free
    assert tree(tmp_path) == {**dict.fromkeys(there, b"before"), free: b"new"}


def test_what_nodes_show_is_listed_one_by_one() -> None:
    results = Results(ui={"5": {"images": [file("a")], "text": ["b", {"c": 1}]}})
    at = {"node": "5", "class": "Save"}
    assert shown(results, {"5": {"class_type": "Save"}}) == [
        {**at, "file": file("a")},
        {**at, "text": "b"},
        {**at, "text": {"c": 1}},
    ]
