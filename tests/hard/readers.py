"""A process of its own that gives broken files to a reader, with bounds on its memory and its time.

python readers.py FOLDER prints, for each kind of file, what came of how many: read, an error of ours, or something
else, which must not be.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mutations
import torch
from fooocus_stages.nodes.comfy import use_host
from fooocus_stages.nodes.headless import LoadImage, LoadImageMask
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.upscaler import load_upscaler
from fooocus_stages.pipelines.models.weights import files
from fooocus_stages.pipelines.stages import load
from fooocus_stages.pipelines.stages.recipes import from_picture
from fooocus_stages.pipelines.types import Lora
from fooocus_stages.serving.bundled.workflow_files import read_workflow
from fooocus_stages.serving.commands.common import REGISTRY
from fooocus_stages.serving.engine.declarations import Registry
from fooocus_stages.serving.engine.validate import validate
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save
from wrong import CHECKPOINT, COPY, DRAW, LORA, noise

ROOM = 2**29  # bytes of memory beside what the reader needs for the good file
PATIENCE = 20  # seconds for one file
Case = tuple[str, bytes]
Reader = Callable[[Path], object]


class TooLong(BaseException):
    """A reader that does not come to an end."""


def checkpoints(folder: Path) -> tuple[Reader, Iterator[Case]]:
    (folder / "checkpoints").mkdir()
    host = LocalHost(models=[folder], device="cpu", on_notice=lambda text: None)
    (folder / "checkpoints" / "file.tokenizer").symlink_to(CHECKPOINT.with_suffix(".tokenizer"))
    good = save({key: value.half() for key, value in load_file(CHECKPOINT).items()})

    def read(path: Path) -> object:
        path.replace(folder / "checkpoints" / "file.safetensors")
        return load.checkpoint(host, "file.safetensors")

    broken = [*mutations.of_bytes(good, 8), *mutations.of_safetensors(good, 25)]
    return read, iter([("file", data) for data in (good, *broken)])


def loras(folder: Path) -> tuple[Reader, Iterator[Case]]:
    (folder / "loras").mkdir()
    host = LocalHost(models=[folder], device="cpu", on_notice=lambda text: None)
    model, clip, _ = load.checkpoint(LocalHost(models=[POCKET]), "pocket")
    good = LORA.read_bytes()
    tensors = dict(list(load_file(LORA).items())[:60])

    def read(path: Path) -> object:
        path.replace(folder / "loras" / path.name)
        patched, _ = load.apply_loras(host, model, clip, (Lora(path.name, 1.0),))
        return patched.network.merge(patched.patches)

    broken = [("a.safetensors", data) for data in (*mutations.of_bytes(good, 30), *mutations.of_safetensors(good, 60))]
    for zipped, change in ((True, mutations.of_zip), (True, mutations.of_bytes), (False, mutations.of_bytes)):
        plain = pickled({"state_dict": tensors}, zipped)
        broken += [("a.pt", data) for data in (plain, *change(plain, 20))]
    return read, iter([("a.safetensors", good), *broken])


def weights(folder: Path) -> tuple[Reader, Iterator[Case]]:
    tensors = {"a": torch.arange(6.0), "b": torch.ones(2, 3).half(), "c": torch.zeros(3, dtype=torch.int64)}
    safe = save(tensors, {"k": "v"})

    def read(path: Path) -> None:
        with files.open_weights(path) as opened:
            for key in opened.shapes:
                opened.read(key)
        files.read_content(path)
        with contextlib.suppress(UserError):
            load_upscaler(path)

    broken = [
        ("a.safetensors", data) for data in (*mutations.of_bytes(safe, 150), *mutations.of_safetensors(safe, 250))
    ]
    for zipped, change in ((True, mutations.of_zip), (True, mutations.of_bytes), (False, mutations.of_bytes)):
        plain = pickled(tensors, zipped)
        broken += [("a.pt", data) for data in change(plain, 100)]
    return read, iter([("a.safetensors", safe), *broken])


def pictures(folder: Path) -> tuple[Reader, Iterator[Case]]:
    host = LocalHost(input=folder, device="cpu", on_notice=lambda text: None)
    info = PngInfo()
    info.add_text("parameters", json.dumps({"prompt": "fox", "seed": "3", "steps": 4, "loras": [["a", 1.0, "x"]]}))
    exif = Image.Exif()
    exif[0x9286] = "a fox\nNegative prompt: dog\nSteps: 4, Seed: 3, Size: 8x8, Sampler: Euler"
    image, second = noise(24), noise(24).rotate(90)
    good = {
        "PNG": {"pnginfo": info}, "JPEG": {"exif": exif}, "WEBP": {"exif": exif}, "TIFF": {}, "BMP": {},
        "GIF": {"save_all": True, "append_images": [second]},
    }  # fmt: skip

    def read(path: Path) -> None:
        with use_host(host), contextlib.suppress(UserError):
            LoadImage().load_image(path.name)
        with use_host(host), contextlib.suppress(UserError):
            LoadImageMask().load_image(path.name, "red")
        from_picture.of_picture(host, path)

    def cases() -> Iterator[Case]:
        for seed, (kind, options) in enumerate(good.items()):
            into = io.BytesIO()
            image.save(into, kind, **options)
            yield from ((f"a.{kind.lower()}", data) for data in mutations.of_bytes(into.getvalue(), 80, seed))

    return read, cases()


def texts(folder: Path) -> tuple[Reader, Iterator[Case]]:
    """Pictures whose text about themselves is broken."""
    host = LocalHost(input=folder, device="cpu", on_notice=lambda text: None)
    fooocus = {
        "prompt": "fox", "negative_prompt": "", "styles": "['Mine']", "performance": "Speed", "steps": 30,
        "resolution": "(8, 8)", "guidance_scale": 4.0, "sharpness": 2.0, "adm_guidance": "(1.5, 0.8, 0.3)",
        "base_model": "x", "refiner_model": "None", "refiner_switch": 0.5, "sampler": "euler", "scheduler": "karras",
        "seed": "7", "freeu": "(1.0, 1.0, 1.0, 1.0)", "loras": [["a", 1.0, ""]], "clip_skip": 2, "vae": "x",
    }  # fmt: skip
    a1111 = (
        b'a fox\nNegative prompt: dog\nSteps: 4, Sampler: Euler, Seed: 3, Size: 8x8, CFG scale: 4, Lora hashes: "a: 1"'
    )

    def read(path: Path) -> object:
        text = path.read_bytes().decode("utf-8", "replace")
        info = PngInfo()
        info.add_text("parameters", text.replace("\0", " "))
        Image.new("RGB", (1, 1)).save(folder / "a.png", pnginfo=info)
        return from_picture.of_picture(host, folder / "a.png")

    trees = [json.dumps(tree).encode() for tree in mutations.of_json(fooocus, 300)]
    lines = [*mutations.of_bytes(a1111, 200), *mutations.of_bytes(json.dumps(fooocus).encode(), 100)]
    return read, iter([("t", data) for data in (b'{"a":' * 50_000, b"[" * 50_000, *trees, *lines)])


def workflows(folder: Path) -> tuple[Reader, Iterator[Case]]:
    host = LocalHost(models=[POCKET], input=folder, output=folder / "out", on_notice=lambda text: None)
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    registry = Registry(REGISTRY)

    def read(path: Path) -> object:
        with use_host(host):
            return validate(read_workflow(str(path)), registry)

    trees = [*mutations.of_json(DRAW, 250), *mutations.of_json(COPY, 150)]
    raw = [json.dumps(tree).encode("utf-8") for tree in trees]
    broken = [*mutations.of_bytes(json.dumps(COPY).encode(), 150), b"[" * 200_000, b'{"a":' * 200_000]
    return read, iter([("w.json", data) for data in (json.dumps(DRAW).encode(), *raw, *broken)])


READERS = {one.__name__: one for one in (checkpoints, loras, weights, pictures, texts, workflows)}


def pickled(value: Any, zipped: bool) -> bytes:
    into = io.BytesIO()
    torch.save(value, into, _use_new_zipfile_serialization=zipped)
    return into.getvalue()


def bound_memory() -> None:
    """Let this process have no more than some room beside what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    resource.setrlimit(resource.RLIMIT_DATA, (pages * resource.getpagesize() + ROOM, resource.RLIM_INFINITY))


def free_memory() -> None:
    """Take the bound away."""
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def stop(number: int, frame: object) -> None:
    raise TooLong


def outcome(read: Reader, path: Path) -> str:
    """'read', the name of our error, or what went wrong in full."""
    signal.alarm(PATIENCE)
    try:
        read(path)
        return "read"
    except UserError as error:
        return type(error).__name__ if str(error).strip() else "an error without a word"
    except (Exception, TooLong) as error:
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)


def outcomes(name: str, folder: Path) -> Counter[str]:
    """What came of the files of one kind; memory is bound after the first of them, which is a good one."""
    folder.mkdir()
    read, cases = READERS[name](folder)
    found: Counter[str] = Counter()
    for number, (file, data) in enumerate(cases):
        (folder / file).write_bytes(data)
        found[outcome(read, folder / file)] += 1
        if number == 0:
            bound_memory()
    free_memory()
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, stop)
    print(json.dumps({name: outcomes(name, Path(sys.argv[1]) / name) for name in READERS}))
