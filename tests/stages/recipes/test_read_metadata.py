"""Reading back: what was written comes back, other programs' files as far as they go, broken ones with a sentence."""

import contextlib
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages.prompts import prompt
from fooocus_stages.pipelines.stages.recipes.read_metadata import from_a1111, from_json, read_picture
from fooocus_stages.pipelines.stages.recipes.styles_in_text import styles_in
from fooocus_stages.pipelines.stages.recipes.write_metadata import PictureInfo, a1111_text, fooocus_text
from fooocus_stages.pipelines.stages.save import save_pictures
from fooocus_stages.pipelines.text.styles import Style, Styles, bundled_styles
from fooocus_stages.pipelines.types import FreeU, Lora
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

KNOWN = Styles(bundled_styles())
FULL = PictureInfo(
    prompt='two\nlines, with: colons "and quotes"',
    negative_prompt="blurry",
    styles=("Stages Ink Wash",),
    performance="Quality",
    steps=24,
    resolution=(1152, 896),
    guidance_scale=4.5,
    sharpness=2.0,
    adm_guidance=(1.5, 0.8, 0.3),
    base_model="base model",
    base_model_hash="0123456789",
    refiner_model="fine",
    refiner_swap_method="vae",
    overwrite_switch=12,
    adaptive_cfg=5.5,
    clip_skip=3,
    sampler="dpmpp_2m_sde_gpu",
    scheduler="karras",
    vae="Default (model)",
    seed=2**63 - 1,
    freeu=FreeU(1.1, 1.2, 0.9, 0.8),
    loras=(Lora("ink, blue", 0.1), Lora("offset", -1.5)),
    created_by="someone",
)


def info_in_json(text: str) -> PictureInfo:
    return from_json(text).info


def info_in_text(text: str, known: Styles | None = None) -> PictureInfo:
    return from_a1111(text, lambda: known or Styles()).info


def info_of(path: Path, known: Callable[[], Styles]) -> PictureInfo:
    return read_picture(path, known).info


def hash_of(kind: str, name: str) -> str:
    return "0123456789"


def composed(text: str, negative: str, styles: tuple[str, ...]) -> PictureInfo:
    """The info of a prompt that the pack composed itself."""
    (one,), _ = prompt.compose(text, negative, styles, seed=5, known=KNOWN)
    return replace(
        FULL,
        prompt=one.text,
        negative_prompt=one.negative_text,
        styles=one.styles,
        full_prompt=one.positive,
        full_negative_prompt=one.negative,
    )


def test_the_json_comes_back_whole() -> None:
    info = replace(composed("a fox", "blurry", ("Stages Clean",)), refiner_switch=0.75, prompt_expansion="a fox, fine")
    assert info_in_json(fooocus_text(info, hash_of)) == info


@pytest.mark.parametrize(
    "text", ["a fox", "a fox\nin snow, at dusk\nsoft", 'two: "lines"', '"quoted"', " spaced ", "\u72d0 \U0001f98a", ""]
)
@pytest.mark.parametrize("negative", ["", "blurry", "blurry, dark\nugly"])
@pytest.mark.parametrize(
    "styles",
    [
        (),
        ("Stages Clean",),
        ("Stages Ink Wash", "Stages Film Still"),
        ("Stages Film Still", "Stages Ink Wash"),
        ("Fooocus V2",),
        ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"),
        ("Fooocus V2", "Fooocus Sharp", "Stages Watercolour", "Fooocus Enhance"),
    ],
)
def test_the_text_comes_back_with_its_styles_in_order(text: str, negative: str, styles: tuple[str, ...]) -> None:
    info = composed(text, negative, styles)
    read = info_in_text(a1111_text(info, hash_of), KNOWN)
    same = {"full_prompt": read.full_prompt, "full_negative_prompt": read.full_negative_prompt}
    assert read == replace(info, **same)


@pytest.mark.parametrize(("write", "read"), [(fooocus_text, info_in_json), (a1111_text, info_in_text)])
def test_a_schedule_as_fooocus_comes_back(write: Callable[..., str], read: Callable[[str], PictureInfo]) -> None:
    info = replace(FULL, scheduler="turbo", as_fooocus=True)
    assert read(write(info, hash_of)).as_fooocus
    assert not read(write(replace(info, as_fooocus=False), hash_of)).as_fooocus


