"""The nodes of control images and image prompts: preprocessing, their networks, and the chain for the sampler."""

from __future__ import annotations

from collections.abc import Sequence

from ...pipelines.errors import UnknownName
from ...pipelines.settings import (
    AUTO,
    DEFAULT_CLIP_VISION,
    DEFAULT_CONTROL,
    DEFAULT_CPDS,
    DEFAULT_FACE_PROMPT,
    DEFAULT_IMAGE_PROMPT,
    DEFAULT_IP_NEGATIVE,
    TOGETHER,
)
from .graph_builder import GraphBuilder, Link
from .request import ImagePrompt

CONTROLS = {"PyraCanny": DEFAULT_CONTROL, "CPDS": DEFAULT_CPDS}
ADAPTERS = {"ImagePrompt": DEFAULT_IMAGE_PROMPT, "FaceSwap": DEFAULT_FACE_PROMPT}
SOFTNESS = 0.25


def add_hints(
    build: GraphBuilder, prompts: Sequence[ImagePrompt], size: tuple[Link, Link] | None = None
) -> Link | None:
    """Add the chain of all images; None without any. Each network is loaded once.

    `size`: width and height of the result, to which control images are cropped before preprocessing.
    """
    networks: dict[str, Link] = {}
    chain: Link | None = None
    for number, prompt in enumerate(prompts, start=1):
        place = f" {number}" if len(prompts) > 1 else ""
        picture = build.add("LoadImage", f"Picture{place}", image=prompt.image)[0]
        if prompt.type not in networks:
            networks[prompt.type] = _network(build, prompt.type)
        add = _control if prompt.type in CONTROLS else _image_prompt
        chain = add(build, prompt, place, picture, networks[prompt.type], size, chain)
    return chain


def _network(build: GraphBuilder, kind: str) -> Link:
    if kind in CONTROLS:
        return build.add("FooocusLoadControl", f"{kind} network", control_name=CONTROLS[kind])[0]
    if kind not in ADAPTERS:
        raise UnknownName("type of image prompt", kind, [*ADAPTERS, *CONTROLS])
    return build.add(
        "FooocusLoadImagePrompt",
        f"{kind} adapter",
        adapter_name=ADAPTERS[kind],
        clip_vision_name=DEFAULT_CLIP_VISION,
        negative_name=DEFAULT_IP_NEGATIVE,
    )[0]


def _control(
    build: GraphBuilder,
    prompt: ImagePrompt,
    place: str,
    picture: Link,
    network: Link,
    size: tuple[Link, Link] | None,
    before: Link | None,
) -> Link:
    width, height = size or (0, 0)
    if prompt.type == "PyraCanny":
        lines = build.add(
            "FooocusPyraCanny", f"PyraCanny{place}", image=picture, low=64, high=128, width=width, height=height
        )
    else:
        lines = build.add("FooocusCpds", f"CPDS{place}", image=picture, width=width, height=height)
    return build.add(
        "FooocusControl",
        f"Control{place}",
        image=lines[0],
        control_net=network,
        weight=prompt.weight,
        start_at=0.0,
        stop_at=prompt.stop_at,
        softness=SOFTNESS,
        control=before,
    )[0]


def _image_prompt(
    build: GraphBuilder,
    prompt: ImagePrompt,
    place: str,
    picture: Link,
    network: Link,
    size: tuple[Link, Link] | None,
    before: Link | None,
) -> Link:
    if prompt.type == "FaceSwap":
        picture = build.add("FooocusFaceCrop", f"Face{place}", image=picture, detector_name=AUTO)[0]
    return build.add(
        "FooocusImagePrompt",
        f"Image prompt{place}",
        image=picture,
        image_prompt=network,
        weight=prompt.weight,
        stop_at=prompt.stop_at,
        formula=TOGETHER,
        control=before,
    )[0]
