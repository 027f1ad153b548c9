"""Training of the control-LoRAs for outlines (PyraCanny) and structure (CPDS).

`python -m fooocus_stages.pocket.training.train canny --minutes 9 --models pocket/models` trains PyraCanny's and writes
it, and `... cpds` the other, which is initialised from the first if that has been trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...pipelines.functional.control import layer_factors
from ...pipelines.models.handles import ControlNet
from ...pipelines.models.hints import controlnet
from ...pipelines.models.hints.control_lora import DOWN, UP
from ...pipelines.models.weights import key_names
from ...pipelines.models.weights.tensors import Tensors
from ...preprocessors.canny import pyramid_canny
from ...preprocessors.cpds import structure

try:
    from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
except ImportError:  # diffusers before 0.32
    from diffusers.models.controlnet import ControlNetConditioningEmbedding  # type: ignore[no-redef]

from . import base as frozen
from . import diffusion, draw, export
from .loop import Run, Stateful, Trainer, cosine, in_bfloat16, set_rate, to_tensor

FOLDER = "controlnet"
FILES = {"canny": "control-lora-canny-rank128", "cpds": "fooocus_xl_cpds_128"}
TITLES = {"canny": "outlines as PyraCanny draws them", "cpds": "structure as CPDS draws it"}
MAKERS = {"canny": pyramid_canny, "cpds": structure}
RANK = 8
HINT_CHANNELS = (8, 16, 32, 64)
SOFTNESS = 0.25
BATCH = 12
SIZES = ((128, 128, 288), (112, 144, 72), (144, 112, 72))  # height, width, pictures

# ---------------------------------------------------------------------------------------------- the network


def build_tensors(unet: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of an untrained control-LoRA for that UNet, in diffusers' names; it adds nothing yet."""
    encoder = {name: p for name, p in unet.named_parameters() if name.startswith(controlnet.UNET_MODULES)}
    tensors: dict[str, Tensor] = {}
    for name, weight in encoder.items():
        if weight.ndim == 1:
            tensors[name] = weight.detach().clone()
            continue
        layer, rank, columns = name.removesuffix(".weight"), min(RANK, *weight.flatten(1).shape), weight[0].numel()
        down = torch.randn(rank, *weight.shape[1:]) / columns**0.5
        tensors[layer + DOWN], tensors[layer + UP] = down, torch.zeros(len(weight), rank, *[1] * (weight.ndim - 2))
    return {**tensors, **_hint_tensors(cast(Any, unet).config.block_out_channels[0]), **_zero_convolutions(unet)}


def _hint_tensors(width: int) -> dict[str, Tensor]:
    """Return the hint encoder; its last layer is small but not zero, so that the others learn from the first step."""
    embedding = ControlNetConditioningEmbedding(width, block_out_channels=HINT_CHANNELS)
    nn.init.normal_(embedding.conv_out.weight, std=0.04)
    return {f"{controlnet.EMBEDDING}.{key}": tensor.detach() for key, tensor in embedding.state_dict().items()}


def _zero_convolutions(unet: nn.Module) -> dict[str, Tensor]:
    """Return a 1×1 convolution of zeros for each skip connection and for the middle block."""
    whole = cast(Any, unet)
    widths = [whole.conv_in.out_channels]
    for level in whole.down_blocks:
        widths += [resnet.out_channels for resnet in level.resnets]
        widths += [sampler.out_channels for sampler in level.downsamplers or ()]
    places = {f"controlnet_down_blocks.{i}": width for i, width in enumerate(widths)}
    places["controlnet_mid_block"] = widths[-1]
    return {
        **{f"{place}.weight": torch.zeros(width, width, 1, 1) for place, width in places.items()},
        **{f"{place}.bias": torch.zeros(width) for place, width in places.items()},
    }


