"""A run on a ComfyUI: a real server on this machine, with good and bad manners, and the command line before it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.serving import cli
from fooocus_stages.serving.comfyui import run as runs

from .comfy_server import PICTURE, Manners, SmallComfy

pytest.importorskip("aiohttp")
Matches = Callable[[str, str], bool]

GRAPH: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "Twist", "inputs": {"image": ["1", 0], "amount": 1.0, "name": "x"}, "_meta": {"title": "Turn"}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}
SHOWN = [
    "node 1 LoadImage",
    "node 2 Twist",
    "note: sharp & clear",
    "note: bright",
    "node 2 Twist: 1/2",
    "node 2 Twist: 2/2",
    "node 3 SaveImage",
]
REPORT = {
    "workflow": "w.json",
    "outputs": [{"node": "3", "class": "SaveImage", "path": "outputs/x_00001_.png", "type": "output"}],
    "executed": ["1", "2", "3"],
    "cached": [],
    "blocked": {},
    "seeds": [],
    "notices": [],
}
Start = Callable[..., SmallComfy]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder to run in, with a workflow and its picture; the server is lost sooner than for people."""
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))
    (tmp_path / "a.png").write_bytes(b"a")
    monkeypatch.chdir(tmp_path)
    quick = replace(runs.TIMEOUTS, websocket_idle=0.1, poll_interval=0.02, retry_delays=(0.02, 0.05, 0.1), cancel=0.3)
    monkeypatch.setattr(runs, "TIMEOUTS", quick)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers, and stops them in the end."""
    with ExitStack() as stack:
        yield lambda **manners: stack.enter_context(SmallComfy(Manners(**manners)))


def run(server: SmallComfy | str, *arguments: Any) -> int:
    url = server if isinstance(server, str) else server.url
    return cli.main(["run", "w.json", "--comfyui", url, *map(str, arguments)])


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    return str(err.splitlines()[-1])


def test_a_run_shows_its_nodes_and_fetches_what_it_saved(
    start: Start, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start()
    assert run(server) == 0
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("outputs/x_00001_.png\n", SHOWN)
    assert (folder / "outputs" / "x_00001_.png").read_bytes() == PICTURE
    assert server.prompts[0]["prompt"] == GRAPH
    assert server.stops == []


def test_a_run_as_json(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(start(cached=("1", "2")), "--json", "-o", "here") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report.pop("seconds") > 0
    assert report["outputs"][0]["path"] == "here/x_00001_.png"
    assert (report["executed"], report["cached"]) == (["3"], ["1", "2"])
    assert set(report) == set(REPORT)
    assert err.splitlines() == ["from the server's cache: 2 of 3 nodes", "node 3 SaveImage"]


@pytest.mark.parametrize("socket", ["refused", "closes", "always closes", "silent"])
def test_without_a_good_websocket_the_run_is_followed_all_the_same(
    start: Start, socket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start(socket=socket)
    assert run(server, "--json") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report.pop("seconds") > 0, "sharp & clear" in report["notices"]) == (True, socket == "closes")
    assert {**report, "notices": []} == REPORT
    assert ("refuses the websocket (403" in err) == (socket == "refused")
    assert server.connections == {"refused": 0, "closes": 2, "silent": 1}.get(socket, server.connections)


def test_the_place_in_the_queue_is_shown(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(start(ahead=2)) == 0
    assert capsys.readouterr().err.splitlines() == [
        "waiting: 2 ahead of this run in the queue",
        "waiting: 1 ahead of this run in the queue",
        *SHOWN,
    ]


def test_a_blocked_node_is_reported_and_no_failure(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(start(ending="blocked"), "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["blocked"] == {"1": "no face"}
    assert "note: node 1 (LoadImage) is blocked: no face" in err


LOST = "error: the server no longer knows the run"


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ("error", 1, "error: node 1 (LoadImage): OutOfMemoryError: no room"),
        ("our error", 2, "error: node 1 (LoadImage): it is not there"),
        ("unexplained", 1, "error: the run failed on the server"),
        ("interrupted", 130, "interrupted"),
        ("forgets", 1, LOST),
        ("dies", 1, "error: the connection to the server was lost during the run: ComfyUI at http://127.0.0.1:"),
    ],
)
@pytest.mark.parametrize("socket", ["open", "refused"])
def test_failed_runs(
    start: Start, ending: str, code: int, message: str, socket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start(ending=ending, socket=socket)
    assert run(server) == code
    assert last_line(capsys).startswith(message)
    assert server.stops == []
    assert not Path("outputs").exists()


@pytest.mark.parametrize(("ending", "code"), [("error", 1), ("interrupted", 130)])
def test_what_the_server_had_saved_before_a_failure_is_fetched(
    start: Start, ending: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = {"filename": "x_00001_.png", "subfolder": "", "type": "output"}
    assert run(start(ending=ending, outputs={"1": {"images": [saved]}})) == code
    out, err = capsys.readouterr()
    assert out == "outputs/x_00001_.png\n"
    assert "no room" in err or err.endswith("interrupted\n")
    assert Path("outputs/x_00001_.png").read_bytes() == PICTURE


def test_where_a_node_failed_on_the_server(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(start(ending="error"), "--debug") == 1
    assert "RemoteTraceback: \nhere" in capsys.readouterr().err


def error(kind: str, message: str, details: str, name: str = "") -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": {"input_name": name} if name else {}}


NOT_IN_LIST = error("value_not_in_list", "Value not in list", "image: 'b.png' not in ['a.png']", "image")
TOO_SMALL = error("value_smaller_than_min", "Value -1 smaller than min of 0", "amount", "amount")
OWN = [error("custom_validation_failed", "Custom …", f"{name} - it is not there", name) for name in ("amount", "name")]
FAILED = error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "many\nlines")
NODE_ERRORS = {"1": {"errors": [NOT_IN_LIST]}, "2": {"errors": [TOO_SMALL, *OWN]}}
TWO_NODES = (
    "error: the server finds 3 problems:\n"
    "- node 1 (LoadImage): input 'image': Value not in list: 'b.png' not in ['a.png']\n"
    "- node 2 (Twist, 'Turn'): input 'amount': Value -1 smaller than min of 0\n"
    "- node 2 (Twist, 'Turn'): it is not there\n"
)


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ({"error": FAILED, "node_errors": NODE_ERRORS}, TWO_NODES),
        (
            {"error": error("prompt_no_outputs", "Prompt has no outputs", ""), "node_errors": {}},
            "error: the server refuses the workflow: Prompt has no outputs\n",
        ),
        ({"error": "bad"}, "error: bad\n"),
        ({}, "error: the server gives no reason\n"),
    ],
)
def test_what_the_server_refuses(
    start: Start, refusal: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(start(refusal=refusal)) == 2
    assert capsys.readouterr().err == message


def test_a_class_that_is_missing_on_the_server_is_named(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    graph = {**GRAPH, "4": {"class_type": "No/Such Node", "inputs": {}, "_meta": {"title": "Odd"}}}
    Path("w.json").write_text(json.dumps(graph))
    gone = error("invalid_prompt", "Cannot execute because node No/Such Node does not exist.", "Node ID '#4'")
    assert run(start(refusal={"error": gone, "node_errors": {}})) == 2
    assert last_line(capsys) == (
        "error: node 4 (No/Such Node, 'Odd'): the server has no node of this class; install the pack that has it there"
    )


def test_a_run_that_the_server_accepts_only_in_part_is_cancelled(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start(dropped={"1": {"errors": [NOT_IN_LIST]}}, ending="never begins")
    assert run(server) == 2
    assert last_line(capsys).startswith("error: node 1 (LoadImage): input 'image': Value not in list")
    assert server.stops == ["delete True"]


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("html", "GET /system_stats<…>address of a ComfyUI"),
        ("404", "/system_stats<…>404 Not Found<…>check the path<…>"),
        ("403", "/system_stats<…>403 Forbidden<…>proxy<…>"),
        ("502", "/system_stats<…>502 Bad Gateway"),
        ("login", "401 Unauthorized<…>http://USER:PASSWORD@…"),
        ("moved", "308 Permanent Redirect<…>https://elsewhere.example/;<…>address<…>"),
    ],
)
def test_responses_of_a_proxy_or_another_server(
    start: Start, front: str, message: str, capsys: pytest.CaptureFixture[str], matches: Matches
) -> None:
    assert run(start(at_front=front)) == 2
    assert matches(last_line(capsys), f"error: http://127.0.0.1:<…>{message}")


def test_no_server_at_the_address(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    with SmallComfy(Manners()) as server:
        url = server.url
    assert run(url) == 2
    assert last_line(capsys).startswith(f"error: ComfyUI at {url} can't be reached: no server responds (")
    assert run(start().url.replace("http", "https")) == 2
    assert "the TLS handshake failed" in last_line(capsys)


def test_a_path_and_a_user_in_the_address(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    server = start(prefix="/a/comfy", at_front="login")
    assert run(server.url.replace("//", "//me:a%3Ab%40%C3%BC@") + "/") == 0
    assert capsys.readouterr().err.splitlines() == SHOWN
    assert all(asked.split()[1].startswith("/a/comfy/") for asked in server.asked)


def test_tls(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not there")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -keyout {key} -out {certificate}"
    subprocess.run([*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = start(tls=context)
    assert run(server) == 2
    assert "its certificate is not trusted" in last_line(capsys)
    environment = {**os.environ, "SSL_CERT_FILE": str(certificate)}
    done = subprocess.run(command_line(server), env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == SHOWN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "pocket"], "--models has no effect with --comfyui"),
        (["--device", "cpu"], "--device has no effect with --comfyui"),
        (["--styles-dir", "."], "--styles-dir has no effect with --comfyui"),
        (["--set", "Turn.zzz=3"], "unknown input 'zzz'; node 2 (Twist) has: image, amount, name"),
        (["--seed", "3"], "no node of the workflow has an input 'seed' to set; use --set NODE.input=value"),
        (["-o", "a.png"], "a.png"),
    ],
)
def test_what_a_user_can_mend(
    start: Start, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(start(), *arguments) == 2
    line = last_line(capsys)
    assert line.startswith("error: ")
    assert message in line


def test_values_are_set_by_what_the_server_declares(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = {"text": "a cat", "seed": 1, "num_images": 1}
    graph = {**GRAPH, "p": {"class_type": "FooocusPrompt", "inputs": seeds}}
    Path("w.json").write_text(json.dumps(graph))
    server = start()
    arguments = ["--set", "Turn.amount=2", "--set", "Twist.name=7", "--set", "p.text=8", "--seed", 5, "-n", 3, "--json"]
    assert run(server, *arguments) == 0
    sent = server.prompts[0]["prompt"]
    assert (sent["2"]["inputs"]["amount"], sent["2"]["inputs"]["name"], sent["p"]["inputs"]["text"]) == (2, "7", "8")
    assert json.loads(capsys.readouterr().out)["seeds"] == [5, 6, 7]


def command_line(server: SmallComfy, *arguments: str) -> list[str]:
    words = ["run", "w.json", "--comfyui", server.url, *arguments]
    return [sys.executable, "-m", "fooocus_stages.serving.cli", *words]


@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize(
    ("manners", "shown", "stops"),
    [
        ({"ending": "waits"}, "node 3 SaveImage\n", ["interrupt True"]),
        ({"ending": "never begins", "ahead": 1}, "waiting: 1 ahead of this run in the queue\n", ["delete True"]),
    ],
)
def test_a_signal_takes_the_run_back(
    start: Start, sent: int, code: int, word: str, manners: dict[str, Any], shown: str, stops: list[str]
) -> None:
    server = start(**manners)
    process = subprocess.Popen(command_line(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while (line := process.stderr.readline()) and line != shown:
        pass
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", f"{word}\n")
    assert list(dict.fromkeys(server.stops)) == stops
    assert server.running == server.pending == []


def test_a_run_that_the_server_does_not_stop_is_reported(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    server = start(ending="waits", deaf=True)

    def press() -> None:
        if server.waits.wait(60):
            os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    assert run(server) == 130
    finger.join()
    shown = capsys.readouterr().err.splitlines()
    assert shown[-2:] == ["note: the server was requested to stop the run and has not confirmed it yet", "interrupted"]
    assert set(server.stops) == {"interrupt True"}


def test_without_the_http_library(start: Start) -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from fooocus_stages.serving import cli; sys.exit(cli.main())"
    arguments = ["run", "w.json", "--comfyui", "http://127.0.0.1:1"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: --comfyui needs aiohttp; install it: pip install aiohttp\n")
