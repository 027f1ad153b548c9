"""Loading a checkpoint with its VAE, and applying LoRAs (Fooocus modules/default_pipeline.py: refresh_*)."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import BadFile, BadValue, MissingFile
from ..files import file_state
from ..host import POCKET, Host, find_or_pocket
from ..models import checkpoint as checkpoints
from ..models.clip import encoder_name, encoder_width, final_norm
from ..models.embeddings import embedding_of, typed
from ..models.handles import Clip, Embedding, Model, Vae
from ..models.lora import matching as lora_files
from ..models.lora.bundled import without_bundled
from ..models.lora.family import TITLES
from ..models.lora.refusals import named
from ..models.weights.merging import WeightPatch
from ..settings import AUTO, DEFAULT_CHECKPOINT, DEFAULT_VAE, NO_FILE
from ..types import FreeU, Lora


def find_files(host: Host, name: str, vae_name: str) -> tuple[Path, Path | None]:
    """Find the checkpoint, and the separate VAE if one is named. Raises MissingFile."""
    path = find_or_pocket(host, "checkpoints", name, DEFAULT_CHECKPOINT)
    return path, None if vae_name == DEFAULT_VAE else host.find("vae", vae_name, home_of(path))


def find_lora(host: Host, name: str, home: Path | None = None) -> Path:
    """Find a LoRA's file, in the models folder `home` of the checkpoint first. Raises MissingFile."""
    return find_or_pocket(host, "loras", name, home=home)


def home_of(path: Path) -> Path | None:
    """Return the models folder searched first for a checkpoint's companion files: the pocket model's, or None."""
    return POCKET if POCKET in path.resolve().parents else None


def checkpoint(
    host: Host, name: str, vae_name: str = DEFAULT_VAE, clip_skip: int = 2, prediction: str = AUTO
) -> tuple[Model, Clip, Vae]:
    """Load the model, text encoders and VAE of a single-file SDXL checkpoint.

    `clip_skip`: the text encoders' layer to read, counted from the end (1…12). `prediction`: one of PREDICTIONS; 'auto'
    reads it from the file, with a notice if it is not eps. Raises MissingFile, and BadFile for a file that is broken or
    not a complete SDXL checkpoint.
    """
    path, vae_path = find_files(host, name, vae_name)
    loaded = read_checkpoint(host, path, prediction=prediction, vae=vae_path is None)
    if loaded.model.family != "sdxl" or loaded.clip is None:
        raise BadFile(
            f"{path.name} is a checkpoint for {TITLES[loaded.model.family]}"
            f"{'' if loaded.clip else ' without text encoders'}: choose an SDXL base checkpoint, or the UNet file in a "
            "diffusers folder"
        )
    vae = loaded.vae if vae_path is None else _read_vae(host, vae_path)
    if vae is None:
        raise BadFile(f"{path.name} contains no VAE: choose one with vae_name")
    model = replace(loaded.model, vae_name=vae.name or DEFAULT_VAE, text_norm=final_norm(loaded.clip))
    tell(host, loaded)
    host.manage("unet", model.network.module)
    host.manage("text", *(encoder.network.module for encoder in loaded.clip.encoders))
    host.manage("vae", vae.network.module)
    return model, with_clip_skip(loaded.clip, clip_skip), vae


def read_checkpoint(
    host: Host, path: Path, text: bool = True, prediction: str = AUTO, vae: bool = True
) -> checkpoints.Checkpoint:
    """Read a checkpoint in the host's dtypes, or return the one that the host keeps; see `load_checkpoint`."""
    dtypes, home = (host.dtype("unet"), host.dtype("vae")), home_of(path)
    return host.keep_networks(
        (*_state_of(path), *dtypes, home, text, prediction, vae),
        lambda: checkpoints.load_checkpoint(path, *dtypes, home=home, text=text, prediction=prediction, vae=vae),
    )


def _read_vae(host: Host, path: Path) -> Vae:
    dtype = host.dtype("vae")
    return host.keep_networks(("vae", *_state_of(path), dtype), lambda: checkpoints.load_vae(path, dtype))


def _state_of(path: Path) -> tuple[Hashable, ...]:
    """Return the state of a model file, and of the other files in the folder of a diffusers model."""
    around = sorted(path.parent.parent.glob("*/*")) if path.parent.name == "unet" else [path]
    return tuple(part for file in around for part in file_state(file))


def tell(host: Host, loaded: checkpoints.Checkpoint) -> None:
    """Show the notices about a checkpoint file."""
    for notice in loaded.notices:
        host.notice(f"{loaded.model.name} {notice}")


def with_clip_skip(clip: Clip, skip: int) -> Clip:
    """Return the text encoders, read at layer `skip` from the end (1…12; Fooocus's set_clip_skip)."""
    if not 1 <= skip <= 12:
        raise BadValue(f"clip_skip is {skip}: choose 1 (the last layer) to 12")
    return replace(clip, skip=skip)


def with_freeu(model: Model, freeu: FreeU) -> Model:
    """Return the model with FreeU V2, or without it if all gains are 1."""
    return replace(model, freeu=None if freeu == FreeU(1.0, 1.0, 1.0, 1.0) else freeu)


