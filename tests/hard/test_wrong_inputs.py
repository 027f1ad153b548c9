"""Wrong inputs through the command line: the values and the remedy in each message, the exit code, and what must stay
unchanged."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.serving.cli import main
from PIL import Image

from . import wrong
from .wrong import CHECKPOINT, COPY, DRAW, LORA, READ, VARY, Write, node


@dataclass(frozen=True)
class Row:
    """A mistake: how the folder is prepared, what is run, and what the error message must name, in order."""

    name: str
    message: str
    sets: tuple[str, ...] = ()
    prepare: Write = lambda folder: None
    graph: Any = None
    options: tuple[str, ...] = ()
    code: int = 2


Matches = Callable[[str, str], bool]
MINE = ("load.ckpt_name=mine.safetensors",)
MY_LORA = ("lora.lora_name=mine.safetensors",)
LOAD, APPLY = "node load (FooocusLoadCheckpoint): ", "node apply (FooocusApplyLoras): "
SIZE, MODE, SETTINGS = "node size (FooocusAspectRatio): ", "node mode (FooocusPerformance): ", "node settings "
SETTINGS += "(FooocusSamplingSettings): "
SAMPLER, SAVE = "node sampler (FooocusSampler): ", "node save (FooocusSaveImage): "
SIDES = "give a whole number from 64 to 4096"
TIME_PROJECTION = "down_blocks.0.resnets.0.time_emb_proj.weight"
EXPORT = "Workflow > Export (API)"


ROWS = [
    Row(
        "a checkpoint cut in the middle",
        LOAD + "mine.safetensors<…>damaged<…>download it again",
        MINE,
        wrong.checkpoint(wrong.part(CHECKPOINT, 0.5)),
    ),
    Row(
        "a checkpoint cut in its header",
        LOAD + "mine.safetensors<…>76352 bytes of 21719<…>download it again",
        MINE,
        wrong.checkpoint(wrong.part(CHECKPOINT, 0.001)),
    ),
    Row(
        "an empty checkpoint",
        LOAD + "mine.safetensors<…>empty<…>download<…>",
        MINE,
        wrong.checkpoint(wrong.content(b"")),
    ),
    Row(
        "a web page as checkpoint",
        LOAD + "mine.safetensors<…>web page<…>download<…>",
        MINE,
        wrong.checkpoint(wrong.content(b"<!DOCTYPE html><p>404")),
    ),
    Row(
        "a folder as checkpoint",
        LOAD + "<…>'mine.safetensors'<…>folder<…>choose<…>.safetensors",
        MINE,
        wrong.checkpoint(Path.mkdir),
    ),
    Row(
        "a pickle with code",
        LOAD + "mine.safetensors<…>running code<…>safetensors",
        MINE,
        wrong.checkpoint(wrong.pickle_with_code),
    ),
    Row(
        "SD 1.5 where SDXL is needed",
        LOAD + "mine.safetensors<…>SD 1.5<…>choose<…>SDXL<…>",
        MINE,
        wrong.checkpoint(wrong.sd15),
    ),
    Row(
        "a LoRA as checkpoint",
        LOAD + "mine.safetensors<…>a LoRA<…>choose<…>",
        MINE,
        wrong.checkpoint(wrong.part(LORA, 1)),
    ),
    Row(
        "a weight of another shape",
        LOAD + f"mine.safetensors<…>{TIME_PROJECTION}<…>(64, 256)<…>(1, 256)<…>choose<…>",
        MINE,
        wrong.checkpoint(wrong.state(CHECKPOINT, lambda s: s.update({wrong.UNET_WEIGHT: s[wrong.UNET_WEIGHT][:1]}))),
    ),
    Row(
        "a missing weight",
        LOAD + f"mine.safetensors<…>1 weight ({TIME_PROJECTION})<…>download it again",
        MINE,
        wrong.checkpoint(wrong.state(CHECKPOINT, lambda s: s.pop(wrong.UNET_WEIGHT))),
    ),
    Row(
        "NaN in the UNet",
        LOAD + f"mine.safetensors<…>{wrong.UNET_WEIGHT}<…>NaN<…>download it again<…>",
        MINE,
        wrong.checkpoint(wrong.spoil(wrong.UNET_WEIGHT, float("nan"))),
    ),
    Row(
        "infinity in the VAE",
        LOAD + f"mine.safetensors<…>{wrong.VAE_WEIGHT}<…>infinity<…>download it again<…>",
        MINE,
        wrong.checkpoint(wrong.spoil(wrong.VAE_WEIGHT, float("inf"))),
    ),
    Row(
        "NaN in a text encoder",
        LOAD + f"mine.safetensors<…>{wrong.TEXT_WEIGHT}<…>NaN<…>download it again<…>",
        MINE,
        wrong.checkpoint(wrong.spoil(wrong.TEXT_WEIGHT, float("nan"))),
    ),
    Row(
        "a checkpoint that is not there",
        LOAD + "<…>'nope.safetensors'<…>models/checkpoints<…>",
        ("load.ckpt_name=nope.safetensors",),
    ),
    Row(
        "a VAE that is not there",
        LOAD + "<…>'nope'<…>{pocket}/vae, models/vae<…>",
        ("load.vae_name=nope",),
    ),
    Row(
        "a checkpoint as LoRA",
        APPLY + "mine.safetensors<…>a checkpoint<…>choose<…>",
        MY_LORA,
        wrong.lora(wrong.part(CHECKPOINT, 1)),
    ),
    Row(
        "a LoRA cut in the middle",
        APPLY + "mine.safetensors<…>damaged<…>download it again",
        MY_LORA,
        wrong.lora(wrong.part(LORA, 0.5)),
    ),
    Row(
        "a LoRA with infinity",
        APPLY + "mine.safetensors<…>infinity<…>lora_unet_add_embedding_linear_2.alpha<…>use another<…>",
        MY_LORA,
        wrong.lora(wrong.state(LORA, lambda s: next(iter(s.values())).view(-1)[:1].fill_(float("inf")))),
    ),
    Row(
        "half a LoRA",
        APPLY + "mine.safetensors<…>266 of its 266 entries<…>another model family, or not a LoRA",
        MY_LORA,
        wrong.lora(wrong.state(LORA, lambda s: [s.pop(k) for k in list(s) if "lora_up" in k])),
    ),
    Row(
        "a LoRA that is not there",
        APPLY + "<…>'nope'<…>{pocket}/loras, models/loras<…>",
        ("lora.lora_name=nope",),
    ),
    Row("width 0", SIZE + f"input 'width' = 0 <…>64; {SIDES}", ("size.width=0",)),
    Row("width 7", SIZE + f"input 'width' = 7 <…>64; {SIDES}", ("size.width=7",)),
    Row("width 1e9", SIZE + f"input 'width' = 1000000000 <…>4096; {SIDES}", ("size.width=1e9",)),
    Row(
        "no picture in a batch",
        SIZE + "input 'batch_size' = 0 <…>give<…>from 1 to 64",
        ("size.batch_size=0",),
    ),
    Row(
        "an unknown size",
        SIZE + "input 'aspect_ratio' = '1024x1023' <…>'1024×1024'<…>choose from <…>",
        ("size.aspect_ratio=1024x1023",),
    ),
    Row(
        "guidance inf",
        SETTINGS + "input 'guidance_scale' = inf <…>give<…>from 1.0 to 30.0",
        ("settings.guidance_scale=Infinity",),
    ),
    Row(
        "guidance nan",
        SETTINGS + "input 'guidance_scale' = nan <…>give<…>from 1.0 to 30.0",
        ("settings.guidance_scale=NaN",),
    ),
    Row(
        "negative sharpness",
        SETTINGS + "input 'sharpness' = -1.0 <…>give<…>from 0.0 to 30.0",
        ("settings.sharpness=-1",),
    ),
    Row(
        "an unknown sampler",
        SETTINGS + "input 'sampler' = 'eulr' <…>'euler'<…>choose from <…>",
        ("settings.sampler=eulr",),
    ),
    Row(
        "an unknown scheduler",
        SETTINGS + "input 'scheduler' = 'karas' <…>'karras'<…>choose from <…>",
        ("settings.scheduler=karas",),
    ),
    Row(
        "an unknown performance",
        MODE + "input 'performance' = 'Fast' <…>choose from <…>",
        ("mode.performance=Fast",),
    ),
    Row(
        "too many steps",
        MODE + "input 'overwrite_step' = 1000000000 <…>give<…>from -1 to 200",
        ("mode.overwrite_step=1e9",),
    ),
    Row(
        "denoise 0",
        SAMPLER + "input 'denoise' = 0.0 <…>give<…>from 0.01 to 1.0",
        ("sampler.denoise=0",),
    ),
    Row(
        "an unknown style",
        "node styles (FooocusStyles): <…>'Fooocus Shap'<…>'Fooocus Sharp'<…>",
        ("styles.style_1=Fooocus Shap",),
    ),
    Row(
        "a seed below 0",
        "node prompt (FooocusPrompt): seed = -1 <…>give<…>from 0 to 9223372036854775807",
        ("prompt.seed=-1",),
    ),
    Row(
        "a seed that is too large",
        "node prompt (FooocusPrompt): seed = 99999999999999999999 <…>give<…>from 0 to 9223372036854775807",
        ("prompt.seed=99999999999999999999",),
    ),
    Row(
        "a seed that is a word",
        "node prompt (FooocusPrompt): input 'seed' = 'seven' <…>give<…>from 0 to 9007199254740991",
        ("prompt.seed=seven",),
    ),
    Row(
        "no pictures",
        "node prompt (FooocusPrompt): input 'num_images' = 0 <…>give<…>from 1 to 32",
        (),
        options=("-n", "0"),
    ),
    Row("a wrong truth", "<…>'tiled'<…>true or false<…>'maybe'", ("decode.tiled=maybe",)),
    Row(
        "a setting without a value",
        "<…>'nonsense'<…>write NODE.input=value<…>",
        ("nonsense",),
    ),
    Row(
        "a setting of no node",
        "<…>'nope'<…>load (FooocusLoadCheckpoint)<…>save (FooocusSaveImage)",
        ("nope.seed=1",),
    ),
    Row(
        "a setting of no input",
        "<…>'sed'<…>'seed'<…>node prompt (FooocusPrompt)<…>text, negative, seed, <…>increment_seed",
        ("prompt.sed=1",),
    ),
    Row(
        "a model as latent",
        SAMPLER + "input 'latent' <…>output 0 of node load (FooocusLoadCheckpoint)<…>FOOOCUS_MODEL<…>link<…>LATENT",
        ('sampler.latent=["load",0]',),
    ),
    Row(
        "a latent as picture",
        SAVE + "input 'images' <…>output 0 of node sampler (FooocusSampler)<…>LATENT<…>link<…>IMAGE",
        ('save.images=["sampler",0]',),
    ),
    Row(
        "a number as picture",
        SAVE + "input 'images' = 5 <…>link<…>IMAGE",
        ("save.images=5",),
    ),
    Row(
        "a link to no node",
        SAVE + "input 'images' <…>node 'nope'<…>link<…>",
        ('save.images=["nope",0]',),
    ),
    Row(
        "a link to no output",
        SAVE + "input 'images' <…>output 3 of node decode (FooocusVaeDecode)<…>0 (IMAGE)<…>link<…>",
        ('save.images=["decode",3]',),
    ),
    Row(
        "a circle",
        "<…>cycle<…>decode (FooocusVaeDecode) -> encode (FooocusVaeEncode) -> decode (FooocusVaeDecode)<…>cut<…>",
        ('encode.image=["decode",0]',),
        graph=VARY,
    ),
    Row(
        "a device that is not there",
        LOAD + "<…>'cuda:99'<…>choose<…>",
        (),
        options=("--device", "cuda:99"),
    ),
    Row(
        "no device",
        "--device 'tpu'<…>choose cpu, cuda<…>mps",
        (),
        options=("--device", "tpu"),
    ),
    Row(
        "a models folder that is not there",
        "folder nope <…>name an existing folder",
        (),
        options=("--models", "nope"),
    ),
    Row(
        "a mask as picture",
        "node 2 (SaveImage): input 'images' <…>output 1 of node 1 (LoadImage)<…>MASK<…>link<…>IMAGE",
        ('2.images=["1",1]',),
        graph=COPY,
    ),
    Row(
        "a web page as picture",
        "node 1 (LoadImage): a.png<…>web page<…>PNG or JPEG",
        (),
        wrong.picture(wrong.content(b"<html>")),
        COPY,
    ),
    Row(
        "an empty picture",
        "node 1 (LoadImage): a.png<…>PNG or JPEG",
        (),
        wrong.picture(wrong.content(b"")),
        COPY,
    ),
    Row(
        "half a jpeg",
        "node 1 (LoadImage): a.png<…>PNG or JPEG",
        (),
        wrong.picture(wrong.half(wrong.noise(), "JPEG")),
        COPY,
    ),
    Row(
        "half a png",
        "node 1 (LoadImage): a.png<…>PNG or JPEG",
        (),
        wrong.picture(wrong.half(wrong.noise(), "PNG")),
        COPY,
    ),
    Row(
        "a png of 2.5 gigapixels",
        "node 1 (LoadImage): a.png<…>larger<…>make it smaller",
        (),
        wrong.picture(wrong.bomb(50000, 50000)),
        COPY,
    ),
    Row(
        "a png without its pixels",
        "node 1 (LoadImage): a.png<…>PNG or JPEG",
        (),
        wrong.picture(wrong.bomb(9000, 9000)),
        COPY,
    ),
    Row(
        "a drawing in PostScript",
        "node 1 (LoadImage): a.png<…>EPS<…>PNG or JPEG",
        (),
        wrong.picture(wrong.content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")),
        COPY,
    ),
    Row(
        "a picture that is not there",
        "node 1 (LoadImage): <…>'b.png'<…>'a.png'<…>looked in <…>",
        ("1.image=b.png",),
        graph=COPY,
    ),
    Row(
        "a picture with a long name",
        "node 1 (LoadImage): <…>'" + "b" * 100 + "<…>looked in <…>",
        ("1.image=" + "b" * 5000,),
        graph=COPY,
    ),
    Row(
        "a picture too small to encode",
        "node encode (FooocusVaeEncode): <…>(B, H, W, 3)<…>8 or more<…>(1, 1, 1, 3)",
        (),
        wrong.picture(lambda p: Image.new("RGB", (1, 1)).save(p)),
        VARY,
    ),
    Row(
        "a picture that says nothing",
        "node 1 (FooocusReadInfo): a.png<…>choose an image<…>metadata<…>",
        (),
        graph=READ,
    ),
    Row(
        "an unknown format",
        SAVE + "input 'format' = 'gif' <…>choose from <…>",
        ("save.format=gif",),
    ),
    Row(
        "quality 0",
        SAVE + "input 'quality' = 0 <…>give<…>from 1 to 100",
        ("save.quality=0",),
    ),
    Row(
        "a name that leads out",
        SAVE + "<…>'../x'<…>{folder}/outputs<…>leave out<…>",
        ("save.filename_prefix=../x",),
    ),
    Row(
        "a name that begins at the root",
        SAVE + "<…>'/etc/x'<…>{folder}/outputs<…>leave out<…>",
        ("save.filename_prefix=/etc/x",),
    ),
    Row(
        "a name that is too long",
        SAVE + "<…>{folder}/outputs: File name too long; choose<…>",
        ("save.filename_prefix=" + "x" * 300,),
    ),
    Row(
        "a file where the output folder should be",
        "<…> in a.png: a.png is a file<…>choose<…>",
        (),
        graph=COPY,
        options=("-o", "a.png"),
    ),
    Row(
        "an output folder below a file",
        "<…> in a.png/x: a.png is a file<…>choose<…>",
        (),
        graph=COPY,
        options=("-o", "a.png/x"),
    ),
    Row(
        "a workflow of the canvas",
        f"w.json<…>canvas<…>{EXPORT}",
        graph={"nodes": [], "links": []},
    ),
    Row(
        "an empty workflow",
        f"w.json<…>API format<…>{EXPORT}",
        graph={},
    ),
    Row(
        "a list as workflow",
        f"w.json<…>API format<…>{EXPORT}",
        graph=[1],
    ),
    Row(
        "a workflow cut short",
        f"w.json<…>{EXPORT}",
        graph=b'{"1": {"class_type"',
    ),
    Row(
        "a workflow in bytes",
        f"w.json<…>{EXPORT}",
        graph=b"\xff\xfe\x00",
    ),
    Row(
        "a workflow 100,000 deep",
        f"w.json<…>{EXPORT}",
        graph=b'{"1":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ),
    Row(
        "a number of 10,000 digits",
        f"w.json<…>{EXPORT}",
        graph=b'{"1": {"class_type": "LoadImage", "inputs": {"image": ' + b"9" * 10_000 + b"}}}",
    ),
    Row(
        "a node of nobody",
        "node 1: 'UltimateSDUpscale' <…>in ComfyUI<…>--nodes FOLDER",
        graph={"1": node("UltimateSDUpscale")},
    ),
    Row(
        "a node nearly of ours",
        "node 1: 'FooocusSamplr' <…>'FooocusSampler'<…>in ComfyUI<…>--nodes FOLDER",
        graph={"1": node("FooocusSamplr")},
    ),
    Row(
        "a node without a class",
        "node 1: <…>class_type<…>",
        graph={"1": {"inputs": {}}},
    ),
    Row(
        "nothing to save",
        "<…>add a node that saves<…>",
        graph={"1": COPY["1"]},
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of one run, with a picture from an earlier one; SIGTERM is handled as before in the end."""
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    (tmp_path / "models" / "loras").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "earlier.png").write_bytes(b"an earlier picture")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOOOCUS_STAGES_MODELS", raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)


