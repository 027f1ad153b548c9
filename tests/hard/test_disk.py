"""A disk that is full, or that takes nothing: nothing half-written stays, earlier pictures are whole, and with room
again the run works.

The disk is a small tmpfs where one can be mounted; a bound on the size of files works everywhere.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages.recipes.write_metadata import PictureInfo
from fooocus_stages.pipelines.stages.save import save_pictures
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the disks are made with Linux's means")

ROOM = 512 * 1024
ABOUT = PictureInfo(prompt="fox " * 2000, seed=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


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