def add_loras(
    loras: Iterable[Lora], pairs: Iterable[tuple[str, float]], optional: Collection[str] = ()
) -> tuple[Lora, ...]:
    """Return the LoRAs followed by the (name, weight) pairs, without those named 'None'.

    Names in `optional` are left out later, when their file is missing.
    """
    return (*loras, *(Lora(name, weight, optional=name in optional) for name, weight in pairs if name != NO_FILE))


def apply_loras(host: Host, model: Model, clip: Clip, loras: tuple[Lora, ...]) -> tuple[Model, Clip]:
    """Add LoRAs to the model and text encoders, in order; weights are merged at their next use.

    Notices count the entries of a file that do not fit the model, name the embeddings bundled with it, and explain how
    to get an optional LoRA, which is left out if its file is missing. A LoRA that fits only the model's refiner is
    applied to that, with a notice. Raises MissingFile for any other LoRA, and BadFile for a LoRA most of whose entries
    do not fit.
    """
    for lora in loras:
        if lora.optional:
            try:
                find_lora(host, lora.name, model.home)
            except MissingFile as error:
                host.notice(f"the image is drawn without this LoRA: {error}")
                continue
        model, clip = _apply_lora(host, model, clip, lora)
    return model, clip


def _apply_lora(host: Host, model: Model, clip: Clip, lora: Lora) -> tuple[Model, Clip]:
    path = find_lora(host, lora.name, model.home)
    source = lora_files.source_of(path)
    state, bundled = without_bundled(lora_files.read_lora(path))
    clip = _with_bundled(host, clip, path.name, bundled)
    if bundled and not state:
        return model, clip
    try:
        found = lora_files.patches(state, path.name, lora.weight, model, clip, source)
    except BadFile:
        if (changed := _on_refiner(host, model, lora, path.name, state, source)) is None:
            raise
        return changed, clip
    if found.left_out:
        host.notice(
            f"{path.name} is applied without {len(found.left_out)} of its {found.total} entries, which do not fit "
            f"this model: {named(found.left_out)}"
        )
    encoders = tuple(
        replace(encoder, patches=(*encoder.patches, patch)) if patch else encoder
        for encoder, patch in zip(clip.encoders, found.encoders, strict=True)
    )
    patches = (found.unet,) if found.unet else ()
    if (switch := model.switch) is not None:
        second = with_patches_of(host, model, switch.refiner.model, patches, (lora,))
        model = replace(model, switch=replace(switch, refiner=replace(switch.refiner, model=second)))
    model = replace(model, patches=(*model.patches, *patches), loras=(*model.loras, lora))
    return model, replace(clip, encoders=encoders)


def with_patches_of(
    host: Host, model: Model, refiner: Model, patches: Sequence[WeightPatch], loras: Sequence[Lora]
) -> Model:
    """Return the refiner with the LoRAs' patches of the model if it has the same architecture, else unchanged.

    A notice tells when a refiner of the model's family has weights of other shapes.
    """
    if not patches or refiner.family != model.family:
        return refiner
    shapes = [{name: p.shape for name, p in m.network.module.named_parameters()} for m in (model, refiner)]
    changed = {name for patch in patches for name in patch.deltas}
    if any(shapes[1].get(name) != shapes[0][name] for name in changed):
        host.notice(f"the LoRAs do not fit the refiner {refiner.name}, so it runs without them")
        return refiner
    return replace(refiner, patches=(*refiner.patches, *patches), loras=(*refiner.loras, *loras))


def _on_refiner(
    host: Host, model: Model, lora: Lora, file: str, state: Mapping[str, Any], source: Hashable
) -> Model | None:
    """Apply a LoRA that does not fit the model to its refiner; None if there is none or it does not fit that either.

    Entries for text encoders are left out, because the refiner reads the text as the model's encoders do.
    """
    if model.switch is None:
        return None
    refiner = model.switch.refiner
    try:
        found = lora_files.patches(state, file, lora.weight, refiner.model, None, source)
    except BadFile:
        return None
    if found.unet is None:
        return None
    host.notice(
        f"{file} is for {TITLES[refiner.model.family]}: it is applied to the refiner {refiner.model.name} alone, "
        "without changes to text encoders"
    )
    second = replace(refiner.model, patches=(*refiner.model.patches, found.unet), loras=(*refiner.model.loras, lora))
    switch = replace(model.switch, refiner=replace(refiner, model=second))
    return replace(model, switch=switch, loras=(*model.loras, lora))


def _with_bundled(host: Host, clip: Clip, file: str, bundled: Mapping[str, Any]) -> Clip:
    """Add the embeddings bundled with a LoRA file to the text encoders; a notice explains how to use them."""
    widths = {encoder_name(encoder): encoder_width(encoder) for encoder in clip.encoders}
    usable: dict[str, Embedding] = {}
    for name, content in bundled.items():
        try:
            embedding = embedding_of(content, f"the embedding {name!r} in {file}", widths)
        except BadFile as error:
            host.notice(f"{error}; it is left out")
            continue
        if embedding.vectors:
            usable[name] = embedding
        else:
            host.notice(f"the embedding {name!r} in {file} does not fit any text encoder of this model; it is left out")
    if usable:
        words = ", ".join(f"embedding:{typed(name)}" for name in usable)
        host.notice(f"{file} contains embeddings: write {words} in a prompt to use them")
    return replace(clip, embeddings={**clip.embeddings, **usable}) if usable else clip
