"""Checkpoints of every family, layout and precision are recognised by their tensors; misfits are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.models.checkpoint import Checkpoint, load_checkpoint, load_vae
from fooocus_stages.pipelines.models.weights import key_names
from fooocus_stages.pocket.training.published_names import unet_state_to_ldm, vae_state_to_ldm
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .conftest import WIDTH_L, Write, text_of, unet_of

HALF = {torch.float16: 2**-10, torch.bfloat16: 2**-7, torch.float32: 0.0}


def weights_of(checkpoint: Checkpoint) -> dict[str, nn.Module]:
    assert checkpoint.clip is not None
    assert checkpoint.vae is not None
    clip_l, clip_g = checkpoint.clip.encoders
    return {
        "unet": checkpoint.model.network.module,
        "vae": checkpoint.vae.network.module,
        "l": clip_l.network.module,
        "g": clip_g.network.module,
    }


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt"])
@pytest.mark.parametrize("dtype", list(HALF))
def test_every_weight_arrives(write: Write, modules: dict[str, nn.Module], name: str, dtype: torch.dtype) -> None:
    loaded = load_checkpoint(write(name, dtype), torch.float32, torch.float32)
    for part, module in weights_of(loaded).items():
        ours = module.state_dict()
        for key, tensor in modules[part].state_dict().items():
            assert ours[key].dtype == torch.float32
            assert torch.allclose(ours[key], tensor, rtol=HALF[dtype], atol=HALF[dtype] * 1e-3), f"{part} {key}"
        assert not module.training
        assert not any(parameter.requires_grad or parameter.is_meta for parameter in module.parameters())
        assert not any(buffer.is_meta for buffer in module.buffers())


def test_what_is_said_about_the_model(write: Write) -> None:
    loaded = load_checkpoint(write(metadata={"fooocus_stages.native_size": "128"}), torch.float16, torch.float16)
    model, clip = loaded.model, loaded.clip
    assert (model.family, model.prediction, model.native_size) == ("sdxl", "eps", 128)
    assert model.name == "tiny.safetensors"
    assert clip is not None
    assert [encoder.pad for encoder in clip.encoders] == [len(clip.tokenizer) - 1, 0]
    assert [encoder.pooled for encoder in clip.encoders] == [False, True]
    assert next(model.network.module.parameters()).dtype == torch.float16
    assert loaded.vae is not None
    assert next(loaded.vae.network.module.parameters()).dtype != torch.float16, "SDXL's VAE overflows in float16"


def test_prediction_and_native_size_by_default(write: Write, state: dict[str, Tensor]) -> None:
    loaded = load_checkpoint(write(state=state | {"v_pred": torch.zeros(0)}), torch.float32, torch.float32)
    assert (loaded.model.prediction, loaded.model.native_size) == ("v", 1024)


EMPTY = torch.zeros(0)
SAID: dict[str, tuple[dict[str, Tensor], dict[str, str], tuple[str, bool], str]] = {
    "nothing": ({}, {}, ("eps", False), ""),
    "a marker": ({"v_pred": EMPTY}, {}, ("v", False), "'v_pred'"),
    "markers in the network": (
        {"model.diffusion_model.v_pred": EMPTY, "model.diffusion_model.ztsnr": EMPTY},
        {},
        ("v", True),
        "'ztsnr'",
    ),
    "both markers": ({"v_pred": EMPTY, "ztsnr": EMPTY}, {}, ("v", True), "'ztsnr'"),
    "a marker of zero SNR alone": ({"ztsnr": EMPTY}, {}, ("eps", False), "eps-prediction"),
    "ModelSpec": ({}, {"modelspec.prediction_type": "v"}, ("v", False), "'modelspec.prediction_type'"),
    "ModelSpec in words": ({}, {"modelspec.prediction_type": "V_prediction"}, ("v", False), "modelspec"),
    "ModelSpec of eps": ({}, {"modelspec.prediction_type": "epsilon"}, ("eps", False), ""),
    "kohya": ({}, {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, ("v", True), "ss_zero_terminal"),
    "kohya of eps": ({}, {"ss_v_parameterization": "False", "ss_zero_terminal_snr": "False"}, ("eps", False), ""),
    "a marker and ModelSpec": ({"ztsnr": EMPTY}, {"modelspec.prediction_type": "v"}, ("v", True), "'ztsnr'"),
    "Playground": ({"edm_mean": EMPTY, "edm_std": EMPTY}, {}, ("eps", False), "edm_playground_v2.5"),
    "ModelSpec of another kind": ({}, {"modelspec.prediction_type": "sample"}, ("eps", False), "sample"),
    "CosXL": ({"edm_vpred.sigma_max": EMPTY, "edm_vpred.sigma_min": EMPTY}, {}, ("eps", False), "CosXL"),
}


def say(write: Write, state: dict[str, Tensor], markers: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    return write(metadata=metadata, state=state | markers)


@pytest.mark.parametrize("case", SAID)
def test_what_the_file_says_about_its_prediction(write: Write, state: dict[str, Tensor], case: str) -> None:
    markers, metadata, (prediction, zero_snr), told = SAID[case]
    loaded = load_checkpoint(say(write, state, markers, metadata), torch.float32, torch.float32)
    assert (loaded.model.prediction, loaded.model.zero_snr) == (prediction, zero_snr)
    assert len(loaded.notices) == bool(told)
    assert told in "".join(loaded.notices)


@pytest.mark.parametrize(
    ("choice", "wanted"), [("eps", ("eps", False)), ("v", ("v", False)), ("v + zero SNR", ("v", True))]
)
@pytest.mark.parametrize("case", ["nothing", "both markers", "ModelSpec of eps"])
def test_a_choice_overrides_the_file(
    write: Write, state: dict[str, Tensor], case: str, choice: str, wanted: tuple[str, bool]
) -> None:
    path = say(write, state, *SAID[case][:2])
    loaded = load_checkpoint(path, torch.float32, torch.float32, prediction=choice)
    assert (loaded.model.prediction, loaded.model.zero_snr) == wanted
    assert loaded.notices == ()


def test_the_loaded_unet_predicts_as_the_saved_one(tiny: Checkpoint, modules: dict[str, nn.Module]) -> None:
    x, t, context = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 77, 192)
    added = {"text_embeds": torch.randn(1, 128), "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
    ours, saved = (
        module(x, t, encoder_hidden_states=context, added_cond_kwargs=added).sample
        for module in (tiny.model.network.module, modules["unet"])
    )
    assert torch.equal(ours, saved)


UNEVEN = {
    "SSD-1B's shape": {
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [1, [1], [2]],
        "reverse_transformer_layers_per_block": [[2, 3], [2, 1], 1],
    },
    "a middle deeper than the lowest level": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 3),
    },
    "four levels of two layers": {
        "block_out_channels": (32, 32, 64, 64),
        "layers_per_block": 2,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": 2,
    },
    "layers that differ by level": {"layers_per_block": (1, 2, 3)},
    "heads of 96": {"block_out_channels": (32, 96, 192), "attention_head_dim": (1, 1, 3)},
}  # fmt: skip


@pytest.mark.parametrize("shape", UNEVEN)
def test_a_unet_of_any_shape(tmp_path: Path, shape: str) -> None:
    torch.manual_seed(0)
    unet = unet_of(**UNEVEN[shape])
    save_file(
        {k: t.contiguous() for k, t in unet_state_to_ldm(unet.state_dict()).items()},
        tmp_path / "u.safetensors",
    )
    loaded = load_checkpoint(tmp_path / "u.safetensors", torch.float32, torch.float32)
    assert loaded.clip is None
    assert loaded.vae is None
    inputs = (torch.randn(1, 4, 8, 8), torch.tensor([1.0]))
    added = {"text_embeds": torch.randn(1, 128), "time_ids": torch.ones(1, 6)}
    context = torch.randn(1, 77, 192)
    ours, saved = (
        module(*inputs, encoder_hidden_states=context, added_cond_kwargs=added).sample
        for module in (loaded.model.network.module, unet.eval())
    )
    assert torch.equal(ours, saved)


def test_a_middle_of_its_own_depth(tmp_path: Path) -> None:
    unet, deeper = unet_of(), unet_of(transformer_layers_per_block=(1, 1, 3))
    unet.mid_block = deeper.mid_block
    save_file(
        {k: t.contiguous() for k, t in unet_state_to_ldm(unet.state_dict()).items()},
        tmp_path / "u.safetensors",
    )
    loaded = load_checkpoint(tmp_path / "u.safetensors", torch.float32, torch.float32)
    ours = loaded.model.network.module.state_dict()
    assert ours.keys() == unet.state_dict().keys()


def test_sd15_with_its_text_encoder(tmp_path: Path, write: Write) -> None:
    unet = unet_of(
        addition_embed_type=None, addition_time_embed_dim=None, projection_class_embeddings_input_dim=None,
        cross_attention_dim=WIDTH_L, use_linear_projection=False, attention_head_dim=1,
    )  # fmt: skip
    text = {
        "cond_stage_model.transformer." + key_names.clip_key(k): t
        for k, t in text_of(WIDTH_L, False).state_dict().items()
    }
    loaded = load_checkpoint(
        write("one.ckpt", state=unet_state_to_ldm(unet.state_dict()) | text),
        torch.float32,
        torch.float32,
    )
    assert (loaded.model.family, loaded.model.native_size) == ("sd15", 512)
    assert loaded.clip is not None
    assert len(loaded.clip.encoders) == 1
    x = torch.randn(1, 4, 8, 8)
    context = torch.randn(1, 77, WIDTH_L)
    ours, saved = (m(x, 1.0, encoder_hidden_states=context).sample for m in (loaded.model.network.module, unet.eval()))
    assert torch.equal(ours, saved)


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
@pytest.mark.parametrize("name", ["v.safetensors", "v.pt"])
def test_a_vae_of_its_own(write: Write, modules: dict[str, nn.Module], prefix: str, layout: str, name: str) -> None:
    own = modules["vae"].state_dict()
    state = vae_state_to_ldm(own, prefix) if layout == "ldm" else {prefix + k: t for k, t in own.items()}
    path = write(name, state=state | ({"loss.logvar": torch.zeros(1)} if not prefix else {}))
    loaded = load_vae(path, torch.float32)
    assert loaded.name == name
    for key, tensor in own.items():
        assert torch.equal(loaded.network.module.state_dict()[key], tensor), key


def test_vaes_of_other_families(write: Write, modules: dict[str, nn.Module]) -> None:
    state = modules["vae"].state_dict() | {"decoder.conv_in.weight": torch.zeros(32, 16, 3, 3)}
    with pytest.raises(BadFile, match="16 latent channels"):
        load_vae(write(state=state), torch.float32)
    for names in ("1.weight", "3.conv.0.weight"), ("taesd_decoder.1.weight",), ("decoder.layers.1.weight",):
        with pytest.raises(BadFile, match=r"no VAE.*TAESD"):
            load_vae(write(state={name: torch.zeros(3) for name in names}), torch.float32)


def test_a_vae_out_of_a_checkpoint(write: Write) -> None:
    assert load_vae(write(), torch.bfloat16).network.module.dtype == torch.bfloat16


def without(state: dict[str, Tensor], *starts: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if not key.startswith(starts)}


def test_text_encoders_and_vae_are_left_out_on_request(write: Write) -> None:
    loaded = load_checkpoint(write(), torch.float32, torch.float32, text=False, vae=False)
    assert (loaded.clip, loaded.vae) == (None, None)
    assert load_checkpoint(write(), torch.float32, torch.float32, text=False).vae is not None


def test_a_checkpoint_of_a_unet_alone_and_of_a_unet_and_vae(write: Write, state: dict[str, Tensor]) -> None:
    loaded = load_checkpoint(write(state=without(state, "conditioner", "first_stage")), torch.float32, torch.float32)
    assert (loaded.clip, loaded.vae) == (None, None)
    bare = {key.removeprefix(key_names.UNET): tensor for key, tensor in state.items() if key.startswith(key_names.UNET)}
    assert load_checkpoint(write(state=bare), torch.float32, torch.float32).model.family == "sdxl"


def test_what_published_files_carry_besides_is_passed_over(write: Write, state: dict[str, Tensor]) -> None:
    extra = {
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.arange(77.0)[None],
        "conditioner.embedders.0.transformer.text_projection.weight": torch.eye(WIDTH_L),
        "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6),
        "denoiser.sigmas": torch.ones(1000),
        "model_ema.decay": torch.tensor(0.99),
        "first_stage_model.loss.logvar": torch.zeros(1),
    }
    assert load_checkpoint(write(state=state | extra), torch.float32, torch.float32).clip is not None


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("model.diffusion_model.out.2.bias", r"the UNet is missing 1 weight \(conv_out.bias\)"),
        ("model.diffusion_model.output_blocks.0.", "the UNet has no place for 42 weights"),
        ("model.diffusion_model.input_blocks.0.", "no UNet"),
        ("first_stage_model.encoder.", "the VAE is incomplete"),
        ("first_stage_model.decoder.up.3.block.0.conv1", "the VAE is missing 2 weights"),
        ("conditioner.embedders.1.", "one of its two text encoders"),
        ("conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight", "CLIP-G is missing 3 weights"),
        ("conditioner.embedders.0.transformer.text_model.final_layer_norm", "CLIP-L is missing 2 weights"),
        ("conditioner.embedders.0.transformer.text_model.embeddings", "text encoder is incomplete"),
    ],
)
def test_a_checkpoint_with_holes(write: Write, state: dict[str, Tensor], lost: str, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        load_checkpoint(write(state=without(state, lost)), torch.float32, torch.float32)


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("model.diffusion_model.input_blocks.1.0.gate.weight", (4,), r"the UNet has no place for 1 weight \(input_"),
        ("first_stage_model.encoder.extra.weight", (4,), "the VAE has no place"),
        ("conditioner.embedders.0.transformer.text_model.extra.weight", (4,), "CLIP-L has no place"),
        ("model.diffusion_model.middle_block.0.in_layers.0.weight", (3,), r"of shape \(64,\), the file has \(3,\)"),
        ("model.diffusion_model.input_blocks.0.0.weight", (32, 9, 3, 3), "inpainting model"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    write: Write, state: dict[str, Tensor], key: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(BadFile, match=message):
        load_checkpoint(write(state=state | {key: torch.zeros(shape)}), torch.float32, torch.float32)


QUANTIZED = {
    "scaled float8": {"model.diffusion_model.scaled_fp8": EMPTY, "model.diffusion_model.out.2.scale_weight": EMPTY},
    "a scale for each weight": {"model.diffusion_model.out.2.weight_scale": torch.ones(())},
    "bitsandbytes": {"model.diffusion_model.out.2.weight.quant_state.bitsandbytes__nf4": EMPTY},
}


@pytest.mark.parametrize("kind", QUANTIZED)
def test_a_quantized_checkpoint_is_refused_as_that(write: Write, state: dict[str, Tensor], kind: str) -> None:
    with pytest.raises(BadFile, match=r"is quantized.*float16"):
        load_checkpoint(write(state=state | QUANTIZED[kind]), torch.float32, torch.float32)


def test_weights_in_whole_numbers_are_refused(write: Write) -> None:
    with pytest.raises(BadFile, match=r"is quantized: .* is stored as int8"):
        load_checkpoint(write(dtype=torch.int8), torch.float32, torch.float32)


def test_files_that_are_no_checkpoint(write: Write) -> None:
    path = write(state={"lora_unet_x.alpha": torch.tensor(1.0)})
    with pytest.raises(BadFile, match=r"no UNet.*a LoRA"):
        load_checkpoint(path, torch.float32, torch.float32)
    with pytest.raises(BadFile, match="no VAE"):
        load_vae(path, torch.float32)


def test_a_vocabulary_that_does_not_go_with_the_text_encoder(write: Write) -> None:
    path = write()
    vocabulary = path.with_suffix(".tokenizer") / "vocab.json"
    vocabulary.write_text('{"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}', "utf-8")
    with pytest.raises(BadFile, match="has 518 tokens"):
        load_checkpoint(path, torch.float32, torch.float32)


FOLDERS = {"unet": "unet", "vae": "vae", "text_encoder": "l", "text_encoder_2": "g"}
VARIANTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")


def write_folder(root: Path, modules: dict[str, nn.Module], name: str, write_tokenizer: Callable[[Path], None]) -> Path:
    """Write a diffusers folder of the tiny networks, and return its UNet file."""
    for folder, part in FOLDERS.items():
        file = name if part in ("unet", "vae") else name.replace("diffusion_pytorch_model", "model")
        (root / folder).mkdir(parents=True)
        state = {key: tensor.contiguous().clone() for key, tensor in modules[part].state_dict().items()}
        save_file(state, root / folder / file)
    write_tokenizer(root / "tokenizer")
    return root / "unet" / name


@pytest.mark.parametrize("name", VARIANTS)
def test_a_folder_of_diffusers(
    tmp_path: Path, modules: dict[str, nn.Module], write_tokenizer: Callable[[Path], None], name: str
) -> None:
    loaded = load_checkpoint(write_folder(tmp_path, modules, name, write_tokenizer), torch.float32, torch.float32)
    assert loaded.model.family == "sdxl"
    for part, module in weights_of(loaded).items():
        ours = {key_names.clip_key(key): tensor for key, tensor in module.state_dict().items()}
        for key, tensor in modules[part].state_dict().items():
            assert torch.equal(ours[key_names.clip_key(key)], tensor), f"{part} {key}"


def in_parts(path: Path) -> list[Path]:
    """Replace a file by two, as diffusers and transformers cut large ones."""
    state = load_file(path)
    keys = list(state)
    names = [path.with_name(f"{path.stem}-0000{number}-of-00002{path.suffix}") for number in (1, 2)]
    for number, name in enumerate(names):
        save_file({key: state[key] for key in keys[number::2]}, name)
    path.unlink()
    return names


@pytest.mark.parametrize("part", [0, 1])
def test_a_checkpoint_in_parts(write: Write, modules: dict[str, nn.Module], part: int) -> None:
    chosen = in_parts(write())[part]
    loaded = load_checkpoint(chosen, torch.float32, torch.float32, text=False)
    assert (loaded.model.name, loaded.vae is not None) == (chosen.name, True)
    for key, tensor in modules["unet"].state_dict().items():
        assert torch.equal(loaded.model.network.module.state_dict()[key], tensor)


def test_a_diffusers_folder_in_parts(
    tmp_path: Path, modules: dict[str, nn.Module], write_tokenizer: Callable[[Path], None]
) -> None:
    unet = in_parts(write_folder(tmp_path, modules, VARIANTS[1], write_tokenizer))[0]
    in_parts(tmp_path / "text_encoder_2" / VARIANTS[1].replace("diffusion_pytorch_model", "model"))
    loaded = load_checkpoint(unet, torch.float32, torch.float32)
    assert set(weights_of(loaded)) == set(FOLDERS.values())


def test_a_missing_part_is_named(write: Write) -> None:
    first, second = in_parts(write())
    second.unlink()
    with pytest.raises(
        MissingFile, match=f"{first.name} is one of the 2 parts of a model, and {second.name} is missing"
    ):
        load_checkpoint(first, torch.float32, torch.float32)


def test_a_diffusers_folder_sets_the_prediction(
    tmp_path: Path, modules: dict[str, nn.Module], write_tokenizer: Callable[[Path], None]
) -> None:
    path = write_folder(tmp_path, modules, VARIANTS[0], write_tokenizer)
    (tmp_path / "scheduler").mkdir()
    config = tmp_path / "scheduler" / "scheduler_config.json"
    config.write_text('{"prediction_type": "v_prediction", "rescale_betas_zero_snr": true}', "utf-8")
    model = load_checkpoint(path, torch.float32, torch.float32).model
    assert (model.prediction, model.zero_snr) == ("v", True)


@pytest.mark.parametrize("text", ["{", "7", "\ufeff{", "[" * 100_000, ""])
def test_a_broken_scheduler_does_not_cost_the_folder(
    tmp_path: Path, modules: dict[str, nn.Module], write_tokenizer: Callable[[Path], None], text: str
) -> None:
    path = write_folder(tmp_path, modules, VARIANTS[0], write_tokenizer)
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(text, "utf-8")
    loaded = load_checkpoint(path, torch.float32, torch.float32)
    assert (loaded.model.prediction, loaded.model.zero_snr) == ("eps", False)
    (notice,) = loaded.notices
    assert "has a scheduler_config.json that can't be read" in notice
    assert "choose another prediction on the loader" in notice
    chosen = load_checkpoint(path, torch.float32, torch.float32, prediction="v + zero SNR")
    assert (chosen.model.prediction, chosen.model.zero_snr, chosen.notices) == ("v", True, ())


def test_another_part_of_a_diffusers_folder_is_no_checkpoint(
    tmp_path: Path, modules: dict[str, nn.Module], write_tokenizer: Callable[[Path], None]
) -> None:
    write_folder(tmp_path, modules, VARIANTS[0], write_tokenizer)
    for folder, kind in (("vae", "a VAE alone"), ("text_encoder_2", "a text encoder alone")):
        with pytest.raises(BadFile, match=f"no UNet.*{kind}"):
            load_checkpoint(next((tmp_path / folder).iterdir()), torch.float32, torch.float32)
    assert load_vae(tmp_path / "vae" / VARIANTS[0], torch.float32).name == VARIANTS[0]


def in_names_of_diffusers(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{f}.{key}": t for f, part in FOLDERS.items() for key, t in modules[part].state_dict().items()}


WRAPPED: dict[str, Callable[[str], str]] = {
    "as published": lambda key: key,
    "DistributedDataParallel": lambda key: f"module.{key}",
    "torch.compile": lambda key: f"_orig_mod.{key}",
    "both": lambda key: f"module._orig_mod.{key}",
    "torch.compile of the UNet alone": lambda key: key.replace(
        "diffusion_model.", "diffusion_model._orig_mod."
    ).replace("unet.", "unet._orig_mod."),
    "FullyShardedDataParallel": lambda key: f"_fsdp_wrapped_module.{key}".replace(".0.", ".0._fsdp_wrapped_module."),
    "a wrapper of one's own": lambda key: f"model.{key}",
    "a pipeline": lambda key: f"pipeline.model.{key}",
}


@pytest.mark.parametrize("names", ["published", "diffusers"])
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("wrapper", WRAPPED)
def test_wrapped_names(
    write: Write, state: dict[str, Tensor], modules: dict[str, nn.Module], wrapper: str, suffix: str, names: str
) -> None:
    plain = state if names == "published" else in_names_of_diffusers(modules)
    path = write(f"wrapped{suffix}", state={WRAPPED[wrapper](key): tensor for key, tensor in plain.items()})
    loaded = load_checkpoint(path, torch.float32, torch.float32)
    for part, module in weights_of(loaded).items():
        assert sum(map(torch.numel, module.parameters())) == sum(map(torch.numel, modules[part].parameters()))


@pytest.mark.parametrize(
    "wrapper", ["module.", "_orig_mod.", "model.", "model.diffusion_model.", "diffusion_model.", ""]
)
@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
def test_a_unet_alone_under_any_prefix(write: Write, modules: dict[str, nn.Module], wrapper: str, layout: str) -> None:
    own = modules["unet"].state_dict()
    bare = {k.removeprefix(key_names.UNET): t for k, t in unet_state_to_ldm(own).items()} if layout == "ldm" else own
    path = write(state={wrapper + key: tensor for key, tensor in bare.items()} | {"v_pred": torch.zeros(0)})
    model = load_checkpoint(path, torch.float32, torch.float32).model
    assert (model.family, model.prediction) == ("sdxl", "v")
    assert all(torch.equal(model.network.module.state_dict()[key], tensor) for key, tensor in own.items())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.diffusion_model.out.2.weight", float("nan")),
        ("model.diffusion_model.middle_block.0.in_layers.0.bias", float("inf")),
        ("first_stage_model.decoder.conv_out.weight", float("-inf")),
        ("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight", float("nan")),
        ("conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight", float("inf")),
    ],
)
@pytest.mark.parametrize("dtype", list(HALF))
def test_values_that_are_no_numbers(
    write: Write, state: dict[str, Tensor], key: str, value: float, dtype: torch.dtype
) -> None:
    broken = state[key].clone()
    broken.view(-1)[-1] = value
    path = write(state=state | {key: broken}, dtype=dtype)
    with pytest.raises(BadFile, match=f"{path.name}.*{key}.*NaN or infinity"):
        load_checkpoint(path, torch.float32, torch.float32)


def test_values_beyond_float16(write: Write, state: dict[str, Tensor]) -> None:
    key = "model.diffusion_model.out.2.weight"
    path = write(state=state | {key: torch.full_like(state[key], 1e6)})
    with pytest.raises(BadFile, match=f"{key}.*float16"):
        load_checkpoint(path, torch.float16, torch.float32)
    assert load_checkpoint(path, torch.float32, torch.float32).vae is not None


def test_a_broken_vae_of_its_own_is_no_fault_beside_another(write: Write, state: dict[str, Tensor]) -> None:
    key = "first_stage_model.decoder.conv_out.weight"
    path = write(state=state | {key: torch.full_like(state[key], torch.nan)})
    assert load_checkpoint(path, torch.float32, torch.float32, vae=False).vae is None