def arranged(row: Row, folder: Path) -> list[str]:
    """The row's files in the folder; the arguments of its run."""
    row.prepare(folder)
    graph = DRAW if row.graph is None else row.graph
    data = graph if isinstance(graph, bytes) else json.dumps(graph).encode()
    (folder / "w.json").write_bytes(data)
    return ["run", "w.json", *row.options, *(word for one in row.sets for word in ("--set", one))]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_mistake_is_explained_and_changes_nothing(
    row: Row, folder: Path, capsys: pytest.CaptureFixture[str], matches: Matches
) -> None:
    code = main(arranged(row, folder))
    out, err = capsys.readouterr()
    error = "\n".join(line for line in err.splitlines() if not line.startswith(("node ", "note: ")))
    expected = "error: " + row.message.replace("{folder}", str(folder)).replace("{pocket}", str(POCKET))
    assert matches(error, expected), f"{error!r} does not match {expected!r}"
    assert (code, out) == (row.code, "")
    assert not (folder / "marker").exists()
    assert [p.name for p in (folder / "outputs").rglob("*") if p.is_file()] == ["earlier.png"]
    assert (folder / "outputs" / "earlier.png").read_bytes() == b"an earlier picture"
    Image.new("RGB", (8, 8)).save(folder / "b.png")
    (folder / "copy.json").write_text(json.dumps(COPY))
    assert main(["run", "copy.json", "--set", "1.image=b.png"]) == 0
    assert capsys.readouterr().out == str(Path("outputs") / "x_00001_.png") + "\n"


