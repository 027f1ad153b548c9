"""Names of the same weights in published single files (ldm, OpenCLIP) and in diffusers and transformers.

Each map is derived from the keys that are present, without assumptions about widths or block counts, so it works for
SDXL, its refiner, SD 1.5 and narrower or shallower variants. A key without a counterpart is left out of the map.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

UNET = "model.diffusion_model."
VAE = "first_stage_model."
FIRST_OF_UNET = ("input_blocks.0.0.weight", "conv_in.weight")
"""The first layer's weight in ldm and in diffusers; networks of other kinds have the second as well."""
TIMESTEPS_OF_UNET = ("time_embed.0.weight", "time_embedding.linear_1.weight")
ONLY_IN_CONTROLNETS = ("input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight")

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_VAE_ATTENTION_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


@dataclass(frozen=True)
class UNetLayout:
    """Transformer depth after each resnet, by level; 0 without a transformer.

    `mid` is None if the middle block is a single resnet (SSD-1B, Vega).
    """

    down: tuple[tuple[int, ...], ...]
    mid: int | None
    up: tuple[tuple[int, ...], ...]


def layout_of_ldm(keys: Iterable[str]) -> UNetLayout:
    """The layout behind ldm UNet keys without prefix ('input_blocks.4.1.proj_in.weight')."""
    blocks, depths = _Blocks(), _Depths()
    for key in keys:
        if match := re.match(r"(input_blocks|output_blocks|middle_block)\.(\d+)\.(.*)", key):
            side, index, rest = match[1], int(match[2]), match[3]
            blocks.add(side, index, rest)
            depths.add(f"{side}.{index}", rest)
    down = _split_levels(blocks.of("input_blocks"), depths, "input_blocks", r"\d+\.op\.")
    up = _split_levels(blocks.of("output_blocks"), depths, "output_blocks", r"\d+\.conv\.")
    mid = depths.of("middle_block.1") if "middle_block.2" in depths else None
    return UNetLayout(down, mid, up)