def attach(kind: str, tensors: Mapping[str, Tensor], unet: nn.Module) -> tuple[nn.Module, Tensors]:
    """Build the control network from a control-LoRA, and return it with the tensors to train; the UNet stays frozen."""
    own = Tensors(tensors)
    network = controlnet.on_unet(ControlNet(FILES[kind], own, is_lora=True), unet)
    own.requires_grad_(True)
    return network, own


# ---------------------------------------------------------------------------------------------- the dataset


class HintDataset:
    """Scenes with their scaled latents and both control images, in buckets by size; computed once and cached."""

    def __init__(self, base: frozen.Base, folder: Path) -> None:
        self.rng = np.random.default_rng()
        path = folder / "album.pt"
        if not path.exists():
            torch.save([_bucket(base, *size) for size in SIZES], path)
        self.buckets = torch.load(path, weights_only=True)
        self.probabilities = np.array([len(bucket["scenes"]) for bucket in self.buckets], float)

    def batch(self, kind: str, count: int) -> tuple[list[draw.Scene], Tensor, Tensor]:
        """Return a random batch of one size: scenes, latents (B, 4, h, w) and control images (B, 3, 8h, 8w) in 0…1."""
        bucket = self.buckets[int(self.rng.choice(len(self.buckets), p=self.probabilities / self.probabilities.sum()))]
        picks = self.rng.integers(len(bucket["scenes"]), size=count)
        hints = bucket[kind][picks].float().div(255)[:, None].expand(-1, 3, -1, -1)
        return [draw.Scene(*bucket["scenes"][i]) for i in picks], bucket["latents"][picks], hints


def _bucket(base: frozen.Base, height: int, width: int, count: int) -> dict[str, Any]:
    rng = np.random.default_rng(height)
    scenes = [draw.random_scene(rng) for _ in range(count)]
    pictures = np.stack([draw.draw(scene, rng, height, width) for scene in scenes])
    latents = frozen.encode_latents(base, to_tensor(pictures))
    hints = {kind: torch.from_numpy(np.stack([make(p) for p in pictures])) for kind, make in MAKERS.items()}
    return {"scenes": [astuple(scene) for scene in scenes], "latents": latents, **hints}


def silent_caption(scene: draw.Scene, rng: np.random.Generator) -> str:
    """Return a caption of the colours alone, so that the hint has to be used; sometimes empty or complete."""
    kind = rng.choice(["colours", "all", "nothing"], p=(0.65, 0.25, 0.1))
    if kind == "nothing":
        return ""
    hidden = {"shape", "position", "size", "pattern"} if kind == "colours" else set()
    return frozen.caption_without(scene, hidden, rng)


# ---------------------------------------------------------------------------------------------- training


def predict_noise_with_control(
    base: frozen.Base, network: nn.Module, x: Tensor, t: Tensor, condition: diffusion.Condition, hints: Tensor
) -> Tensor:
    """Predict eps of x = x0 + sigma n with the control network at weight 1, float32 (B, 4, h, w)."""
    scaled = x / (diffusion.SIGMAS[t].view(-1, 1, 1, 1) ** 2 + 1).sqrt()
    given: dict[str, Any] = {
        "encoder_hidden_states": condition.context,
        "added_cond_kwargs": {"text_embeds": condition.pooled, "time_ids": condition.time_ids},
        "return_dict": False,
    }
    down, middle = cast(Any, network)(scaled, t.float(), controlnet_cond=hints, **given)
    factors = layer_factors(len(down) + 1, 1.0, SOFTNESS)
    *added, last = [a * f for a, f in zip([*down, middle], factors, strict=True)]
    inside = {"down_block_additional_residuals": added, "mid_block_additional_residual": last}
    return cast(Tensor, cast(Any, base.unet)(scaled, t.float(), **given, **inside)[0].float())