def test_styles_that_are_not_known_are_not_guessed() -> None:
    info = composed("a fox", "", ("Stages Ink Wash",))
    assert info_in_text(a1111_text(info, hash_of), Styles()).styles is None
    assert styles_in("a fox, drawn", "", "a wolf", "", KNOWN) is None


@pytest.mark.parametrize("at_most", [1, 2, 3])
def test_styles_of_fooocus_shapes(at_most: int) -> None:
    """Styles that begin alike, hold only a negative, or repeat the prompt: what composes the same texts is found."""
    shapes = [
        Style("A", "ink {prompt}", "colour"),
        Style("AA", "ink {prompt}, ink", "colour, photo"),
        Style("N", "", "low, bad"),
        Style("M", "", "low"),
        Style("P", "masterpiece\nbest", ""),
        Style("Q", "masterpiece", ""),
    ]
    known = Styles(shapes)
    for chosen in [(), *((s.name,) for s in shapes), ("A", "N"), ("N", "A"), ("P", "Q"), ("Q", "P"), ("M", "AA", "P")]:
        styles = chosen[:at_most]
        (one,), _ = prompt.compose("a fox\nsoft", "blurry", styles, known=known)
        found = styles_in(", ".join(one.positive), ", ".join(one.negative), one.text, one.negative_text, known)
        assert found is not None
        (again,), _ = prompt.compose("a fox\nsoft", "blurry", found, known=known)
        assert (", ".join(again.positive), ", ".join(again.negative)) == (
            ", ".join(one.positive),
            ", ".join(one.negative),
        )


@pytest.mark.parametrize(
    ("sampler", "scheduler", "shown"),
    [
        ("euler", "karras", "Euler Karras"),
        ("euler_ancestral", "normal", "Euler a"),
        ("dpmpp_2m", "sgm_uniform", "DPM++ 2M"),
        ("dpmpp_sde_gpu", "karras", "DPM++ SDE Karras"),
        ("heunpp2", "karras", "heunpp2"),
        ("uni_pc_bh2", "simple", "uni_pc_bh2"),
        ("tcd", "tcd", "TCD"),
    ],
)
def test_samplers(sampler: str, scheduler: str, shown: str) -> None:
    written = a1111_text(replace(FULL, sampler=sampler, scheduler=scheduler), hash_of)
    assert f"Sampler: {shown}," in written
    read = info_in_text(written, KNOWN)
    assert (read.sampler, read.scheduler) == (sampler, scheduler)


FOREIGN = """a fox, <lora:ink:0.5>
in snow
Negative prompt: blurry,
dark
Steps: 25, Sampler: DPM++ 2M, Schedule type: Exponential, CFG scale: 6.5, Seed: 77, Size: 640x960, Model hash: abc, \
Model: some_xl, VAE: sdxl_vae.safetensors, Refiner: fine_xl [7440042bbd], Refiner switch at: 0.8, \
Lora hashes: "ink: 0123", Version: v1.9.4"""


def test_a_text_of_a1111() -> None:
    read = info_in_text(FOREIGN, KNOWN)
    assert (read.prompt, read.negative_prompt, read.styles) == ("a fox, <lora:ink:0.5>\nin snow", "blurry,\ndark", None)
    assert (read.sampler, read.scheduler, read.steps, read.seed) == ("dpmpp_2m", "exponential", 25, 77)
    assert (read.resolution, read.guidance_scale, read.clip_skip) == ((640, 960), 6.5, 2)
    assert (read.base_model, read.refiner_model, read.refiner_switch) == ("some_xl", "fine_xl", 0.8)
    assert (read.vae, read.loras) == ("sdxl_vae.safetensors", ())


def test_loras_of_three_parts_and_old_entries() -> None:
    assert info_in_text('x\nSteps: 3, Seed: 1, Lora hashes: "ink: 0f: 0.5, b: 1a: 2"').loras == (
        Lora("ink", 0.5),
        Lora("b", 2.0),
    )
    values = {"lora_combined_2": "b : 0.5", "lora_combined_10": "c : 1", "LoRA 1": "True : a : -1.0"}
    more = {"lora_combined_3": "None : 1.0", "lora_combined_4": "False : off : 1.0"}
    read = info_in_json(json.dumps(values | more))
    assert read.loras == (Lora("a", -1.0), Lora("b", 0.5), Lora("c", 1.0))


