"""The catalogue of files: whole, consistent, and held against the tables of names that Fooocus downloads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines import settings
from fooocus_stages.pipelines.assets import catalogue as catalogues
from fooocus_stages.pipelines.assets.catalogue import catalogue
from fooocus_stages.pipelines.errors import UnknownName
from fooocus_stages.pipelines.text.styles import STOCK_FILES
from fooocus_stages.pipelines.text.tokenizer import HUB_REPOSITORY

DATA: dict[str, Any] = json.loads(Path(catalogues.__file__).with_name("assets.json").read_text("utf-8"))
KINDS = {
    "checkpoints", "vae", "loras", "vae_approx", "prompt_expansion/fooocus_expansion", "upscale_models", "inpaint",
    "controlnet", "clip_vision", "face_detection", "safety_checker", "styles", "wildcards", "hub",
}  # fmt: skip

LLLYASVIEL, MASHB1T, INPAINT = "lllyasviel/misc", "mashb1t/misc", "lllyasviel/fooocus_inpaint"
OF_FOOOCUS = [
    # folder and name as Fooocus 2.5.5 keeps the file, repository and name that it downloads
    ("vae_approx/xlvaeapp.pth", LLLYASVIEL, "xlvaeapp.pth"),
    ("vae_approx/vaeapp_sd15.pth", LLLYASVIEL, "vaeapp_sd15.pt"),
    ("vae_approx/xl-to-v1_interposer-v4.0.safetensors", MASHB1T, "xl-to-v1_interposer-v4.0.safetensors"),
    ("vae_approx/xl-to-v1_interposer-v3.1.safetensors", LLLYASVIEL, "xl-to-v1_interposer-v3.1.safetensors"),
    ("prompt_expansion/fooocus_expansion/pytorch_model.bin", LLLYASVIEL, "fooocus_expansion.bin"),
    ("loras/sdxl_lcm_lora.safetensors", LLLYASVIEL, "sdxl_lcm_lora.safetensors"),
    ("loras/sdxl_lightning_4step_lora.safetensors", MASHB1T, "sdxl_lightning_4step_lora.safetensors"),
    ("loras/sdxl_hyper_sd_4step_lora.safetensors", MASHB1T, "sdxl_hyper_sd_4step_lora.safetensors"),
    ("inpaint/fooocus_inpaint_head.pth", INPAINT, "fooocus_inpaint_head.pth"),
    ("inpaint/inpaint.fooocus.patch", INPAINT, "inpaint.fooocus.patch"),
    ("inpaint/inpaint_v25.fooocus.patch", INPAINT, "inpaint_v25.fooocus.patch"),
    ("inpaint/inpaint_v26.fooocus.patch", INPAINT, "inpaint_v26.fooocus.patch"),
    ("upscale_models/fooocus_upscaler_s409985e5.bin", LLLYASVIEL, "fooocus_upscaler_s409985e5.bin"),
    ("controlnet/control-lora-canny-rank128.safetensors", LLLYASVIEL, "control-lora-canny-rank128.safetensors"),
    ("controlnet/fooocus_xl_cpds_128.safetensors", LLLYASVIEL, "fooocus_xl_cpds_128.safetensors"),
    ("clip_vision/clip_vision_vit_h.safetensors", LLLYASVIEL, "clip_vision_vit_h.safetensors"),
    ("controlnet/fooocus_ip_negative.safetensors", LLLYASVIEL, "fooocus_ip_negative.safetensors"),
    ("controlnet/ip-adapter-plus_sdxl_vit-h.bin", LLLYASVIEL, "ip-adapter-plus_sdxl_vit-h.bin"),
    ("controlnet/ip-adapter-plus-face_sdxl_vit-h.bin", LLLYASVIEL, "ip-adapter-plus-face_sdxl_vit-h.bin"),
    ("safety_checker/stable-diffusion-safety-checker.bin", MASHB1T, "stable-diffusion-safety-checker.bin"),
    ("checkpoints/juggernautXL_v8Rundiffusion.safetensors", "lllyasviel/fav_models", "fav/"),
    ("checkpoints/realisticStockPhoto_v20.safetensors", "lllyasviel/fav_models", "fav/"),
    ("checkpoints/animaPencilXL_v500.safetensors", "mashb1t/fav_models", "fav/"),
    ("checkpoints/playground-v2.5-1024px-aesthetic.fp16.safetensors", "mashb1t/fav_models", "fav/"),
    ("checkpoints/ponyDiffusionV6XL.safetensors", "mashb1t/fav_models", "fav/"),
    ("vae/ponyDiffusionV6XL_vae.safetensors", "mashb1t/fav_models", "fav/"),
    ("loras/SDXL_FILM_PHOTOGRAPHY_STYLE_V1.safetensors", "mashb1t/fav_models", "fav/"),
    ("checkpoints/sd_xl_base_1.0_0.9vae.safetensors", "stabilityai/stable-diffusion-xl-base-1.0", ""),
    ("loras/sd_xl_offset_example-lora_1.0.safetensors", "stabilityai/stable-diffusion-xl-base-1.0", ""),
    ("checkpoints/sd_xl_refiner_1.0_0.9vae.safetensors", "stabilityai/stable-diffusion-xl-refiner-1.0", ""),
    ("hub/vocab.json", HUB_REPOSITORY, ""),
    ("hub/merges.txt", HUB_REPOSITORY, ""),
]
PLAIN = [
    ("checkpoints/realisticVisionV60B1_v51VAE.safetensors", "civitai.com/api/download/models/245598"),
    (
        "controlnet/detection_Resnet50_Final.pth",
        "xinntao/facexlib/releases/download/v0.1.0/detection_Resnet50_Final.pth",
    ),
    ("face_detection/face_detection_yunet_2023mar.onnx", "opencv/opencv_zoo/"),
    *((f"styles/{name}", f"lllyasviel/Fooocus/v2.5.5/sdxl_styles/{name}") for name in STOCK_FILES),
    *(
        (f"wildcards/{name}.txt", f"lllyasviel/Fooocus/v2.5.5/wildcards/{name}.txt")
        for name in ("animal", "artist", "color", "color_flower", "extended-color", "flower", "nationality")
    ),
    *(
        (f"prompt_expansion/fooocus_expansion/{name}", f"models/prompt_expansion/fooocus_expansion/{name}")
        for name in ("config.json", "vocab.json", "merges.txt", "positive.txt")
    ),
]
MODES = [
    f"{letter}{number:02}"
    for letter, count in (("B", 15), ("P", 18), ("I", 20), ("U", 10))
    for number in range(1, count + 1)
]


def test_the_file_is_well_formed() -> None:
    assert set(DATA) == {"files", "groups", "modes"}
    may = {"id", "kind", "name", "repo", "file", "url", "size", "sha256", "licence", "note", "also", "also_in"}
    for entry in DATA["files"]:
        assert {"id", "kind", "name", "licence"} <= set(entry) <= may, entry
        assert ("url" in entry) != ("repo" in entry and "file" in entry), entry
        assert entry["kind"] in KINDS, entry
        assert re.fullmatch(r"[0-9a-f]{64}", entry.get("sha256", "0" * 64)), entry
        assert entry.get("size", 1) > 0, entry
        assert entry.get("url", "https://").startswith("https://"), entry
        assert "/" not in entry["name"], entry
    for entry in DATA["groups"].values():
        assert {"title", "needs"} <= set(entry) <= {"title", "needs", "optional"}


def test_every_name_is_one_thing() -> None:
    ids = [entry["id"] for entry in DATA["files"]]
    places = [(entry["kind"], entry["name"]) for entry in DATA["files"]]
    names = [*ids, *DATA["groups"], *(mode.casefold() for mode in DATA["modes"]), "all"]
    assert len(set(names)) == len(names)
    assert all(name == name.casefold() for name in names)
    assert len(set(places)) == len(places)


def test_groups_and_modes_name_what_is_there_and_every_file_is_of_use() -> None:
    known = {entry["id"] for entry in DATA["files"]} | set(DATA["groups"])
    needs = [*(entry["needs"] for entry in DATA["groups"].values()), *DATA["modes"].values()]
    assert {name for names in needs for name in names} <= known
    unused = [asset.name for asset in catalogue().assets.values() if not catalogue().needed_by(asset)]
    assert unused == [  # of presets only
        "realisticStockPhoto_v20.safetensors", "animaPencilXL_v500.safetensors",
        "playground-v2.5-1024px-aesthetic.fp16.safetensors", "ponyDiffusionV6XL.safetensors",
        "sd_xl_base_1.0_0.9vae.safetensors", "sd_xl_refiner_1.0_0.9vae.safetensors",
        "ponyDiffusionV6XL_vae.safetensors",
    ]  # fmt: skip


def test_every_file_that_fooocus_downloads_for_these_stages_is_there() -> None:
    at_hub = {f"{a.kind}/{a.name}": (a.repo, a.file) for a in catalogue().assets.values() if a.repo}
    for place, repo, file in OF_FOOOCUS:
        name = place.rsplit("/", 1)[1]
        assert at_hub.pop(place) == (repo, file + name if file in ("", "fav/") else file)
    assert at_hub == {}
    plain = {f"{a.kind}/{a.name}": a.url for a in catalogue().assets.values() if a.url}
    for place, end in PLAIN:
        assert end in plain.pop(place)
    assert plain == {}


def test_all_modes_of_the_endpoints_are_there() -> None:
    assert sorted(catalogue().modes) == sorted(MODES)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("checkpoints", settings.DEFAULT_CHECKPOINT),
        ("checkpoints", settings.DEFAULT_REFINER),
        ("upscale_models", settings.DEFAULT_UPSCALER),
        *(("loras", mode.lora) for mode in settings.PERFORMANCES.values() if mode.lora),
    ],
)
def test_the_defaults_of_the_stages_are_known(kind: str, name: str) -> None:
    asset = catalogue().known(kind, name)
    assert asset is not None
    assert (asset.kind, asset.name) == (kind, name)


@pytest.mark.parametrize(
    ("kind", "asked", "found"),
    [
        ("loras", "SDXL_LCM_LORA", "lcm-lora"),
        ("loras", "sub\\sdxl_lcm_lora.safetensors", "lcm-lora"),
        ("vae_approx", "vaeapp_sd15.pt", "preview-sd15"),
        ("sdxl_styles", "sdxl_styles_sai.json", "styles-sai"),
        ("vae", "sdxl_lcm_lora.safetensors", None),
        ("loras", "mine.safetensors", None),
    ],
)
def test_a_file_is_known_by_any_name_that_finds_it(kind: str, asked: str, found: str | None) -> None:
    asset = catalogue().known(kind, asked)
    assert (asset.id if asset else None) == found


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("lightning", ["sdxl_lightning_4step_lora.safetensors"]),
        ("Canny", ["control-lora-canny-rank128.safetensors"]),
        ("sdxl_lcm_lora", ["sdxl_lcm_lora.safetensors"]),
        ("fooocus_expansion.bin", ["pytorch_model.bin"]),
        ("lcm-lora", ["sdxl_lcm_lora.safetensors"]),
        ("u05", ["fooocus_upscaler_s409985e5.bin"]),
        ("upscale", ["fooocus_upscaler_s409985e5.bin"]),
        ("refiner", ["realisticVisionV60B1_v51VAE.safetensors", "xl-to-v1_interposer-v4.0.safetensors"]),
        (
            "inpaint",
            ["fooocus_upscaler_s409985e5.bin", "fooocus_inpaint_head.pth", "inpaint_v26.fooocus.patch"],
        ),
    ],
)
def test_what_a_name_means(name: str, files: list[str]) -> None:
    assert [asset.name for asset in catalogue().of(name)] == files


def test_a_mode_is_what_its_stages_need() -> None:
    b01 = {asset.id for asset in catalogue().of("B01")}
    b08 = {asset.id for asset in catalogue().of("B08")}
    assert b01 - b08 == {asset.id for group in ("styles", "expansion") for asset in catalogue().of(group)}
    assert {"juggernaut", "offset-lora", "lcm-lora", "clip-vocab"} <= b08
    assert {asset.id for asset in catalogue().of("B02")} == b01 - {"lcm-lora"} | {"lightning-lora"}
    assert len(catalogue().of("all")) == len(DATA["files"])


def test_an_unknown_name_is_named_with_what_is_near() -> None:
    with pytest.raises(UnknownName, match=r"unknown mode, group or file 'lightnin' \(did you mean 'lightning'\?\)"):
        catalogue().of("lightnin")


def test_what_a_mode_does_without() -> None:
    needs = catalogue().modes["B01"]
    reasons = {asset.id: catalogue().optional(asset, needs) for asset in catalogue().of("B01")}
    assert reasons["styles-sai"] == "the pack's own styles and stand-ins are used"
    assert reasons["preview-sdxl"] == "previews are drawn with fixed colours"
    assert [name for name, reason in reasons.items() if not reason] == [
        "juggernaut", "offset-lora", "lcm-lora", "clip-vocab", "clip-merges",
    ]  # fmt: skip


@pytest.mark.parametrize("asset", catalogue().assets.values(), ids=lambda asset: asset.id)
def test_the_fetch_name_of_a_file_fetches_it_and_little_else(asset: catalogues.Asset) -> None:
    meant = catalogue().of(catalogue().fetch_name(asset))
    assert asset in meant
    assert len(meant) <= 7
