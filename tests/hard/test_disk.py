"""A disk that is full, or that takes nothing: nothing half-written stays, earlier pictures are whole, and with room
again the run works.

The disk is a small tmpfs where one can be mounted; a bound on the size of files works everywhere.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.pipelines.files import replace_whole
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages.recipes.write_metadata import PictureInfo
from fooocus_stages.pipelines.stages.save import save_pictures
from fooocus_stages.serving.cli import main
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the disks are made with Linux's means")

ROOM = 512 * 1024
ABOUT = PictureInfo(prompt="fox " * 2000, seed=1)


def noise(side: int, count: int = 1) -> torch.Tensor:
    """Pictures that no format makes much smaller."""
    return torch.rand((count, side, side, 3), generator=torch.Generator().manual_seed(side))


def save(folder: Path, images: torch.Tensor, format: str) -> list[str]:
    saved = save_pictures(LocalHost(output=folder), images, "x", format, 100, info=ABOUT, prompt={"1": {}})
    return [entry["filename"] for entry in saved]


def all_whole(folder: Path) -> list[str]:
    """The names of what is in a folder; every file is a picture that can be read to its end."""
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        with Image.open(folder / name) as image:
            image.load()
    return names


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_full_disk(disk: Path, format: str) -> None:
    first = save(disk, noise(64), format)
    with pytest.raises(UserError) as caught:
        save(disk, noise(256, count=9), format)
    assert str(caught.value) == (
        f"a picture can't be saved in {disk}: No space left on device; make room on that disk, or choose another "
        "output folder"
    )
    kept = all_whole(disk)
    assert set(first) < set(kept)  # those of the batch that still went in are kept as well
    for name in kept[1:]:
        (disk / name).unlink()
    assert save(disk, noise(64), format) == [f"x_00002_.{format}"]
    assert len(all_whole(disk)) == 2


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_disk_without_room_for_a_name(disk: Path, format: str) -> None:
    with contextlib.suppress(OSError), (disk / "full").open("wb") as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(UserError, match="No space left on device"):
        save(disk, noise(64), format)
    assert [path.name for path in disk.iterdir()] == ["full"]


def test_a_disk_that_can_only_be_read(disk: Path) -> None:
    save(disk, noise(16), "png")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(UserError) as caught:
        save(disk, noise(16), "png")
    assert str(caught.value) == (
        f"a picture can't be saved in {disk}: Read-only file system; choose another output folder"
    )
    assert all_whole(disk) == ["x_00001_.png"]
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert save(disk, noise(16), "png") == ["x_00002_.png"]


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`fooocus-stages` with the words given, in a folder of its own: its exit code, output and errors."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        code = main(list(map(str, words)))
        return code, *capsys.readouterr()

    return run


RUN = ("run", "text-to-image-extreme-speed", "--models", "pocket", "-o")


def test_a_run_into_a_disk_that_can_only_be_read_ends_before_it_samples(disk: Path, command: Command) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    why = f"a picture can't be saved in {disk / 'new'}: Read-only file system; choose another output folder"
    assert command(*RUN, disk / "new") == (2, "", f"error: {why}\n")


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_workflows_into_a_tree_that_takes_nothing(disk: Path, tmp_path: Path, command: Command, below: str) -> None:
    (tmp_path / "taken").write_text("mine")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for root, why in (
        (disk / below, "Read-only file system"),
        (tmp_path / "taken" / below, "taken is a file, not a folder"),
    ):
        told = f"the workflows can't be saved in {root}: {why}; choose another output folder"
        assert command("workflows", "--write", root) == (2, "", f"error: {told}\n")
    assert list(disk.iterdir()) == []
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_file_on_a_full_disk_stays_as_it_was(disk: Path) -> None:
    replace_whole(disk / "deep" / "a.json", b"mine", "a file")
    with pytest.raises(UserError, match=r"a file can't be saved in .*deep: No space left on device; make room"):
        replace_whole(disk / "deep" / "a.json", bytes(2 * ROOM), "a file")
    assert (disk / "deep" / "a.json").read_bytes() == b"mine"
    replace_whole(disk / "deep" / "a.json", b"new", "a file")
    assert [(path.name, path.read_bytes()) for path in (disk / "deep").iterdir()] == [("a.json", b"new")]


@pytest.mark.parametrize("option", ["--models", "--styles-dir", "--wildcards-dir"])
def test_a_file_where_a_folder_should_be(tmp_path: Path, command: Command, option: str) -> None:
    (tmp_path / "taken").touch()
    told = "error: folder taken is a file; name an existing folder\n"
    assert command("prompt", "a fox", option, "taken") == (2, "", told)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads what its permission bits forbid")
@pytest.mark.parametrize(("option", "name"), [("--styles-dir", "a.json"), ("--wildcards-dir", "colour.txt")])
def test_a_file_that_may_not_be_read(tmp_path: Path, command: Command, option: str, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("[]")
    (tmp_path / "mine" / name).chmod(0)
    code, _, errors = command("prompt", "a __colour__ fox", option, "mine")
    assert code == 2
    assert f"{Path('mine') / name}" in errors
    assert "Permission denied" in errors


@pytest.mark.parametrize(("option", "name"), [("--styles-dir", "a.json"), ("--wildcards-dir", "colour.txt")])
def test_a_folder_with_the_name_of_a_file_is_passed_over(
    tmp_path: Path, command: Command, option: str, name: str
) -> None:
    (tmp_path / "mine" / name).mkdir(parents=True)
    assert command("prompt", "a fox", option, "mine") == (0, "image 1, seed 0\n  + a fox\n  - \n", "")


BOUND = """
import resource, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_disk import UserError, noise, save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for format in ("png", "jpeg", "webp"):
    folder = Path(sys.argv[1]) / format
    save(folder, noise(16), format)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        save(folder, noise(256), format)
    except UserError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    save(folder, noise(256), format)
"""
WHY = "File too large; it is larger than a file may be there: choose another output folder or format"


def test_a_bound_on_the_size_of_files(tmp_path: Path) -> None:
    program = BOUND.format(here=str(Path(__file__).parent))
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120)
    formats = ("png", "jpeg", "webp")
    told = [f"a picture can't be saved in {tmp_path / format}: {WHY}" for format in formats]
    assert ended.stdout.splitlines() == told, ended.stderr
    for format in formats:
        assert all_whole(tmp_path / format) == [f"x_00001_.{format}", f"x_00002_.{format}"]
