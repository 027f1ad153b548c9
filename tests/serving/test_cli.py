"""The command line: what it prints where, and how it ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages import __version__
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.serving.cli import main
from PIL import Image

COMMAND = [sys.executable, "-m", "fooocus_stages.serving.cli"]
COPY = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Picture"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


Command = Callable[..., subprocess.CompletedProcess[str]]


def process(folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process, which has imported the libraries; SIGTERM is handled as before in the end."""

    def run(folder: Path, *arguments: Any, **variables: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(folder)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            code = main([*map(str, arguments)])
        except SystemExit as end:  # wrong usage
            code = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    handler = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (5, 3)).save(tmp_path / "a.png")
    (tmp_path / "copy.json").write_text(json.dumps(COPY))
    return tmp_path


def test_version_and_help_are_quick(tmp_path: Path) -> None:
    for option, words in (("--version", f"fooocus-stages {__version__}"), ("--help", "usage: fooocus-stages")):
        result = process(tmp_path, option)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(words)
    code = "import sys; from fooocus_stages.serving import cli; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_nodes_are_listed(cli: Command, tmp_path: Path) -> None:
    rows = json.loads(cli(tmp_path, "nodes", "--json").stdout)
    assert set(NODE_CLASS_MAPPINGS) | {"LoadImage"} <= {row["id"] for row in rows}
    lines = cli(tmp_path, "nodes").stdout.splitlines()
    assert len(lines) == len(rows)
    assert lines[0].split("  ")[0] == rows[0]["id"]


def test_workflows_are_listed(cli: Command, tmp_path: Path) -> None:
    listed = json.loads(cli(tmp_path, "workflows", "--json").stdout)
    lines = cli(tmp_path, "workflows").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [about["name"] for about in listed]
    assert all(about["description"] and about["title"] for about in listed)


def test_a_run_prints_where_the_pictures_are(folder: Path) -> None:
    result = process(folder, "run", "copy.json")
    assert (result.returncode, result.stdout) == (0, "outputs/x_00001_.png\n")
    assert result.stderr.splitlines() == ["node 1 LoadImage", "node 2 SaveImage"]
    assert (folder / "outputs" / "x_00001_.png").is_file()


