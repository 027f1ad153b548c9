"""Graphs in API form, built node by node, and the sections that the graphs of all modes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ...pipelines.settings import ASPECT_RATIOS, CUSTOM_SIZE, DEFAULT_VAE, MAX_LORAS, NO_FILE, NO_STYLE
from ...pipelines.types import Lora
from .request import TextToImage

ApiGraph = dict[str, dict[str, Any]]
Link = list[Any]

STYLES_PER_NODE = 6


class GraphBuilder:
    """Collects nodes in API form; ids count up from 1 in the order of adding."""

    def __init__(self) -> None:
        self.graph: ApiGraph = {}

    def add(self, class_type: str, title: str = "", **inputs: Any) -> Node:
        node_id = str(len(self.graph) + 1)
        given = {name: value for name, value in inputs.items() if value is not None}
        self.graph[node_id] = {"class_type": class_type, "inputs": given}
        if title:
            self.graph[node_id]["_meta"] = {"title": title}
        return Node(node_id)


@dataclass(frozen=True)
class Node:
    """A node of a graph being built; `node[slot]` is a link to one of its outputs."""

    id: str

    def __getitem__(self, slot: int) -> Link:
        return [self.id, slot]


@dataclass(frozen=True)
class Core:
    """Links to the values that every mode samples with."""

    model: Link
    vae: Link
    positive: Link
    negative: Link
    settings: Link
    seed: Link

    def links(self) -> dict[str, Link]:
        """The links by the names of a node's inputs."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def add_core(build: GraphBuilder, request: TextToImage, text: Link | None = None) -> Core:
    """Checkpoint, LoRAs, settings, prompt, encoding, and the refiner if there is one; `text` replaces the prompt."""
    checkpoint = build.add(
        "FooocusLoadCheckpoint",
        "Checkpoint",
        ckpt_name=request.checkpoint,
        vae_name=DEFAULT_VAE,
        clip_skip=2,
        prediction="auto",
    )
    mode = add_settings(build, request)
    prompt = build.add(
        "FooocusPrompt",
        "Prompt",
        text=text or request.prompt,
        negative=request.negative_prompt,
        seed=request.seed,
        num_images=request.num_images,
        wildcards_in_order=False,
        increment_seed=True,
        styles=add_styles(build, request.styles),
        loras=mode[1],
    )
    model = build.add("FooocusApplyLoras", "Apply LoRAs", model=checkpoint[0], clip=checkpoint[1], loras=prompt[1])
    encoded = build.add("FooocusEncodePrompt", "Encode", clip=model[1], prompt=prompt[0], settings=mode[0])
    network, vae = add_refiner(build, request, model[0], checkpoint[2])
    return Core(network, vae, encoded[0], encoded[1], mode[0], prompt[2])


def add_settings(build: GraphBuilder, request: TextToImage) -> Node:
    """LoRAs, sampling settings and the performance mode, whose outputs are the settings and the LoRAs with its own."""
    loras = add_loras(build, request.loras)
    settings = build.add(
        "FooocusSamplingSettings",
        "Sampling settings",
        guidance_scale=request.guidance_scale,
        sharpness=request.sharpness,
        adaptive_cfg=7.0,
        adm_positive=1.5,
        adm_negative=0.8,
        adm_end=0.3,
        sampler="dpmpp_2m_sde_gpu",
        scheduler="karras",
        as_fooocus=False,
    )
    return build.add(
        "FooocusPerformance",
        "Performance",
        performance=request.performance,
        overwrite_step=-1,
        settings=settings[0],
        loras=loras,
    )


def add_refiner(build: GraphBuilder, request: TextToImage, model: Link, vae: Link) -> tuple[Link, Link]:
    """Model and VAE with the request's refiner; unchanged without one."""
    if request.refiner == NO_FILE:
        return model, vae
    refiner = build.add("FooocusLoadRefiner", "Refiner", refiner_name=request.refiner, skip_missing=True)
    switch = build.add(
        "FooocusRefinerSwitch",
        "Refiner switch",
        model=model,
        vae=vae,
        refiner=refiner[0],
        refiner_switch=request.refiner_switch,
        refiner_swap="joint",
        refiner_step=-1,
    )
    return switch[0], switch[1]


def add_sampling(
    build: GraphBuilder,
    request: TextToImage,
    core: Core,
    latent: Link,
    denoise: float | Link,
    control: Link | None = None,
) -> None:
    """Sampling from a latent, decoding and saving."""
    add_saving(build, request, *add_painting(build, core, latent, denoise, control))


def add_painting(
    build: GraphBuilder, core: Core, latent: Link, denoise: float | Link, control: Link | None
) -> tuple[Link, Link]:
    """Sampling from a latent and decoding; links to the image and to its generation parameters."""
    done = add_sampler(build, core, latent, denoise, control)
    return build.add("FooocusVaeDecode", "Decode", latent=done[0], vae=core.vae, tiled=False)[0], done[1]


def add_sampler(build: GraphBuilder, core: Core, latent: Link, denoise: float | Link, control: Link | None) -> Node:
    """Sampling from a latent."""
    return build.add(
        "FooocusSampler",
        "Sampler",
        model=core.model,
        positive=core.positive,
        negative=core.negative,
        latent=latent,
        settings=core.settings,
        seed=core.seed,
        denoise=denoise,
        control=control,
        add_noise=True,
    )


def add_saving(build: GraphBuilder, request: TextToImage, image: Link, info: Link) -> None:
    """Saving with the generation parameters."""
    build.add(
        "FooocusSaveImage",
        "Save",
        images=image,
        filename_prefix="Fooocus",
        format=request.output_format,
        quality=95,
        metadata="fooocus",
        info=info,
    )


def add_loras(build: GraphBuilder, loras: Sequence[Lora]) -> Link | None:
    """No node, one LoRA node, or a stack of five, depending on the number of LoRAs."""
    if not loras:
        return None
    if len(loras) == 1:
        return build.add("FooocusLora", "LoRA", lora_name=loras[0].name, weight=loras[0].weight, skip_missing=True)[0]
    slots: dict[str, Any] = {}
    for i in range(MAX_LORAS):
        lora = loras[i] if i < len(loras) else Lora(NO_FILE, 1.0)
        slots |= {f"lora_{i + 1}": lora.name, f"weight_{i + 1}": lora.weight}
    return build.add("FooocusLoraStack", "LoRAs", **slots, skip_missing=True)[0]


def add_styles(build: GraphBuilder, styles: Sequence[str]) -> Link | None:
    """Chained styles nodes of six names each; None without styles."""
    before: Link | None = None
    for start in range(0, len(styles), STYLES_PER_NODE):
        names = [*styles[start : start + STYLES_PER_NODE], *[NO_STYLE] * STYLES_PER_NODE]
        slots = {f"style_{i + 1}": names[i] for i in range(STYLES_PER_NODE)}
        before = build.add("FooocusStyles", "Styles", **slots, styles=before)[0]
    return before


def size_inputs(aspect_ratio: str) -> dict[str, Any]:
    """Widgets of the size node for 'W×H' (or 'WxH', 'W*H'): a listed aspect ratio, or a custom size."""
    width, height = (int(side) for side in aspect_ratio.replace("×", "x").replace("*", "x").split("x"))
    listed = f"{width}×{height}"
    return {"aspect_ratio": listed if listed in ASPECT_RATIOS else CUSTOM_SIZE, "width": width, "height": height}