def test_a_prompt_without_a_parameter_line_is_a_prompt() -> None:
    read = info_in_text("a fox: red, small\nNegative prompt: dark")
    assert (read.prompt, read.negative_prompt, read.seed) == ("a fox: red, small", "dark", None)


def test_entries_are_found_by_label() -> None:
    read = info_in_json(json.dumps({"Prompt": "fox", "Seed": "7", "Styles": "['A']", "Resolution": "(8, 16)"}))
    assert (read.prompt, read.seed, read.styles, read.resolution) == ("fox", 7, ("A",), (8, 16))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"seed": ', "not valid"),
        ("{}", "none of the entries"),
        ('{"model": "a", "hue": 1}', "unknown program .keys: model, hue"),
        ('{"seed": -1}', "seed = '-1' should be a whole number from 0"),
        ('{"resolution": "(0, 8)"}', "resolution = .* should be a size with sides from 1"),
        ('{"guidance_scale": NaN}', "should be a number"),
        ('{"loras": [["a", "b"]]}', "LoRA 'a' .* should be a number"),
        ('{"loras": 3}', "should be a list of LoRAs"),
        ('{"prompt": 3, "seed": [], "steps": {}, "vae": 1}', r"prompt = .*steps = .*vae = "),
        ('{"prompt": 3, "seed": 5}', "prompt = '3' should be a text"),
        ("[" * 10**6, "not valid"),
        ('{"seed": ' + "9" * 5000 + "}", "not valid|should be a whole number"),
    ],
)
def test_broken_json(text: str, words: str) -> None:
    with pytest.raises(BadFile, match=words):
        info_in_json(text)


def test_a_text_about_an_upscale_alone_is_no_prompt() -> None:
    with pytest.raises(BadFile, match="none of the entries"):
        from_a1111("Postprocess upscale by: 4, Postprocess upscaler: R-ESRGAN 4x+")


@given(st.text(max_size=200))
def test_any_text_is_a_prompt_or_a_sentence(text: str) -> None:
    for read in (info_in_text, info_in_json):
        with contextlib.suppress(BadFile):
            assert isinstance(read(text), PictureInfo)


@given(
    st.dictionaries(
        st.sampled_from(["seed", "loras", "styles", "lora_combined_1", "freeu", "clip_skip"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=4),
            max_leaves=6,
        ),
    )
)
def test_any_values_are_read_or_named(values: dict[str, Any]) -> None:
    with contextlib.suppress(BadFile):
        assert isinstance(info_in_json(json.dumps(values)), PictureInfo)


def host(folder: Path) -> LocalHost:
    return LocalHost([folder / "models"], output=folder)


def known() -> Styles:
    return KNOWN


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
def test_a_saved_picture_is_read_back(tmp_path: Path, format: str, scheme: str) -> None:
    import torch

    info = replace(composed("a café, \u72d0 \U0001f98a", "blurry", ("Stages Ink Wash",)), base_model_hash=None)
    (entry,) = save_pictures(host(tmp_path), torch.rand(1, 8, 8, 3), "x", format, 95, scheme, info)
    read = info_of(tmp_path / entry["filename"], known)
    full = {"full_prompt": info.full_prompt, "full_negative_prompt": info.full_negative_prompt}
    assert replace(read, **full) == info


def as_fooocus_writes(path: Path, text: str, scheme: str) -> None:
    """A picture with its text where Fooocus puts it, written with no code of ours."""
    picture = Image.new("RGB", (8, 8))
    if path.suffix == ".png":
        chunks = PngInfo()
        chunks.add_text("parameters", text)
        chunks.add_text("fooocus_scheme", scheme)
        picture.save(path, pnginfo=chunks)
    else:
        exif = Image.Exif()
        exif[0x9286], exif[0x0131], exif[0x927C] = text, "Fooocus v2.5.5", scheme
        picture.save(path, exif=exif)