def layout_of_diffusers(keys: Iterable[str]) -> UNetLayout:
    """The layout behind diffusers UNet keys ('down_blocks.1.attentions.0.proj_in.weight')."""
    resnets: dict[tuple[str, int], int] = {}
    depths = _Depths()
    for key in keys:
        if match := re.match(r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", key):
            side, level, index = match[1], int(match[2]), int(match[4])
            resnets[side, level] = max(resnets.get((side, level), 0), index + 1)
            depths.add(f"{side}.{level}.{index}", match[5])
        elif match := re.match(r"mid_block\.attentions\.0\.(.*)", key):
            depths.add("mid_block", match[1])
    down, up = (
        tuple(
            tuple(depths.of(f"{side}.{level}.{i}") for i in range(resnets[side, level]))
            for level in sorted(level for where, level in resnets if where == side)
        )
        for side in ("down_blocks", "up_blocks")
    )
    return UNetLayout(down, depths.of("mid_block") if "mid_block" in depths else None, up)


def unet_modules(layout: UNetLayout) -> dict[str, str]:
    """ldm module name to diffusers module name, for a UNet of that layout."""
    modules = dict(_UNET_ENDS)
    n = 1
    for level, depths in enumerate(layout.down):
        for i, depth in enumerate(depths):
            modules |= _resnet(f"input_blocks.{n}.0", f"down_blocks.{level}.resnets.{i}")
            if depth:
                modules[f"input_blocks.{n}.1"] = f"down_blocks.{level}.attentions.{i}"
            n += 1
        modules[f"input_blocks.{n}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        n += 1
    modules |= _resnet("middle_block.0", "mid_block.resnets.0")
    modules |= _resnet("middle_block.2", "mid_block.resnets.1")
    modules["middle_block.1"] = "mid_block.attentions.0"
    n = 0
    for level, depths in enumerate(layout.up):
        for i, depth in enumerate(depths):
            modules |= _resnet(f"output_blocks.{n}.0", f"up_blocks.{level}.resnets.{i}")
            if depth:
                modules[f"output_blocks.{n}.1"] = f"up_blocks.{level}.attentions.{i}"
            if i == len(depths) - 1:
                modules[f"output_blocks.{n}.{2 if depth else 1}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
            n += 1
    return modules


def unet_to_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """ldm UNet key (no prefix) to diffusers key."""
    keys = list(keys)
    return _rename(keys, unet_modules(layout_of_ldm(keys)))


def unet_to_ldm(keys: Iterable[str]) -> dict[str, str]:
    """diffusers UNet key to ldm key (no prefix)."""
    keys = list(keys)
    return _rename(keys, {new: old for old, new in unet_modules(layout_of_diffusers(keys)).items()})


def vae_to_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """ldm VAE key (no prefix) to diffusers key; keys that are diffusers', old or new, map to the new ones."""
    keys = list(keys)
    if is_diffusers_vae(keys):
        old = {f".attentions.0.{was}.": f".attentions.0.{now}." for now, was in _VAE_ATTENTION_OLD.items()}
        return {key: _replace_first(key, old) for key in keys}
    levels = 1 + max((int(m[1]) for key in keys if (m := re.match(r"decoder\.up\.(\d+)\.", key))), default=-1)
    return {key: new for key in keys if (new := _vae_key(key, levels)) is not None}


def is_diffusers_vae(keys: Iterable[str]) -> bool:
    """True for the VAE keys of diffusers, False for those of ldm."""
    return any(".down_blocks." in key or ".mid_block." in key for key in keys)


@dataclass(frozen=True)
class Part:
    """The source of a weight: a key, a third of its tensor (0 q, 1 k, 2 v; None: all), and whether to transpose it."""

    key: str
    third: int | None = None
    transposed: bool = False

    def take(self, tensor: Tensor) -> Tensor:
        """Return the weight as a view of the tensor stored under `key`."""
        if self.third is not None:
            tensor = tensor.chunk(3)[self.third]
        return tensor.T if self.transposed else tensor


def openclip_to_transformers(keys: Iterable[str]) -> dict[str, Part]:
    """transformers CLIP text key to its place in an OpenCLIP file (keys without 'model.' prefix)."""
    parts: dict[str, Part] = {}
    for key in keys:
        if match := re.match(r"transformer\.resblocks\.(\d+)\.(.*)\.?(weight|bias)$", key):
            layer = f"text_model.encoder.layers.{match[1]}"
            inner, leaf = match[2].rstrip("."), match[3]
            if inner == "attn.in_proj_":
                parts |= {f"{layer}.self_attn.{q}_proj.{leaf}": Part(key, i) for i, q in enumerate("qkv")}
            elif inner in CLIP_LAYER:
                parts[f"{layer}.{CLIP_LAYER[inner]}.{leaf}"] = Part(key)
        elif key == "token_embedding.weight":
            parts["text_model.embeddings.token_embedding.weight"] = Part(key)
        elif key == "positional_embedding":
            parts["text_model.embeddings.position_embedding.weight"] = Part(key)
        elif key.startswith("ln_final."):
            parts["text_model.final_layer_norm." + key.removeprefix("ln_final.")] = Part(key)
        elif key in ("text_projection", "text_projection.weight"):
            parts["text_projection.weight"] = Part(key, transposed=True)
    return parts


def openclip_key(key: str) -> str | None:
    """OpenCLIP's name of a transformers CLIP text key; None where several share a tensor there (q, k and v)."""
    if match := re.match(r"text_model\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)$", key):
        names = {new: old for old, new in CLIP_LAYER.items()}
        inner = names.get(match[2])
        return f"transformer.resblocks.{match[1]}.{inner}.{match[3]}" if inner else None
    if key.startswith("text_model.final_layer_norm."):
        return "ln_final." + key.rsplit(".", 1)[1]
    return {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
    }.get(key)


def clip_key(key: str) -> str:
    """A transformers text key with the 'text_model.' level that version 5 leaves out of plain text models."""
    bare = key.startswith(("embeddings.", "encoder.", "final_layer_norm."))
    return "text_model." + key if bare else key


class _Blocks:
    """The module keys of each numbered block, by side."""

    def __init__(self) -> None:
        self._rests: dict[str, dict[int, list[str]]] = {}

    def add(self, side: str, index: int, rest: str) -> None:
        self._rests.setdefault(side, {}).setdefault(index, []).append(rest)

    def of(self, side: str) -> list[tuple[int, list[str]]]:
        return sorted(self._rests.get(side, {}).items())


class _Depths:
    """The number of transformer blocks in each place."""

    def __init__(self) -> None:
        self._depths: dict[str, int] = {}

    def add(self, place: str, rest: str) -> None:
        match = re.match(r"(?:\d+\.)?transformer_blocks\.(\d+)\.", rest)
        self._depths[place] = max(self._depths.get(place, 0), int(match[1]) + 1 if match else 0)

    def of(self, place: str) -> int:
        return self._depths.get(place, 0)

    def __contains__(self, place: str) -> bool:
        return place in self._depths


def _split_levels(
    blocks: list[tuple[int, list[str]]], depths: _Depths, side: str, ends_level: str
) -> tuple[tuple[int, ...], ...]:
    """Split the blocks with a resnet into levels, each ending with a block that resamples; conv_in is skipped."""
    levels: list[list[int]] = [[]]
    for index, rests in blocks:
        if any(rest.startswith("0.in_layers.") for rest in rests):
            levels[-1].append(depths.of(f"{side}.{index}"))
        if any(re.match(ends_level, rest) for rest in rests):
            levels.append([])
    return tuple(tuple(level) for level in levels if level)


def _resnet(ldm: str, diffusers: str) -> dict[str, str]:
    return {f"{ldm}.{old}": f"{diffusers}.{new}" for old, new in _RESNET.items()}


def _rename(keys: Iterable[str], modules: Mapping[str, str]) -> dict[str, str]:
    """Each key with its longest known module prefix renamed."""
    renamed = {}
    for key in keys:
        for prefix in _prefixes(key):
            if prefix in modules:
                renamed[key] = modules[prefix] + key[len(prefix) :]
                break
    return renamed


def _prefixes(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rsplit(".", 1)[0]
        yield key


def _replace_first(key: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        if old in key:
            return key.replace(old, new, 1)
    return key


def _vae_key(key: str, levels: int) -> str | None:
    if match := re.match(r"(encoder|decoder)\.(down|up)\.(\d+)\.(block\.(\d+)|downsample|upsample)\.(.*)", key):
        level = int(match[3]) if match[2] == "down" else levels - 1 - int(match[3])
        if match[5] is not None:
            rest = match[6].replace("nin_shortcut", "conv_shortcut")
            return f"{match[1]}.{match[2]}_blocks.{level}.resnets.{match[5]}.{rest}"
        return f"{match[1]}.{match[2]}_blocks.{level}.{match[4]}rs.0.{match[6]}"
    if match := re.match(r"(encoder|decoder)\.mid\.block_([12])\.(.*)", key):
        rest = match[3].replace("nin_shortcut", "conv_shortcut")
        return f"{match[1]}.mid_block.resnets.{int(match[2]) - 1}.{rest}"
    if match := re.match(r"(encoder|decoder)\.mid\.attn_1\.(norm|q|k|v|proj_out)\.(weight|bias)$", key):
        return f"{match[1]}.mid_block.attentions.0.{VAE_ATTENTION[match[2]]}.{match[3]}"
    if match := re.match(r"(encoder|decoder)\.(norm_out|conv_in|conv_out)\.(weight|bias)$", key):
        return f"{match[1]}.{match[2].replace('norm_out', 'conv_norm_out')}.{match[3]}"
    return key if key.startswith(("quant_conv.", "post_quant_conv.")) else None
