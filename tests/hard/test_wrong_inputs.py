"""Wrong inputs through the command line: the exact message of each, the exit code, and what must be left as it was."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
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

ANY = "<…>"  # words of a library, which differ between its versions


@dataclass(frozen=True)
class Row:
    """A mistake: what is put into the folder, what is asked, and the message that it must give."""

    name: str
    message: str
    sets: tuple[str, ...] = ()
    prepare: Write = lambda folder: None
    graph: Any = None
    options: tuple[str, ...] = ()
    code: int = 2


MINE = ("load.ckpt_name=mine.safetensors",)
MY_LORA = ("lora.lora_name=mine.safetensors",)
LOAD, APPLY = "node load (FooocusLoadCheckpoint): ", "node apply (FooocusApplyLoras): "
SIZE, MODE, SETTINGS = "node size (FooocusAspectRatio): ", "node mode (FooocusPerformance): ", "node settings "
SETTINGS += "(FooocusSamplingSettings): "
SAMPLER, SAVE = "node sampler (FooocusSampler): ", "node save (FooocusSaveImage): "
SIDES = "give a whole number from 64 to 4096"
EXPORT = "export it in ComfyUI with Workflow > Export (API)"


ROWS = [
    Row(
        "a checkpoint cut in the middle",
        LOAD + "mine.safetensors is truncated or damaged (<…>): download it again",
        MINE,
        wrong.checkpoint(wrong.part(CHECKPOINT, 0.5)),
    ),
    Row(
        "a checkpoint cut in its header",
        LOAD + ("mine.safetensors is truncated or damaged (its header claims 76352 bytes of 21719): download it again"),
        MINE,
        wrong.checkpoint(wrong.part(CHECKPOINT, 0.001)),
    ),
    Row(
        "an empty checkpoint",
        LOAD + ("mine.safetensors is empty: download the model file itself"),
        MINE,
        wrong.checkpoint(wrong.content(b"")),
    ),
    Row(
        "a web page as checkpoint",
        LOAD + "mine.safetensors is a web page, not weights: download the model file itself",
        MINE,
        wrong.checkpoint(wrong.content(b"<!DOCTYPE html><p>404")),
    ),
    Row(
        "a folder as checkpoint",
        LOAD + "checkpoints file 'mine.safetensors' is a folder<…>: choose one file that ends in <…>.safetensors",
        MINE,
        wrong.checkpoint(Path.mkdir),
    ),
    Row(
        "a pickle with code",
        LOAD
        + (
            "mine.safetensors holds more than weights and can't be opened without running code, so "
            "it is refused: get it as safetensors"
        ),
        MINE,
        wrong.checkpoint(wrong.pickle_with_code),
    ),
    Row(
        "SD 1.5 where SDXL is needed",
        LOAD + "mine.safetensors is a checkpoint for SD 1.5: choose an SDXL base checkpoint<…>",
        MINE,
        wrong.checkpoint(wrong.sd15),
    ),
    Row(
        "a LoRA as checkpoint",
        LOAD + "mine.safetensors contains no UNet of Stable Diffusion; it is a LoRA: choose a checkpoint file",
        MINE,
        wrong.checkpoint(wrong.part(LORA, 1)),
    ),
    Row(
        "a weight of another shape",
        LOAD
        + (
            "mine.safetensors does not fit: the UNet needs "
            "down_blocks.0.resnets.0.time_emb_proj.weight of shape (64, 256), the file has (1, "
            "256); choose another file"
        ),
        MINE,
        wrong.checkpoint(wrong.state(CHECKPOINT, lambda s: s.update({wrong.UNET_WEIGHT: s[wrong.UNET_WEIGHT][:1]}))),
    ),
    Row(
        "a missing weight",
        LOAD
        + (
            "mine.safetensors is incomplete: the UNet is missing 1 weight "
            "(down_blocks.0.resnets.0.time_emb_proj.weight); download it again"
        ),
        MINE,
        wrong.checkpoint(wrong.state(CHECKPOINT, lambda s: s.pop(wrong.UNET_WEIGHT))),
    ),
    Row(
        "NaN in the UNet",
        LOAD + f"mine.safetensors is damaged: {wrong.UNET_WEIGHT} contains NaN or infinity; <…>",
        MINE,
        wrong.checkpoint(wrong.spoil(wrong.UNET_WEIGHT, float("nan"))),
    ),
    Row(
        "infinity in the VAE",
        LOAD + f"mine.safetensors is damaged: {wrong.VAE_WEIGHT} contains NaN or infinity; <…>",
        MINE,
        wrong.checkpoint(wrong.spoil(wrong.VAE_WEIGHT, float("inf"))),
    ),
    Row(
        "NaN in a text encoder",
        LOAD + f"mine.safetensors is damaged: {wrong.TEXT_WEIGHT} contains NaN or infinity; <…>",
        MINE,
        wrong.checkpoint(wrong.spoil(wrong.TEXT_WEIGHT, float("nan"))),
    ),
    Row(
        "a checkpoint that is not there",
        LOAD + "checkpoints file 'nope.safetensors' is missing; looked in: models/checkpoints",
        ("load.ckpt_name=nope.safetensors",),
    ),
    Row(
        "a VAE that is not there",
        LOAD + "vae file 'nope' is missing; looked in: {pocket}/vae, models/vae",
        ("load.vae_name=nope",),
    ),
    Row(
        "a checkpoint as LoRA",
        APPLY + "mine.safetensors is a checkpoint, not a LoRA: choose it in a checkpoint loader",
        MY_LORA,
        wrong.lora(wrong.part(CHECKPOINT, 1)),
    ),
    Row(
        "a LoRA cut in the middle",
        APPLY + "mine.safetensors is truncated or damaged (<…>): download it again",
        MY_LORA,
        wrong.lora(wrong.part(LORA, 0.5)),
    ),
    Row(
        "a LoRA with infinity",
        APPLY
        + (
            "mine.safetensors holds NaN or infinity, first in "
            "lora_unet_add_embedding_linear_2.alpha: the file is damaged or its training diverged; "
            "use another copy or an earlier epoch"
        ),
        MY_LORA,
        wrong.lora(wrong.state(LORA, lambda s: next(iter(s.values())).view(-1)[:1].fill_(float("inf")))),
    ),
    Row(
        "half a LoRA",
        APPLY
        + (
            "mine.safetensors does not fit this model: 266 of its 266 entries have no place in this model (<…>); "
            "it is for another model family, or not a LoRA"
        ),
        MY_LORA,
        wrong.lora(wrong.state(LORA, lambda s: [s.pop(k) for k in list(s) if "lora_up" in k])),
    ),
    Row(
        "a LoRA that is not there",
        APPLY + "loras file 'nope' is missing; looked in: {pocket}/loras, models/loras",
        ("lora.lora_name=nope",),
    ),
    Row("width 0", SIZE + f"input 'width' = 0 is below its minimum 64; {SIDES}", ("size.width=0",)),
    Row("width 7", SIZE + f"input 'width' = 7 is below its minimum 64; {SIDES}", ("size.width=7",)),
    Row("width 1e9", SIZE + f"input 'width' = 1000000000 is above its maximum 4096; {SIDES}", ("size.width=1e9",)),
    Row(
        "no picture in a batch",
        SIZE + "input 'batch_size' = 0 is below its minimum 1; give a whole number from 1 to 64",
        ("size.batch_size=0",),
    ),
    Row(
        "an unknown size",
        SIZE
        + ("input 'aspect_ratio' = '1024x1024' is not one of its choices (did you mean '1024×1024'?); choose from <…>"),
        ("size.aspect_ratio=1024x1024",),
    ),
    Row(
        "guidance inf",
        SETTINGS + ("input 'guidance_scale' = inf is above its maximum 30.0; give a number from 1.0 to 30.0"),
        ("settings.guidance_scale=Infinity",),
    ),
    Row(
        "guidance nan",
        SETTINGS + ("input 'guidance_scale' = nan is below its minimum 1.0; give a number from 1.0 to 30.0"),
        ("settings.guidance_scale=NaN",),
    ),
    Row(
        "negative sharpness",
        SETTINGS + "input 'sharpness' = -1.0 is below its minimum 0.0; give a number from 0.0 to 30.0",
        ("settings.sharpness=-1",),
    ),
    Row(
        "an unknown sampler",
        SETTINGS + ("input 'sampler' = 'eulr' is not one of its choices (did you mean 'euler'?); choose from <…>"),
        ("settings.sampler=eulr",),
    ),
    Row(
        "an unknown scheduler",
        SETTINGS + ("input 'scheduler' = 'karas' is not one of its choices (did you mean 'karras'?); choose from <…>"),
        ("settings.scheduler=karas",),
    ),
    Row(
        "an unknown performance",
        MODE + "input 'performance' = 'Fast' is not one of its choices; choose from <…>",
        ("mode.performance=Fast",),
    ),
    Row(
        "too many steps",
        MODE + ("input 'overwrite_step' = 1000000000 is above its maximum 200; give a whole number from -1 to 200"),
        ("mode.overwrite_step=1e9",),
    ),
    Row(
        "denoise 0",
        SAMPLER + "input 'denoise' = 0.0 is below its minimum 0.01; give a number from 0.01 to 1.0",
        ("sampler.denoise=0",),
    ),
    Row(
        "an unknown style",
        "node styles (FooocusStyles): unknown style 'Fooocus Shap' (did you mean 'Fooocus Sharp'<…>",
        ("styles.style_1=Fooocus Shap",),
    ),
    Row(
        "a seed below 0",
        "node prompt (FooocusPrompt): seed = -1 is out of range; give a whole number from 0 to 9223372036854775807",
        ("prompt.seed=-1",),
    ),
    Row(
        "a seed that is too large",
        "node prompt (FooocusPrompt): seed = 99999999999999999999 is out of range; give a whole number from 0 to "
        "9223372036854775807",
        ("prompt.seed=99999999999999999999",),
    ),
    Row(
        "a seed that is a word",
        "node prompt (FooocusPrompt): input 'seed' = 'seven' is not a whole number; give a "
        "whole number from 0 to 9007199254740991",
        ("prompt.seed=seven",),
    ),
    Row(
        "no pictures",
        "node prompt (FooocusPrompt): input 'num_images' = 0 is below its minimum 1; give a whole number from 1 to 32",
        (),
        options=("-n", "0"),
    ),
    Row("a wrong truth", "input 'tiled' must be true or false, not 'maybe'", ("decode.tiled=maybe",)),
    Row(
        "a setting without a value",
        "'nonsense' sets nothing; write NODE.input=value, for example FooocusPrompt.seed=7",
        ("nonsense",),
    ),
    Row(
        "a setting of no node",
        "unknown node 'nope'; the workflow has: load (FooocusLoadCheckpoint), lora "
        "(FooocusLora), settings (FooocusSamplingSettings), mode (FooocusPerformance), styles"
        " (FooocusStyles), prompt (FooocusPrompt), apply (FooocusApplyLoras), encode "
        "(FooocusEncodePrompt), size (FooocusAspectRatio), sampler (FooocusSampler), decode "
        "(FooocusVaeDecode), save (FooocusSaveImage)",
        ("nope.seed=1",),
    ),
    Row(
        "a setting of no input",
        "unknown input 'sed' (did you mean 'seed'?); node prompt (FooocusPrompt) has: text, "
        "negative, seed, num_images, loras, styles, wildcards_in_order, increment_seed",
        ("prompt.sed=1",),
    ),
    Row(
        "a model as latent",
        SAMPLER
        + (
            "input 'latent' takes LATENT, but output 0 of node load (FooocusLoadCheckpoint) gives"
            " FOOOCUS_MODEL; link it to an output of type LATENT"
        ),
        ('sampler.latent=["load",0]',),
    ),
    Row(
        "a latent as picture",
        SAVE
        + (
            "input 'images' takes IMAGE, but output 0 of node sampler (FooocusSampler) gives "
            "LATENT; link it to an output of type IMAGE"
        ),
        ('save.images=["sampler",0]',),
    ),
    Row(
        "a number as picture",
        SAVE + ("input 'images' = 5 must be a link; link it to an output of type IMAGE"),
        ("save.images=5",),
    ),
    Row(
        "a link to no node",
        SAVE + "input 'images' is linked to node 'nope', which is not in the workflow; link it anew",
        ('save.images=["nope",0]',),
    ),
    Row(
        "a link to no output",
        SAVE
        + (
            "input 'images' is linked to output 3 of node decode (FooocusVaeDecode), whose "
            "outputs are: 0 (IMAGE); link one of them"
        ),
        ('save.images=["decode",3]',),
    ),
    Row(
        "a circle",
        "the workflow contains a cycle: decode (FooocusVaeDecode) -> encode (FooocusVaeEncode)"
        " -> decode (FooocusVaeDecode); cut one of these links",
        ('encode.image=["decode",0]',),
        graph=VARY,
    ),
    Row(
        "a device that is not there",
        LOAD + "device 'cuda:99' is not available, or this build of torch does not support it: choose <…>",
        (),
        options=("--device", "cuda:99"),
    ),
    Row(
        "no device",
        "--device 'tpu' is not a device; choose cpu, cuda, cuda:0 and so on, or mps",
        (),
        options=("--device", "tpu"),
    ),
    Row(
        "a models folder that is not there",
        "folder nope does not exist; name an existing folder",
        (),
        options=("--models", "nope"),
    ),
    Row(
        "a mask as picture",
        "node 2 (SaveImage): input 'images' takes IMAGE, but output 1 of node 1 (LoadImage) "
        "gives MASK; link it to an output of type IMAGE",
        ('2.images=["1",1]',),
        graph=COPY,
    ),
    Row(
        "a web page as picture",
        "node 1 (LoadImage): a.png is a web page<…>PNG or JPEG",
        (),
        wrong.picture(wrong.content(b"<html>")),
        COPY,
    ),
    Row(
        "an empty picture",
        "node 1 (LoadImage): a.png cannot be read as an image (<…>); export it as PNG or JPEG",
        (),
        wrong.picture(wrong.content(b"")),
        COPY,
    ),
    Row(
        "half a jpeg",
        "node 1 (LoadImage): a.png cannot be read as an image (<…>); export it as PNG or JPEG",
        (),
        wrong.picture(wrong.half(wrong.noise(), "JPEG")),
        COPY,
    ),
    Row(
        "half a png",
        "node 1 (LoadImage): a.png cannot be read as an image (<…>); export it as PNG or JPEG",
        (),
        wrong.picture(wrong.half(wrong.noise(), "PNG")),
        COPY,
    ),
    Row(
        "a png of 2.5 gigapixels",
        "node 1 (LoadImage): a.png is larger than is safe to open (<…>); make it smaller",
        (),
        wrong.picture(wrong.bomb(50000, 50000)),
        COPY,
    ),
    Row(
        "a png without its pixels",
        "node 1 (LoadImage): a.png cannot be read as an image (<…>); export it as PNG or JPEG",
        (),
        wrong.picture(wrong.bomb(9000, 9000)),
        COPY,
    ),
    Row(
        "a drawing in PostScript",
        "node 1 (LoadImage): a.png is a vector drawing (EPS); export it as PNG or JPEG",
        (),
        wrong.picture(wrong.content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")),
        COPY,
    ),
    Row(
        "a picture that is not there",
        "node 1 (LoadImage): image 'b.png' does not exist (did you mean 'a.png'?); looked in . and for that path",
        ("1.image=b.png",),
        graph=COPY,
    ),
    Row(
        "a picture with a long name",
        "node 1 (LoadImage): image 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'… does not exist; "
        "looked in . and for that path",
        ("1.image=" + "b" * 5000,),
        graph=COPY,
    ),
    Row(
        "a picture too small to encode",
        "node encode (FooocusVaeEncode): an image to encode must be (B, H, W, 3) with sides "
        "of 8 or more, got (1, 1, 1, 3)",
        (),
        wrong.picture(lambda p: Image.new("RGB", (1, 1)).save(p)),
        VARY,
    ),
    Row(
        "a picture that says nothing",
        "node 1 (FooocusReadInfo): a.png contains no generation parameters: choose an image that "
        "was saved with metadata by Fooocus, A1111 or this pack",
        (),
        graph=READ,
    ),
    Row(
        "an unknown format",
        SAVE + "input 'format' = 'gif' is not one of its choices; choose from <…>",
        ("save.format=gif",),
    ),
    Row(
        "quality 0",
        SAVE + "input 'quality' = 0 is below its minimum 1; give a whole number from 1 to 100",
        ("save.quality=0",),
    ),
    Row(
        "a name that leads out",
        SAVE + ("the file name prefix '../x' leads out of the folder {folder}/outputs: leave out '..' and roots"),
        ("save.filename_prefix=../x",),
    ),
    Row(
        "a name that begins at the root",
        SAVE + ("the file name prefix '/etc/x' leads out of the folder {folder}/outputs: leave out '..' and roots"),
        ("save.filename_prefix=/etc/x",),
    ),
    Row(
        "a name that is too long",
        SAVE + ("a picture can't be saved in {folder}/outputs: File name too long; choose a shorter file name"),
        ("save.filename_prefix=" + "x" * 300,),
    ),
    Row(
        "a file where the output folder should be",
        "a picture can't be saved in a.png: a.png is a file, not a folder; choose another output folder",
        (),
        graph=COPY,
        options=("-o", "a.png"),
    ),
    Row(
        "an output folder below a file",
        "a picture can't be saved in a.png/x: a.png is a file, not a folder; choose another output folder",
        (),
        graph=COPY,
        options=("-o", "a.png/x"),
    ),
    Row(
        "a workflow of the canvas",
        "w.json is in the format of the canvas, which only ComfyUI can run; export it in "
        "ComfyUI with Workflow > Export (API)",
        graph={"nodes": [], "links": []},
    ),
    Row(
        "an empty workflow",
        "w.json is not a workflow in API format, which maps node ids to nodes; export it in "
        "ComfyUI with Workflow > Export (API)",
        graph={},
    ),
    Row(
        "a list as workflow",
        "w.json is not a workflow in API format, which maps node ids to nodes; export it in "
        "ComfyUI with Workflow > Export (API)",
        graph=[1],
    ),
    Row(
        "a workflow cut short",
        "w.json is not a workflow file: <…>; export it in ComfyUI with Workflow > Export (API)",
        graph=b'{"1": {"class_type"',
    ),
    Row(
        "a workflow in bytes",
        "w.json is not a workflow file: <…>; export it in ComfyUI with Workflow > Export (API)",
        graph=b"\xff\xfe\x00",
    ),
    Row(
        "a workflow 100,000 deep",
        "w.json is not a workflow file: <…>; export it in ComfyUI with Workflow > Export (API)",
        graph=b'{"1":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ),
    Row(
        "a number of 10,000 digits",
        "w.json is not a workflow file: <…>; export it in ComfyUI with Workflow > Export (API)",
        graph=b'{"1": {"class_type": "LoadImage", "inputs": {"image": ' + b"9" * 10_000 + b"}}}",
    ),
    Row(
        "a node of nobody",
        "node 1: 'KSampler' is not part of this pack (did you mean 'FooocusSampler'?); run "
        "this workflow in ComfyUI with the pack that has it, or load that pack with --nodes FOLDER",
        graph={"1": node("KSampler")},
    ),
    Row(
        "a node nearly of ours",
        "node 1: 'FooocusSamplr' is not part of this pack (did you mean 'FooocusSampler'<…>);"
        " run this workflow in ComfyUI with the pack that has it, or load that pack with --nodes FOLDER",
        graph={"1": node("FooocusSamplr")},
    ),
    Row(
        "a node without a class",
        "node 1: it has no class_type; every node of an API workflow names its class",
        graph={"1": {"inputs": {}}},
    ),
    Row(
        "nothing to save",
        "the workflow has no target to run for; add a node that saves or shows its result",
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


def matches(told: str, message: str) -> bool:
    return re.fullmatch(re.escape(message).replace(re.escape(ANY), ".*"), told, re.DOTALL) is not None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_mistake_is_told_in_a_sentence_and_costs_nothing(
    row: Row, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(arranged(row, folder))
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if not line.startswith(("node ", "note: "))]
    assert matches(
        "\n".join(told), "error: " + row.message.replace("{folder}", str(folder)).replace("{pocket}", str(POCKET))
    )
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