def train(kind: str, folder: Path, minutes: float) -> None:
    """Train noise prediction, weighted by sigma from 0.7 to 4, with the layout loss."""
    run, rng, base = Run(folder, kind, minutes), np.random.default_rng(), frozen.open_base()
    network, tensors = attach(kind, _beginning(kind, base, folder), base.unet)
    optimizer = torch.optim.AdamW(tensors.parameters(), 2e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    parts: dict[str, Stateful] = {"tensors": tensors, "optimizer": optimizer}
    run.resume(parts)
    album = HintDataset(base, folder)
    run.restart_clock()
    trainer, progress = Trainer(run, tensors, optimizer, parts), 0.0
    while progress < 1:
        progress = run.tick()
        set_rate(optimizer, cosine(progress, 3e-3, warm=0.03, floor=0.02))
        scenes, x0, hints = album.batch(kind, BATCH)
        size = (8 * x0.shape[-2], 8 * x0.shape[-1])
        t, noise = diffusion.sample_timesteps(len(scenes), 400, 0.6), torch.randn_like(x0)
        sigma = diffusion.SIGMAS[t]
        with in_bfloat16():
            condition = frozen.condition_for(base, [silent_caption(scene, rng) for scene in scenes], size, rng)
            x = x0 + sigma.view(-1, 1, 1, 1) * noise
            error = predict_noise_with_control(base, network, x, t, condition, hints) - noise
        scale = sigma.clamp(0.7, 4).view(-1, 1, 1, 1)
        loss = ((error * scale) ** 2).mean() + 0.1 * diffusion.layout_loss(error, sigma)
        trainer.step(loss)
    run.save(parts)


def _beginning(kind: str, base: frozen.Base, folder: Path) -> dict[str, Tensor]:
    """Return the initial tensors: those of PyraCanny for another kind, if they are trained, else untrained ones."""
    tensors, before = build_tensors(base.unet), folder / "canny.pt"
    return trained(before, tensors) if kind != "canny" and before.exists() else tensors


def trained(path: Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load the trained tensors, named like those given."""
    own = Tensors({name: torch.zeros_like(tensor) for name, tensor in like.items()})
    own.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["tensors"])
    return {name: tensor.detach() for name, tensor in own.named().items()}


# ---------------------------------------------------------------------------------------------- the file


def published_names(tensors: Mapping[str, Tensor], unet: nn.Module) -> dict[str, Tensor]:
    """Rename a control-LoRA's tensors as in published files, and add their marker."""
    of_unet = {
        old.rpartition(".")[0]: new.rpartition(".")[0] for old, new in key_names.unet_to_ldm(unet.state_dict()).items()
    }
    state = {"lora_controlnet": torch.zeros(0)}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        state[f"{of_unet.get(layer) or _own_layer(layer)}.{leaf}"] = tensor
    return state


def _own_layer(layer: str) -> str:
    """Return the published name of a layer that only the control network has."""
    group, _, place = layer.rpartition(".")
    if group == "controlnet_down_blocks":
        return f"zero_convs.{place}.0"
    if layer == "controlnet_mid_block":
        return "middle_block_out.0"
    last = 2 * len(HINT_CHANNELS) - 1
    return (
        f"input_hint_block.{2 * {'conv_in': 0, 'conv_out': last}.get(place, int(place) + 1 if place.isdigit() else 0)}"
    )


def write(kind: str, folder: Path, models: Path) -> Path:
    """Write the control-LoRA, float16, to the models folder."""
    base = frozen.open_base()
    tensors = trained(folder / f"{kind}.pt", build_tensors(base.unet))
    description = (
        f"Makes the Fooocus Stages pocket model follow {TITLES[kind]}. It is not the control-LoRA whose file name it "
        "carries."
    )
    about = export.metadata(f"Pocket control-LoRA: {kind}", description, "stable-diffusion-xl-v1-base/controlnet-lora")
    path = models / FOLDER / f"{FILES[kind]}.safetensors"
    export.write(path, published_names(tensors, base.unet), about)
    return path