@pytest.mark.parametrize("suffix", [".png", ".jpeg", ".webp"])
@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
def test_a_picture_of_fooocus(tmp_path: Path, suffix: str, scheme: str) -> None:
    path = tmp_path / f"x{suffix}"
    text = (fooocus_text if scheme == "fooocus" else a1111_text)(replace(FULL, version="Fooocus v2.5.5"), hash_of)
    as_fooocus_writes(path, text, scheme)
    assert info_of(path, known).seed == FULL.seed
    assert info_of(path, known).version == "Fooocus v2.5.5"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(4)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    return png_with(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(10**8), 9)))


def plain_png() -> bytes:
    return png_with()


BAD_FILES = {
    "no metadata": (plain_png(), "contains no generation parameters"),
    "not a picture": (b"hello", "cannot be read as an image"),
    "empty": (b"", "the file is empty"),
    "only a head": (plain_png()[:20], "cannot be read as an image"),
    "a text that unpacks to 100 MB": (text_bomb(), "contains no generation parameters"),
    "a text as long as a book": (
        png_with(chunk(b"tEXt", b"parameters\0" + b"x" * (2**20 + 1))), "contains no generation parameters"
    ),
    "broken JSON": (
        png_with(chunk(b"tEXt", b'parameters\0{"seed"'), chunk(b"tEXt", b"fooocus_scheme\0fooocus")), "not valid"
    ),
    "broken EXIF": (png_with(chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")), "no generation param|can't be read"),
    "EXIF that is cut off": (png_with(chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x09\x92\x86\0\x02")), "no gen|can't be"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=words) as caught:
        info_of(path, known)
    assert "x.png" in str(caught.value)


@given(st.binary(max_size=60))
def test_any_exif_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, exif: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "exif.png"
    path.write_bytes(png_with(chunk(b"eXIf", b"II*\0\x08\0\0\0" + exif)))
    with pytest.raises(BadFile):
        info_of(path, known)


ELSEWHERE = {
    "InvokeAI": {"invokeai_metadata": '{"positive_prompt": "a fox"}'},
    "InvokeAI 1": {"Dream": '"a fox" -s 50 -S 42 -W 512 -H 512 -C 7.5 -A k_lms'},
    "NovelAI": {"Software": "NovelAI", "Description": "a fox"},
    "Easy Diffusion": {"prompt": "a fox", "seed": "42", "use_stable_diffusion_model": "x"},
    "Mochi Diffusion": {"Description": "Include in Image: a fox; Seed: 42; Generator: Mochi Diffusion 3.0"},
    "Midjourney": {"Description": "a fox --ar 3:2 Job ID: 12345678-90ab"},
    "ComfyUI": {"Make": 'workflow:{"nodes": []}', "Model": 'prompt:{"1": {"class_type": "KSampler"}}'},
    "ComfyUI ": {"workflow": '{"nodes": []}', "prompt": '{"1": {"class_type": "KSampler"}}'},
}


@pytest.mark.parametrize("program", ELSEWHERE)
def test_other_programs_are_refused_by_name(tmp_path: Path, program: str) -> None:
    chunks = PngInfo()
    for key, text in ELSEWHERE[program].items():
        chunks.add_text(key, text)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=chunks)
    with pytest.raises(BadFile, match=program.rstrip(" 1")):
        info_of(tmp_path / "x.png", known)


def test_two_texts_that_differ_are_reported(tmp_path: Path) -> None:
    told: list[str] = []
    line = "a fox\nSteps: 20, Seed: {}, Size: 64x64"
    for other, seed in (("Description", 42), ("Comment", 43)):
        info = PngInfo()
        info.add_text(other, line.format(seed))
        info.add_text("parameters", line.format(42))
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
        assert read_picture(tmp_path / "a.png", Styles, told.append).info.seed == 42
    assert told == ["a.png: its texts 'parameters' and 'Comment' differ; 'parameters' is read"]


def test_a_list_of_one_object_is_read_as_that() -> None:
    values = {"prompt": "a fox", "seed": "7", "performance": "Speed"}
    assert info_in_json(json.dumps([values])) == info_in_json(json.dumps(values))
