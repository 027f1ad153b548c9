"""What modes need, what is there, and what to run for the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from fooocus_stages.pipelines.assets import fetch, needs
from fooocus_stages.pipelines.assets.catalogue import catalogue
from fooocus_stages.pipelines.errors import MissingFile, UnknownName
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages.recipes import presets


@pytest.fixture
def host(tmp_path: Path) -> LocalHost:
    return LocalHost(models=[tmp_path])


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"123")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        (
            "preset:lightning",
            {"juggernautXL_v8Rundiffusion.safetensors", "sdxl_lightning_4step_lora.safetensors"},
        ),
        (
            "sai",
            {
                "sd_xl_base_1.0_0.9vae.safetensors",
                "sd_xl_refiner_1.0_0.9vae.safetensors",
                "sd_xl_offset_example-lora_1.0.safetensors",
            },
        ),
        ("pony_v6", {"ponyDiffusionV6XL.safetensors", "ponyDiffusionV6XL_vae.safetensors"}),
        ("default", {"juggernautXL_v8Rundiffusion.safetensors", "sd_xl_offset_example-lora_1.0.safetensors"}),
    ],
)
def test_a_preset_means_the_files_that_it_names(host: LocalHost, name: str, files: set[str]) -> None:
    meant = needs.resolve(host, [name])
    assert {asset.name for asset in meant if asset.kind in ("checkpoints", "loras", "vae")} == files
    assert {"styles", "hub"} < {asset.kind for asset in meant}


def test_every_bundled_preset_can_be_requested(host: LocalHost) -> None:
    for name in presets.names(host):
        assert [a for a in needs.resolve(host, [f"preset:{name}"]) if a.kind == "checkpoints"], name


def test_names_are_taken_together_and_workflows_by_their_modes(host: LocalHost) -> None:
    meant = needs.resolve(host, ["mine", "upscale", "lcm-lora", "U05"], {"mine": "U05"})
    assert [asset.id for asset in meant] == ["upscaler", "lcm-lora"]
    with pytest.raises(UnknownName, match=r"unknown workflow, mode, group, preset or file 'min' \(did you mean 'mine'"):
        needs.resolve(host, ["min"], {"mine": "U05"})


def test_files_are_found_under_their_other_names_and_folders(host: LocalHost, tmp_path: Path) -> None:
    put(tmp_path, "vae_approx/vaeapp_sd15.pt", "sdxl_styles/sdxl_styles_sai.json", "loras/x/SDXL_LCM_lora.safetensors")
    found = {one.asset.id: one for one in needs.find_all(host, catalogue().of("all"))}
    there = {
        name: one.path.relative_to(tmp_path).as_posix()
        for name, one in found.items()
        if one.path and "clip" not in name
    }
    assert there == {
        "lcm-lora": "loras/x/SDXL_LCM_lora.safetensors",
        "preview-sd15": "vae_approx/vaeapp_sd15.pt",
        "styles-sai": "sdxl_styles/sdxl_styles_sai.json",
    }
    assert found["lcm-lora"].size == 3
    assert found["upscaler"].size == 33_636_613
    assert found["juggernaut"].size is None


def test_fallbacks_are_listed_for_optional_files_that_are_missing(host: LocalHost) -> None:
    reasons = needs.fallbacks("B02", needs.everything(host))
    assert "previews are drawn with fixed colours" in reasons
    assert len(reasons) == len(set(reasons))
    assert needs.fallbacks("no mode", needs.everything(host)) == []


def test_names_that_stages_ask_for_are_files_of_the_catalogue() -> None:
    asked = [
        ("loras", "sdxl_lightning_4step_lora.safetensors"),
        ("loras", "mine"),
        ("checkpoints", "x/JuggernautXL_v8Rundiffusion"),
    ]
    assets = needs.assets_of([*asked, *asked])
    assert [asset.id for asset in assets] == ["lightning-lora", "juggernaut"]
    assert needs.fetch_command(assets) == "fooocus-stages assets fetch lightning juggernautXL_v8Rundiffusion"


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("loras", "sdxl_lightning_4step_lora.safetensors", "run `fooocus-stages assets fetch lightning`"),
        ("checkpoints", "juggernautXL_v8Rundiffusion", "run `fooocus-stages assets fetch juggernautXL_v8Rundiffusion`"),
        ("upscale_models", "fooocus_upscaler_s409985e5.bin", "run `fooocus-stages assets fetch upscale`"),
        ("inpaint", "inpaint.fooocus.patch", "run `fooocus-stages assets fetch inpaint-v1`"),
        ("loras", "mine.safetensors", ""),
    ],
)
def test_a_missing_file_says_how_to_get_it(tmp_path: Path, kind: str, name: str, hint: str) -> None:
    assert needs.how_to_get(kind, name) == hint
    assert needs.how_to_get(kind, name, "--models x") == hint[:-1] + " --models x`" * bool(hint)
    host = LocalHost(models=[tmp_path], hint=needs.how_to_get)
    with pytest.raises(MissingFile) as error:
        host.find(kind, name)
    assert str(error.value).endswith(f"; looked in: {tmp_path / kind}{'; ' + hint if hint else ''}")


def test_offline_names_what_is_missing() -> None:
    one, both = catalogue().of("lightning"), catalogue().of("refiner")
    assert str(fetch.offline(one)) == (
        "offline, and 1 file is missing: loras/sdxl_lightning_4step_lora.safetensors; "
        "run `fooocus-stages assets fetch lightning` on a machine with a network, or copy them into the models folder"
    )
    assert str(fetch.offline(both)).startswith("offline, and 2 files are missing: checkpoints/realisticVision")