def test_a_run_as_json(cli: Command, folder: Path) -> None:
    result = cli(folder, "run", "copy.json", "-o", "here", "--set", "SaveImage.filename_prefix=y", "--json")
    report = json.loads(result.stdout)
    assert report.pop("seconds") > 0
    path = str(Path("here") / "y_00001_.png")
    assert report == {
        "workflow": "copy.json",
        "outputs": [{"node": "2", "class": "SaveImage", "path": path, "type": "output"}],
        "executed": ["1", "2"],
        "cached": [],
        "blocked": {},
        "seeds": [],
        "notices": [],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "workflow 'nothing' is neither a file nor bundled"),
        (["run", "copy.json", "--set", "Pictur.image=b.png"], "unknown node 'Pictur' (did you mean 'Picture'?)"),
        (["run", "copy.json", "--set", "Picture.image=b.png"], "node 1 (LoadImage): image 'b.png' does not exist"),
        (
            ["run", "copy.json", "--set", "Picture.image=b.png", "--debug"],
            "node 1 (LoadImage): image 'b.png' does not exist",
        ),
        (["run", "copy.json", "--seed", "3"], "no node of the workflow has an input 'seed' to set"),
        (["run", "copy.json", "--models", "nowhere"], "folder nowhere does not exist"),
        (["run", "copy.json", "--device", "tpu"], "--device 'tpu' is not a device"),
        (["run", "copy.json", "--set", "2.class_type=x"], "unknown input 'class_type'; node 2 (SaveImage) has: images"),
        (["run", "a.png"], "a.png is not a workflow file"),
        (["run", "copy.json", "-o", "a.png"], "a picture can't be saved in a.png: "),
        (["prompt", "a cat", "--styles", "Fooocus Sharpp"], "unknown style 'Fooocus Sharpp'"),
        (["prompt", "a cat", "--styles-dir", "nowhere"], "folder nowhere does not exist"),
    ],
)
def test_what_a_user_can_mend_is_one_line(cli: Command, folder: Path, arguments: list[str], message: str) -> None:
    result = cli(folder, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert ("Traceback" in result.stderr) == ("--debug" in arguments)


def test_an_error_as_json(cli: Command, folder: Path) -> None:
    result = cli(folder, "run", "copy.json", "--json", "--set", "1.image=b.png")
    assert result.returncode == 2
    assert json.loads(result.stdout)["error"].startswith("node 1 (LoadImage): image 'b.png' does not exist")


def test_a_broken_picture_fails_with_its_node(cli: Command, folder: Path) -> None:
    (folder / "a.png").write_bytes(b"no picture")
    result = cli(folder, "run", "copy.json")
    assert result.returncode == 2
    assert "error: node 1 (LoadImage): a.png cannot be read as an image" in result.stderr


def test_a_node_of_another_pack_is_named(cli: Command, folder: Path) -> None:
    (folder / "w.json").write_text(json.dumps({"3": {"class_type": "UltimateSDUpscale", "inputs": {}}}))
    result = cli(folder, "run", "w.json")
    assert result.returncode == 2
    assert result.stderr.startswith("error: node 3: 'UltimateSDUpscale' is not part of this pack")
    assert "run this workflow in ComfyUI" in result.stderr


def test_wrong_usage(cli: Command, tmp_path: Path) -> None:
    assert cli(tmp_path).returncode == 2
    assert cli(tmp_path, "run").returncode == 2
    assert cli(tmp_path, "dance").returncode == 2


def test_prompt_composes_without_a_model(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "colour.txt").write_text("red\nblue\n")
    (tmp_path / "styles").mkdir()
    style = {"name": "Mine", "prompt": "drawing of {prompt}", "negative_prompt": "blurred"}
    (tmp_path / "styles" / "mine.json").write_text(json.dumps([style]))
    folders = ["--styles-dir", "styles", "--wildcards-dir", "words"]
    arguments = [
        "prompt",
        "a __colour__ cat",
        "on a mat",
        "--styles",
        "Mine",
        "--negative",
        "dogs",
        "-n",
        2,
        "--seed",
        5,
    ]
    result = cli(tmp_path, *arguments, "--in-order", *folders, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    prompts = json.loads(result.stdout)["prompts"]
    assert [p["seed"] for p in prompts] == [5, 6]
    assert [p["positive"] for p in prompts] == [[f"drawing of a {c} cat", "on a mat"] for c in ("red", "blue")]
    assert prompts[0]["negative"] == ["blurred", "dogs"]
    plain = cli(tmp_path, *arguments, "--in-order", *folders).stdout.splitlines()
    assert plain[:5] == ["image 1, seed 5", "  + drawing of a red cat", "  + on a mat", "  - blurred", "  - dogs"]


def test_models_are_taken_from_the_environment(cli: Command, folder: Path) -> None:
    result = cli(folder, "run", "copy.json", FOOOCUS_STAGES_MODELS="nowhere")
    assert result.stderr.startswith("error: folder nowhere does not exist")


@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_with_one_line_and_no_half_files(
    folder: Path, sent: signal.Signals, code: int, word: str
) -> None:
    slow = (
        "import sys, time; from fooocus_stages.serving import cli; from fooocus_stages.nodes import headless\n"
        "def wait(*a, **k): print('waiting', flush=True); time.sleep(60)\n"
        "headless.SaveImage.save_images = wait; sys.exit(cli.main(['run', 'copy.json']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert errors.splitlines()[-1] == word
    assert "Traceback" not in errors
    assert sorted(p.name for p in folder.iterdir()) == ["a.png", "copy.json"]


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    result = subprocess.run(
        f"{' '.join(COMMAND)} nodes | head -n 1", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stderr == ""


THREE = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.gif"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "good"}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a/../../bad"}},
}


def test_files_saved_before_a_failure_are_reported(cli: Command, folder: Path) -> None:
    Image.new("RGB", (5, 3)).save(folder / "a.gif", save_all=True, append_images=[Image.new("RGB", (5, 3), (9, 9, 9))])
    (folder / "w.json").write_text(json.dumps(THREE))
    paths = ["outputs/good_00001_.png", "outputs/good_00002_.png"]
    result = cli(folder, "run", "w.json")
    assert (result.returncode, result.stdout.splitlines()) == (2, paths)
    assert "error: node 3 (SaveImage): the file name prefix" in result.stderr
    result = cli(folder, "run", "w.json", "--json", "-o", "more")
    told = json.loads(result.stdout)
    assert told["error"].startswith("node 3 (SaveImage): the file name prefix")
    assert [output["path"] for output in told["outputs"]] == ["more/good_00001_.png", "more/good_00002_.png"]


def test_notices_are_in_the_report_of_a_run_that_ends_well_or_not(cli: Command, folder: Path) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "FooocusFaceCrop", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }
    (folder / "w.json").write_text(json.dumps(graph))
    result = cli(folder, "run", "w.json", "--json", "--models", "pocket")
    (notice,) = json.loads(result.stdout)["notices"]
    assert "no face" in notice
    assert f"note: {notice}" in result.stderr.splitlines()
    graph["3"]["inputs"]["filename_prefix"] = "../x"
    (folder / "w.json").write_text(json.dumps(graph))
    result = cli(folder, "run", "w.json", "--json", "--models", "pocket")
    assert (result.returncode, json.loads(result.stdout)["notices"]) == (2, [notice])