ODD = {
    "one pixel": (lambda p: Image.new("RGB", (1, 1)).save(p, "PNG"), 1),
    "16 bits": (lambda p: Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(p, "PNG"), 1),
    "CMYK": (lambda p: Image.new("CMYK", (4, 4)).save(p, "JPEG"), 1),
    "three frames": (
        lambda p: Image.new("RGB", (4, 4)).save(
            p, "GIF", save_all=True, append_images=[Image.new("RGB", (4, 4), (shade,) * 3) for shade in (90, 200)]
        ),
        3,
    ),
    "one bit": (lambda p: Image.new("1", (4, 4)).save(p, "PNG"), 1),
    "a palette with transparency": (lambda p: Image.new("P", (4, 4)).save(p, "PNG", transparency=0), 1),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_picture_is_read(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write, count = ODD[name]
    write(folder / "a.png")
    (folder / "w.json").write_text(json.dumps(COPY))
    assert main(["run", "w.json", "--set", "2.filename_prefix=\u72d0 \U0001f98a/ß"]) == 0
    saved = capsys.readouterr().out.splitlines()
    assert saved == [str(Path("outputs") / "\u72d0 \U0001f98a" / f"ß_0000{i}_.png") for i in range(1, count + 1)]
    for path in saved:
        with Image.open(path) as image:
            image.load()
