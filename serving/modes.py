"""The graph of each kind of request, as a pure function of it."""

from __future__ import annotations

from ..pipelines.settings import FAST_UPSCALES, VARY_STRENGTHS
from .building import ApiGraph, GraphBuilder, add_core, add_sampling, add_saving, size_inputs
from .hints import add_hints
from .request import TextToImage, UpscaleOrVary


def graph_of(request: TextToImage) -> ApiGraph:
    """The graph of any request."""
    return upscale_or_vary(request) if isinstance(request, UpscaleOrVary) else text_to_image(request)


def text_to_image(request: TextToImage) -> ApiGraph:
    """The graph of a text-to-image request: the core, a size, sampling, decoding, saving."""
    build = GraphBuilder()
    core = add_core(build, request)
    size = build.add("FooocusAspectRatio", "Size", **size_inputs(request.aspect_ratio), batch_size=1, model=core.model)
    control = add_hints(build, request.image_prompts, (size[1], size[2]))
    add_sampling(build, request, core, size[0], 1.0, control)
    return build.graph


def upscale_or_vary(request: UpscaleOrVary) -> ApiGraph:
    """The graph of a picture varied, or enlarged."""
    return vary(request) if request.method in VARY_STRENGTHS else upscale(request)


def vary(request: UpscaleOrVary) -> ApiGraph:
    """The core, the picture encoded, and sampling at its strength."""
    build = GraphBuilder()
    core = add_core(build, request)
    picture = build.add("LoadImage", "Picture to vary", image=request.image)
    varied = build.add(
        "FooocusVary",
        "Vary",
        image=picture[0],
        model=core.model,
        vae=core.vae,
        settings=core.settings,
        method=request.method,
        strength=0.5,
        seed=core.seed,
    )
    control = add_hints(build, request.image_prompts, (varied[2], varied[3]))
    add_sampling(build, request, core, varied[0], varied[1], control)
    return build.graph


def upscale(request: UpscaleOrVary) -> ApiGraph:
    """The picture enlarged; with a fast method that is all, and no model is needed."""
    build = GraphBuilder()
    fast = request.method in FAST_UPSCALES
    wires = {"seed": request.seed} if fast else add_core(build, request).links()
    control = None if fast else add_hints(build, request.image_prompts)
    picture = build.add("LoadImage", "Picture to enlarge", image=request.image)
    upscaler = build.add("FooocusLoadUpscaler", "Upscaler", upscaler_name=request.upscaler)
    large = build.add(
        "FooocusUpscale",
        "Upscale",
        image=picture[0],
        upscaler=upscaler[0],
        method=request.method,
        factor=2.0,
        strength=0.382,
        steps=0,
        control=control,
        **wires,
    )
    add_saving(build, request, large[0], large[1])
    return build.graph
