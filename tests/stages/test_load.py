"""Loading: found by any sensible name, refused in a sentence when missing, broken or foreign."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, BadValue, MissingFile, UserError
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.clip import encoder_name as clip_name
from fooocus_stages.pipelines.models.clip import encoder_width as clip_width
from fooocus_stages.pipelines.models.handles import Clip, Model
from fooocus_stages.pipelines.stages import load
from fooocus_stages.pipelines.stages.prompts import encode
from fooocus_stages.pipelines.types import Lora
from safetensors.torch import load_file, save_file
from torch import Tensor

from .conftest import Pocket

FILE = POCKET / "checkpoints" / "juggernautXL_v8Rundiffusion.safetensors"
HOST = LocalHost(models=[POCKET], device="cpu")


@pytest.mark.parametrize(
    "name",
    [
        "pocket",
        "juggernautXL_v8Rundiffusion.safetensors",
        "juggernautXL_v8Rundiffusion",
        "JuggernautXL_V8Rundiffusion",
        "sdxl/juggernautXL_v8Rundiffusion.safetensors",
    ],
)
def test_a_checkpoint_is_found_by_any_sensible_name(name: str) -> None:
    assert load.find_files(HOST, name, "Default (model)") == (FILE, None)


def test_a_missing_one_is_named_with_its_neighbour_and_the_folders() -> None:
    with pytest.raises(MissingFile) as caught:
        load.checkpoint(HOST, "juggernautXL_v9.safetensors")
    assert str(caught.value) == (
        "checkpoints file 'juggernautXL_v9.safetensors' is missing "
        f"(did you mean 'juggernautXL_v8Rundiffusion.safetensors'?); looked in: {POCKET / 'checkpoints'}"
    )


def test_the_pocket_model_says_what_it_is(pocket: Pocket) -> None:
    assert (pocket.model.family, pocket.model.native_size, pocket.model.home) == ("sdxl", 128, POCKET)
    assert pocket.model.vae_name == "Default (model)"
    assert pocket.clip.skip == 2


def test_an_empty_prompt_is_read(pocket: Pocket) -> None:
    assert pocket.negative[0][0].shape == (1, 77, pocket.positive[0][0].shape[-1])


@pytest.mark.parametrize("skip", [0, 13])
def test_clip_skip_has_bounds(pocket: Pocket, skip: int) -> None:
    with pytest.raises(BadValue, match=f"clip_skip is {skip}"):
        load.with_clip_skip(pocket.clip, skip)


def copied(folder: Path, content: bytes) -> LocalHost:
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "mine.safetensors").write_bytes(content)
    return LocalHost(models=[folder], device="cpu")


@pytest.mark.parametrize(
    "content",
    [FILE.read_bytes()[:100_000], b"", b"\x00" * 64, b"<html>404</html>", b"\xff" * 8 + b"{}"],
    ids=["truncated", "empty", "zeros", "a web page", "absurd header"],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadFile, match=r"mine\.safetensors"):
        load.checkpoint(copied(tmp_path, content), "mine")


def test_a_checkpoint_without_a_vae_asks_for_one(tmp_path: Path) -> None:
    state = {k: v for k, v in load_file(FILE).items() if not k.startswith("first_stage_model.")}
    (tmp_path / "checkpoints").mkdir()
    save_file(state, tmp_path / "checkpoints" / "bare.safetensors")
    (tmp_path / "checkpoints" / "bare.tokenizer").symlink_to(FILE.with_suffix(".tokenizer"))
    host = LocalHost(models=[tmp_path], device="cpu")
    with pytest.raises(BadFile, match=r"bare\.safetensors contains no VAE: choose one with vae_name"):
        load.checkpoint(host, "bare")
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "own.safetensors").symlink_to(FILE)
    _, _, vae = load.checkpoint(host, "bare", "own.safetensors")
    assert vae.name == "own.safetensors"


def test_loras_are_looked_for_in_the_models_own_folder_first(pocket: Pocket) -> None:
    model, clip = load.apply_loras(
        LocalHost(device="cpu"), pocket.model, pocket.clip, (Lora("sdxl_lcm_lora.safetensors", 1.0, required=True),)
    )
    assert [lora.name for lora in model.loras] == ["sdxl_lcm_lora.safetensors"]
    assert pocket.model.patches == ()
    assert clip is not pocket.clip


def test_a_missing_lora_and_a_foreign_one_are_refused(tmp_path: Path, pocket: Pocket) -> None:
    with pytest.raises(MissingFile, match=r"loras file 'sdxl_lcm\.safetensors' is missing \(did you mean"):
        load.apply_loras(HOST, pocket.model, pocket.clip, (Lora("sdxl_lcm.safetensors", 1.0),))
    (tmp_path / "loras").mkdir()
    key = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{key}.lora_up.weight": torch.zeros(320, 4), f"{key}.lora_down.weight": torch.zeros(4, 320)},
        tmp_path / "loras" / "sd15.safetensors",
    )
    with pytest.raises(UserError, match=r"sd15\.safetensors"):
        load.apply_loras(LocalHost(models=[tmp_path]), pocket.model, pocket.clip, (Lora("sd15", 1.0),))


def test_none_adds_no_lora() -> None:
    kept = (Lora("a", 1.0),)
    assert load.add_loras(kept, [("None", 1.0), ("b", 0.5)]) == (*kept, Lora("b", 0.5))


BASE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
GOOD = {f"{BASE}.lora_up.weight": torch.ones(128, 2), f"{BASE}.lora_down.weight": torch.ones(2, 192)}


def applied(tmp_path: Path, pocket: Pocket, state: dict[str, Tensor]) -> tuple[Model, Clip, list[str]]:
    """The pocket model with a LoRA of these entries, and the notices given."""
    (tmp_path / "loras").mkdir(exist_ok=True)
    save_file(state, tmp_path / "loras" / "x.safetensors")
    notices: list[str] = []
    host = LocalHost(models=[tmp_path], device="cpu", on_notice=notices.append)
    return *load.apply_loras(host, pocket.model, pocket.clip, (Lora("x", 1.0),)), notices


def test_entries_without_a_place_are_counted_in_one_notice(tmp_path: Path, pocket: Pocket) -> None:
    model, _, notices = applied(tmp_path, pocket, GOOD | {"unet.nowhere.alpha": torch.tensor(1.0)})
    (notice,) = notices
    assert "x.safetensors" in notice
    assert "1 of its 3 entries" in notice
    assert "unet.nowhere.alpha" in notice
    assert len(model.patches) == 1


def test_bundled_embeddings_are_read_in_prompts(tmp_path: Path, pocket: Pocket) -> None:
    widths = {clip_name(e): clip_width(e) for e in pocket.clip.encoders}
    own = {f"bundle_emb.My Token.{name}": torch.full((2, width), 0.5) for name, width in widths.items()}
    broken = {f"bundle_emb.bad.{name}": torch.full((2, width), float("nan")) for name, width in widths.items()}
    model, clip, notices = applied(tmp_path, pocket, GOOD | own | broken)
    assert len(model.patches) == 1
    assert ["embedding:my_token" in notice for notice in notices] == [False, True]
    assert "'bad'" in notices[0]
    host = LocalHost(models=[tmp_path], device="cpu", on_notice=notices.append)
    for written in ("my_token", "My_Token", "my_token,"):
        found = encode.find_embeddings(host, clip, [f"a embedding:{written} circle"])
        assert found.keys() == {written.strip(",")}
    assert len(notices) == 2
    without, plain = (
        encode.encode_texts(host, clip, (f"a embedding:{word} circle",), 1, encode.find_embeddings(host, clip, [text]))
        for word, text in (("my_token", ""), ("my_token", "embedding:my_token"))
    )
    assert not torch.equal(without[0][0], plain[0][0])


def test_a_file_of_that_name_is_read_before_a_bundled_embedding(tmp_path: Path, pocket: Pocket) -> None:
    width = clip_width(pocket.clip.encoders[0])
    _, clip, _ = applied(tmp_path, pocket, GOOD | {"bundle_emb.toy.clip_l": torch.zeros(2, width)})
    (tmp_path / "embeddings").mkdir()
    save_file({"clip_l": torch.ones(3, width)}, tmp_path / "embeddings" / "toy.safetensors")
    host = LocalHost(models=[tmp_path], device="cpu", on_notice=lambda text: None)
    assert encode.find_embeddings(host, clip, ["embedding:toy"])["toy"].count == 3


def test_a_lora_of_the_pocket_is_found_by_its_listed_name(tmp_path: Path, pocket: Pocket) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "sdxl_lcm_lora.safetensors").touch()
    host = LocalHost(models=[tmp_path], device="cpu")
    for name in ("pocket/sdxl_lcm_lora.safetensors", "pocket\\sdxl_lcm_lora.safetensors", "pocket/sdxl_lcm_lora"):
        model, _ = load.apply_loras(host, pocket.model, pocket.clip, (Lora(name, 0.5),))
        assert [lora.name for lora in model.loras] == [name]
    with pytest.raises(MissingFile):
        load.apply_loras(host, pocket.model, pocket.clip, (Lora("pocket/nothing", 0.5),))
