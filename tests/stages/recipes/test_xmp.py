"""Generation parameters in XMP packets, as photo managers and image generators write them into real files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.stages.recipes.picture_texts import texts_in
from fooocus_stages.pipelines.stages.recipes.read_metadata import read_picture
from fooocus_stages.pipelines.stages.recipes.xmp import texts_in_xmp
from fooocus_stages.pipelines.text.styles import Styles
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

TEXT = "a fox & its \u72d0, déjà <vu>\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42"
JSON = json.dumps({"prompt": "a fox", "seed": 42, "steps": 20, "guidance_scale": 7, "base_model": "m"})
PREFIXES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
    "own": "https://example.org/parameters/1.0/",
}
FORMATS = [".png", ".jpg", ".webp", ".tif"]


def packet(attributes: str = "", elements: str = "") -> str:
    names = " ".join(f'xmlns:{prefix}="{address}"' for prefix, address in PREFIXES.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {names} {attributes}>{elements}</rdf:Description>'
        f'</rdf:RDF></x:xmpmeta>\n{" " * 200}\n<?xpacket end="w"?>'
    )


def listed(name: str, text: str, kind: str = "Alt") -> str:
    return f'<{name}><rdf:{kind}><rdf:li xml:lang="x-default">{escape(text)}</rdf:li></rdf:{kind}></{name}>'


def simple(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def attribute(name: str, text: str) -> str:
    return f"{name}={quoteattr(text, {chr(10): '&#10;'})}"


def save(folder: Path, suffix: str, xmp: bytes) -> Path:
    """An image of each format with the packet where the format has its place for it."""
    path, image = folder / f"x{suffix}", Image.new("RGB", (8, 8))
    if suffix == ".png":
        chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(path, pnginfo=chunks)
    elif suffix == ".jpg":
        image.save(path)
        body = b"http://ns.adobe.com/xap/1.0/\0" + xmp
        written = path.read_bytes()
        path.write_bytes(written[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + written[2:])
    elif suffix == ".tif":
        image.save(path, tiffinfo={700: xmp})
    else:
        image.save(path, xmp=xmp)
    return path


def told(path: Path) -> tuple[str | None, int | None, int | None]:
    info = read_picture(path, Styles).info
    return info.prompt, info.seed, info.steps


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "xmp",
    [
        packet(elements=listed("dc:description", TEXT)),
        packet(elements=listed("exif:UserComment", TEXT)),
        packet(elements=listed("tiff:ImageDescription", TEXT)),
        packet(elements=simple("photoshop:Instructions", TEXT)),
        packet(elements=simple("acdsee:notes", TEXT)),
        packet(elements=simple("own:parameters", TEXT)),
        packet(attributes=attribute("exif:UserComment", TEXT)),
        packet(attributes=attribute("own:parameters", TEXT)),
        packet(elements=listed("dc:title", "holiday") + listed("dc:description", TEXT)),
        packet(elements=listed("dc:subject", "fox", "Bag") + listed("dc:description", TEXT)),
    ],
)
def test_a_parameter_text(tmp_path: Path, suffix: str, xmp: str) -> None:
    assert told(save(tmp_path, suffix, xmp.encode())) == (TEXT.split("\n")[0], 42, 20)


@pytest.mark.parametrize("suffix", FORMATS)
def test_json(tmp_path: Path, suffix: str) -> None:
    xmp = packet(elements=listed("exif:UserComment", JSON))
    assert told(save(tmp_path, suffix, xmp.encode())) == ("a fox", 42, 20)


def test_line_breaks_that_an_attribute_made_spaces(tmp_path: Path) -> None:
    xmp = packet(attributes=f"exif:UserComment={quoteattr(TEXT)}")
    assert told(save(tmp_path, ".webp", xmp.encode())) == (TEXT.split("\n")[0], 42, 20)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_packet_in_utf_16(tmp_path: Path, encoding: str) -> None:
    xmp = "\ufeff" + packet(elements=listed("dc:description", TEXT)).replace('begin="\ufeff"', 'begin=""')
    assert told(save(tmp_path, ".webp", xmp.encode(encoding))) == (TEXT.split("\n")[0], 42, 20)


def test_a_jpeg_whose_packet_is_extended_over_several_segments(tmp_path: Path) -> None:
    long = f"{'a fox, ' * 20000}\n{TEXT}"
    path = save(tmp_path, ".jpg", packet(attributes='own:more="1"').encode())
    body = packet(elements=listed("dc:description", long)).encode()
    written = path.read_bytes()
    parts = b""
    for at in reversed(range(0, len(body), 60000)):
        part = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", len(body), at)
        part += body[at : at + 60000]
        parts += b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part
    path.write_bytes(written[:2] + parts + written[2:])
    assert texts_in(path)["XMP dc:description"] == long
    assert told(path)[1:] == (42, 20)


def test_what_imagemagick_makes_of_a_packet(tmp_path: Path) -> None:
    digits = packet(elements=listed("dc:description", TEXT)).encode().hex()
    rows = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    chunks = PngInfo()
    chunks.add_text("Raw profile type xmp", f"\nxmp\n    {len(digits) // 2}\n{rows}\n", zip=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=chunks)
    assert told(tmp_path / "x.png") == (TEXT.split("\n")[0], 42, 20)


def test_a_direct_text_comes_first(tmp_path: Path) -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", "a dog\nSteps: 30, Sampler: Euler, CFG scale: 7, Seed: 7")
    chunks.add_itxt("XML:com.adobe.xmp", packet(elements=listed("dc:description", TEXT)))
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=chunks)
    notices: list[str] = []
    assert read_picture(tmp_path / "x.png", Styles, notices.append).info.prompt == "a dog"
    assert notices == ["x.png: its texts 'parameters' and 'XMP dc:description' differ; 'parameters' is read"]


def test_a_text_of_draw_things_beside_its_json(tmp_path: Path) -> None:
    text = "a fox\n-blurry\nSteps: 20, Sampler: DPM++ 2M Karras, Guidance Scale: 7.5, Seed: 42, Size: 1024x832, "
    text += "Model: sd_xl, Strength: 1.0, Seed Mode: Scale Alike"
    comment = json.dumps({"c": "a fox", "uc": "blurry", "seed": 42, "v2": {}})
    xmp = packet(elements=listed("dc:description", text) + listed("exif:UserComment", comment))
    info = read_picture(save(tmp_path, ".png", xmp.encode()), Styles).info
    assert (info.prompt, info.negative_prompt, info.guidance_scale, info.resolution) == (
        "a fox",
        "blurry",
        7.5,
        (1024, 832),
    )


@pytest.mark.parametrize("number", [120, 40])
def test_an_iptc_record(tmp_path: Path, number: int) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg")
    text = TEXT.encode()
    record = b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text
    body = (
        b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record + b"\0" * (len(record) % 2)
    )
    written = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(written[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + written[2:])
    assert told(tmp_path / "x.jpg") == (TEXT.split("\n")[0], 42, 20)


def test_a_photo_s_packet_is_no_prompt(tmp_path: Path) -> None:
    xmp = packet('photoshop:City="Rome"', listed("dc:description", "my holiday: day 2"))
    with pytest.raises(BadFile, match=r"x\.jpg contains no generation parameters"):
        read_picture(save(tmp_path, ".jpg", xmp.encode()), Styles)


def test_a_packet_of_draw_things_is_named(tmp_path: Path) -> None:
    xmp = packet(elements=listed("exif:UserComment", json.dumps({"c": "a fox", "seed": 42, "v2": {}})))
    with pytest.raises(BadFile, match="its JSON is from Draw Things"):
        read_picture(save(tmp_path, ".png", xmp.encode()), Styles)


ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("xmp", "reason"),
    [
        (packet(elements="<dc:title>").encode(), "mismatched tag"),
        (b"no XML at all", "syntax error"),
        ((ENTITIES + packet(elements="<dc:title>&b;</dc:title>")).encode(), "document type"),
        ((ENTITIES + packet()).replace('begin="\ufeff"', 'begin=""').encode("utf-16"), "document type"),
        (packet(elements=simple("own:x", "y" * 2**20)).encode(), "larger than 1,048,576 bytes"),
    ],
)
def test_a_broken_packet_costs_only_itself(tmp_path: Path, xmp: bytes, reason: str) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"ASCII\0\0\0" + TEXT.encode()}
    Image.new("RGB", (8, 8)).save(tmp_path / "x.webp", exif=exif, xmp=xmp)
    notices: list[str] = []
    assert read_picture(tmp_path / "x.webp", Styles, notices.append).info.seed == 42
    (notice,) = notices
    assert "an XMP packet of the image can't be read" in notice
    assert reason in notice


packets = st.binary(max_size=80) | st.text(max_size=80).map(
    lambda text: packet(elements=simple("dc:title", text)).encode("utf-8", "surrogatepass")
)


@given(packets)
def test_any_packet_is_read_or_told(xmp: bytes) -> None:
    image = Image.new("RGB", (2, 2))
    image.info["xmp"] = xmp
    notices: list[str] = []
    for name, text in texts_in_xmp(image, notices.append):
        assert name.startswith("XMP ")
        assert text.strip()
    assert all("an XMP packet of the image can't be read" in notice for notice in notices)
