"""The command `assets`, before a server on this machine."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub.constants
import pytest
from fooocus_stages.pipelines.errors import MissingFile
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.serving import cli
from fooocus_stages.serving.commands.common import host_of
from fooocus_stages.serving.console import Console

from .file_server import FileServer, serving

COMMAND = [sys.executable, "-m", "fooocus_stages.serving.cli", "assets"]
BODY = random.Random(0).randbytes(400_000)
LIGHTNING, LCM = "sdxl_lightning_4step_lora.safetensors", "sdxl_lcm_lora.safetensors"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        running.add(f"mashb1t/misc/{LIGHTNING}", BODY)
        yield running


@dataclass
class Shown:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Shown]


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `assets` with these words in the test's folder; a server given stands for the hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOOOCUS_STAGES_MODELS", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))

    def run(*words: str, server: FileServer | None = None) -> Shown:
        monkeypatch.setenv("HF_ENDPOINT", server.url if server else "http://127.0.0.1:1")
        capsys.readouterr()
        code = cli.main(["assets", *words])
        return Shown(code, *capsys.readouterr())

    return run


def environment(folder: Path, server: FileServer) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "FOOOCUS_"))}
    return {**kept, "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": server.url}


def test_a_fetch_downloads_missing_files_once(server: FileServer, tmp_path: Path, assets: Run) -> None:
    served = server.files[f"mashb1t/misc/{LIGHTNING}"]
    first = assets("fetch", "lightning", server=server)
    path = Path("models") / "loras" / LIGHTNING
    assert (first.code, first.out) == (0, f"{path}\n"), first.err
    assert first.err.splitlines()[-1] == "fetching 1 file: 400,000 of 400,000 bytes"
    assert (tmp_path / path).read_bytes() == BODY
    again = assets("fetch", "lightning", server=server)
    assert (again.code, again.out, again.err) == (0, "all files are there\n", "")
    assert len(served.ranges) == 1
    forced = assets("fetch", "sdxl_lightning_4step_lora", "--force", "--json", server=server)
    assert json.loads(forced.out) == {"lightning-lora": str(path)}
    assert len(served.ranges) == 2


def test_files_are_downloaded_into_the_chosen_folder(server: FileServer, tmp_path: Path, assets: Run) -> None:
    (tmp_path / "ComfyUI" / "models" / "loras").mkdir(parents=True)
    (tmp_path / "ComfyUI" / "extra_model_paths.yaml").write_text("mine: {is_default: true, base_path: /no, vae: x}")
    inside = assets("fetch", "lightning", "--models", "ComfyUI", server=server)
    assert inside.out == f"{Path('ComfyUI/models/loras') / LIGHTNING}\n"
    to = assets("fetch", "lightning", "--to", "new", "--models", "ComfyUI", server=server)
    assert to.out == f"{Path('new/loras') / LIGHTNING}\n"
    pocket = assets("fetch", "lightning", "--models", "pocket", server=server)
    assert pocket.out == f"{Path('models/loras') / LIGHTNING}\n"
    extra = tmp_path / "extra.yaml"
    extra.write_text("mine: {is_default: true, base_path: far, loras: here}")
    far = assets("fetch", "lightning", "--extra-model-paths", "extra.yaml", "--force", server=server)
    assert far.out == f"{tmp_path / 'far' / 'here' / LIGHTNING}\n"


def test_one_failing_file_does_not_keep_the_others(server: FileServer, tmp_path: Path, assets: Run) -> None:
    failed = assets("fetch", "lightning", "extreme-speed", server=server)
    assert (failed.code, failed.out) == (2, "")
    message = failed.err.splitlines()[-1]
    assert message.startswith("error: 1 of 2 files")
    for part in (
        LCM,
        f"{server.url}/lllyasviel/misc/resolve/main/{LCM}",
        "404 Entry not found",
        "`fooocus-stages assets fetch extreme-speed`",
    ):
        assert part in message
    assert (tmp_path / "models" / "loras" / LIGHTNING).read_bytes() == BODY
    server.add(f"lllyasviel/misc/{LCM}", b"now it is there")
    done = assets("fetch", "lightning", "extreme-speed", server=server)
    assert done.out == f"{Path('models/loras') / LCM}\n"


def test_a_download_is_resumed_after_ctrl_c(server: FileServer, tmp_path: Path, assets: Run) -> None:
    served = server.add(f"mashb1t/misc/{LIGHTNING}", BODY, "stall")
    process = subprocess.Popen(
        [*COMMAND, "fetch", "lightning", "--timeout", "60"],
        cwd=tmp_path,
        env=environment(tmp_path, server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / "models" / "loras"
    assert server.stalled.wait(60)
    while sum(part.stat().st_size for part in folder.glob("*.part")) < len(BODY) // 2:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error.splitlines()[-1]) == (130, "", "interrupted")
    assert not (folder / LIGHTNING).exists()
    done = assets("fetch", "lightning", server=server)
    assert done.code == 0
    assert served.ranges == [None, len(BODY) // 2]
    assert (folder / LIGHTNING).read_bytes() == BODY
    assert [path.name for path in folder.iterdir()] == [LIGHTNING]


@pytest.mark.parametrize("how", ["option", "variable"])
def test_offline_says_what_is_missing(
    server: FileServer, assets: Run, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if how == "variable" else "0")
    result = assets("fetch", "lightning", "extreme-speed", *["--offline"] * (how == "option"), server=server)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: offline, and 2 files are missing: loras/{LIGHTNING}, loras/{LCM}; run `fooocus-stages assets fetch "
        "lightning extreme-speed` on a machine with a network, or copy them into the models folder\n"
    )
    assert server.files[f"mashb1t/misc/{LIGHTNING}"].ranges == []


def test_the_command_that_goes_on_names_the_same_folders(server: FileServer, tmp_path: Path, assets: Run) -> None:
    (tmp_path / "my models").mkdir()
    (tmp_path / "x.yaml").touch()
    folders = ["--models", "my models", "--models", "pocket", "--extra-model-paths", "x.yaml"]
    shown = "`fooocus-stages assets fetch extreme-speed --models 'my models' --extra-model-paths x.yaml"
    assert f"{shown} --to there` resumes" in assets("fetch", LCM, *folders, "--to", "there", server=server).err
    assert f"{shown}` on a machine" in assets("fetch", LCM, *folders, "--offline", server=server).err
    host = host_of(cli.parser().parse_args(["assets", "list", *folders]), Console())
    with pytest.raises(
        MissingFile, match=r"run `fooocus-stages assets fetch ponyDiffusionV6XL --models 'my models' --e"
    ):
        host.find("checkpoints", "ponyDiffusionV6XL")


def test_the_terms_of_files_are_shown_before_the_download(server: FileServer, tmp_path: Path, assets: Run) -> None:
    result = assets("fetch", "fooocus_ip_negative", server=server)
    assert result.err.splitlines()[0] == (
        "note: fooocus_ip_negative.safetensors: the attention formula of Fooocus's image prompts is marked "
        "non-commercial by its author"
    )


def test_the_vocabulary_goes_into_the_cache_where_it_is_found(server: FileServer, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        server.add(f"openai/clip-vit-large-patch14/{name}", b"{}")
    blocked = "import sys, runpy; sys.modules['open_clip'] = None; sys.argv[1:] = sys.argv[1:]\n"
    blocked += "runpy.run_module('fooocus_stages.serving.cli', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "assets", "fetch", "vocabulary", "--json"],
        cwd=tmp_path,
        env=environment(tmp_path, server),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    paths = json.loads(done.stdout)
    assert set(paths) == {"clip-vocab", "clip-merges"}
    assert all(Path(path).is_relative_to(tmp_path / "hf") and Path(path).read_text() == "{}" for path in paths.values())


def test_the_list(tmp_path: Path, assets: Run) -> None:
    lines = assets("list", "lightning", "text-to-image-lightning", "--models", "pocket").out.splitlines()
    assert lines[0].split() == ["FILE", "FOLDER", "WHERE", "SIZE", "NEEDED", "BY", "LICENCE"]
    row = next(line for line in lines if line.startswith(LIGHTNING))
    assert str(POCKET / "loras" / LIGHTNING) in row
    assert "lightning, speed" in row
    assert any(line.startswith("xlvaeapp.pth") and "missing" in line for line in lines)
    rows = json.loads(assets("list", "--json").out)
    assert {row["id"] for row in rows} >= {"juggernaut", "upscaler", "styles-sai"}
    patch = next(row for row in rows if row["id"] == "inpaint-patch-v2.6")
    assert (patch["there"], patch["path"], patch["size"]) == (False, None, 1_323_362_033)
    assert {"inpaint", "I01", "B14", "P08"} <= set(patch["needed_by"])
    expansion = next(row for row in rows if row["id"] == "expansion-weights")
    assert expansion["licence"] == "CC BY-NC 4.0 outside Fooocus"


def test_where(tmp_path: Path, assets: Run) -> None:
    (tmp_path / "extra.yaml").write_text("mine: {base_path: far, loras: here}")
    result = assets("where", "lightning", "--models", "pocket", "--extra-model-paths", str(tmp_path / "extra.yaml"))
    assert result.out.splitlines() == [
        "loras",
        f"  {tmp_path / 'far' / 'here'} (does not exist)",
        f"  {POCKET / 'loras'}",
        f"    {LIGHTNING} -> {POCKET / 'loras' / LIGHTNING}",
    ]
    shown = json.loads(assets("where", LCM, "--json").out)
    assert shown == {"loras": {"folders": [str(Path("models/loras"))], "files": {LCM: None}}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "lightnin"], "unknown workflow, mode, group, preset or file 'lightnin' (did you mean 'lightning'?)"),
        (["list", "text-to-image-spee"], "unknown workflow, mode, group, preset or file 'text-to-image-spee' (did you"),
        (["fetch", "lightning", "--timeout", "0"], "the timeout is 0.0: give a number of seconds above 0"),
        (["list", "--models", "nowhere"], "folder nowhere does not exist"),
        (
            ["list", "--extra-model-paths", "nowhere"],
            "file nowhere does not exist; choose one in the format of extra_model",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(tmp_path: Path, assets: Run, arguments: list[str], message: str) -> None:
    result = assets(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert len(result.err.splitlines()) == 1
