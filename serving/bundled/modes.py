"""The graph of each kind of request, as a pure function of it."""

from __future__ import annotations

from dataclasses import replace

from ...pipelines.settings import FAST_UPSCALES, SIDES, VARY_STRENGTHS
from .graph_builder import ApiGraph, GraphBuilder, Link, add_core, add_painting, add_sampling, add_saving, size_inputs
from .hints import CONTROLS, add_hints
from .request import NO_MASK, OWN_MASK, Inpaint, InpaintOptions, TextToImage, UpscaleOrVary


def graph_of(request: TextToImage) -> ApiGraph:
    """The graph of any request."""
    if isinstance(request, Inpaint):
        return inpaint(request)
    return upscale_or_vary(request) if isinstance(request, UpscaleOrVary) else text_to_image(request)


def text_to_image(request: TextToImage) -> ApiGraph:
    """The graph of a text-to-image request: the core, a size, sampling, decoding and saving."""
    build = GraphBuilder()
    core = add_core(build, request)
    size = build.add("FooocusAspectRatio", "Size", **size_inputs(request.aspect_ratio), batch_size=1, model=core.model)
    control = add_hints(build, request.image_prompts, (size[1], size[2]))
    add_sampling(build, request, core, size[0], 1.0, control)
    return build.graph


def inpaint(request: Inpaint) -> ApiGraph:
    """The graph of an inpaint request: the core, preparing the masked part, sampling it and pasting it back."""
    build = GraphBuilder()
    core = add_core(build, request, _with_additional(build, request))
    picture = build.add("LoadImage", "Picture to inpaint", image=request.image)
    mask = picture[1] if request.mask == OWN_MASK else _mask_file(build, request.mask)
    upscaler = build.add("FooocusLoadUpscaler", "Upscaler", upscaler_name=request.upscaler, skip_missing=True)
    options = request.options or InpaintOptions()
    prepared = build.add(
        "FooocusInpaint",
        "Inpaint",
        image=picture[0],
        model=core.model,
        vae=core.vae,
        settings=core.settings,
        mode=request.mode,
        **{f"outpaint_{side}": side in request.outpaint for side in SIDES},
        erode_or_dilate=request.erode_or_dilate,
        invert_mask=request.invert_mask,
        seed=core.seed,
        override=request.options is not None,
        disable_initial_latent=options.disable_initial_latent,
        engine=options.engine,
        strength=options.strength,
        respective_field=options.respective_field,
        mask=mask,
        upscaler=upscaler[0],
    )
    control = add_hints(build, request.image_prompts, (prepared[6], prepared[7]))
    painting = replace(core, model=prepared[0])
    painted, info = add_painting(build, painting, prepared[1], prepared[2], control)
    whole = build.add("FooocusInpaintPaste", "Paste", image=painted, region=prepared[3])
    add_saving(build, request, whole[0], info)
    return build.graph


def _mask_file(build: GraphBuilder, name: str) -> Link | None:
    return None if name == NO_MASK else build.add("LoadImageMask", "Mask", image=name, channel="red")[0]


def _with_additional(build: GraphBuilder, request: Inpaint) -> Link | None:
    if not request.additional_prompt:
        return None
    words = {"text": request.prompt, "additional_prompt": request.additional_prompt}
    return build.add("FooocusInpaintPrompt", "What to paint", **words)[0]


def upscale_or_vary(request: UpscaleOrVary) -> ApiGraph:
    """The graph of a variation or an upscaling."""
    return vary(request) if request.method in VARY_STRENGTHS else upscale(request)


def vary(request: UpscaleOrVary) -> ApiGraph:
    """The graph of a variation: the core, encoding the image, and sampling at the method's strength."""
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
    """The graph of an upscaling. The fast methods only enlarge the image and need no checkpoint."""
    build = GraphBuilder()
    core = None if request.method in FAST_UPSCALES else add_core(build, request)
    has_control = core is not None and any(prompt.type in CONTROLS for prompt in request.image_prompts)
    control = add_hints(build, request.image_prompts) if core and not has_control else None
    picture = build.add("LoadImage", "Picture to enlarge", image=request.image)
    upscaler = build.add("FooocusLoadUpscaler", "Upscaler", upscaler_name=request.upscaler, skip_missing=False)
    wires = {"image": picture[0], "upscaler": upscaler[0], "method": request.method, "factor": 2.0}
    if core and has_control:  # control images are prepared at the size that is sampled
        size = build.add("FooocusUpscaleSize", "Upscale size", **wires, model=core.model)
        control = add_hints(build, request.image_prompts, (size[0], size[1]))
    large = build.add(
        "FooocusUpscale",
        "Upscale",
        **wires,
        strength=0.382,
        steps=0,
        control=control,
        **(core.links() if core else {"seed": request.seed}),
    )
    add_saving(build, request, large[0], large[1])
    return build.graph
