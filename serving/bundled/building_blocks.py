"""Bundled workflows that show single stages, beside those of the endpoints' modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...pipelines.settings import (
    BLACK_OUT,
    DEFAULT_CONTROL,
    DEFAULT_ENGINE,
    DEFAULT_SAFETY_CHECKER,
    DEFAULT_UPSCALER,
    EXAMPLE_MASK,
    EXAMPLE_METADATA,
    EXAMPLE_PICTURE,
)
from .graph_builder import (
    ApiGraph,
    Core,
    GraphBuilder,
    Link,
    Node,
    add_core,
    add_painting,
    add_sampler,
    add_sampling,
    add_saving,
    size_inputs,
)
from .request import TextToImage

REQUEST = TextToImage("a large red circle on a yellow background", output_format="png")
SECOND_PROMPT = "a large blue square on a yellow background"


@dataclass(frozen=True)
class BuildingBlock:
    """A workflow for a single stage: its file stem, the words for the list and the note, and what builds its graph."""

    name: str
    title: str
    description: str
    build: Callable[[GraphBuilder], None]
    mode: str = ""
    draws: Callable[[GraphBuilder], None] | None = None

    @property
    def graph(self) -> ApiGraph:
        """The workflow in API form."""
        return _built(self.build)

    @property
    def drawn(self) -> ApiGraph:
        """The workflow whose images its thumbnail shows: itself, or one like it on the pocket model."""
        return _built(self.draws or self.build)


def _built(build: Callable[[GraphBuilder], None]) -> ApiGraph:
    builder = GraphBuilder()
    build(builder)
    return builder.graph


def start_here(build: GraphBuilder) -> None:
    """Text to image with every setting at Fooocus's default."""
    core = add_core(build, REQUEST)
    add_sampling(build, REQUEST, core, _size(build, core.model)[0], 1.0)


def inpaint_step_by_step(build: GraphBuilder) -> None:
    """Crop, fill, engine, encode, sample and paste as single nodes."""
    core = add_core(build, REQUEST)
    model, crop, latent = add_inpaint_parts(build, core)
    painted, info = add_painting(build, replace(core, model=model), latent[0], latent[1], None)
    whole = build.add("FooocusInpaintPaste", "Paste", image=painted, region=crop)
    add_saving(build, REQUEST, whole[0], info)


def add_inpaint_parts(build: GraphBuilder, core: Core) -> tuple[Link, Link, Node]:
    """Add the engine, the part of the example image to paint in, and its latent: model, region, latent and denoise."""
    picture = build.add("LoadImage", "Picture to inpaint", image=EXAMPLE_PICTURE)
    mask = build.add("LoadImageMask", "Mask", image=EXAMPLE_MASK, channel="red")
    upscaler = _upscaler(build)
    model = build.add(
        "FooocusInpaintModel",
        "Inpaint engine",
        model=core.model,
        engine=DEFAULT_ENGINE,
        refiner_switch=0.8,
        refiner_swap="joint",
    )
    crop = build.add(
        "FooocusInpaintCrop",
        "Crop",
        image=picture[0],
        mask=mask[0],
        respective_field=0.618,
        model=model[0],
        upscaler=upscaler[0],
    )
    filled = build.add("FooocusInpaintFill", "Fill", image=crop[1], mask=crop[2])
    build.add("PreviewImage", "Filled part", images=filled[0])
    latent = build.add(
        "FooocusInpaintEncode",
        "Encode part",
        region=crop[0],
        model=model[0],
        vae=core.vae,
        settings=core.settings,
        strength=1.0,
        initial_latent=True,
        seed=core.seed,
        filled=filled[0],
    )
    return model[0], crop[0], latent


def mask_tools(build: GraphBuilder) -> None:
    """Masks made, combined and looked at."""
    picture = build.add("LoadImage", "Picture", image=EXAMPLE_PICTURE)
    drawn = build.add("LoadImageMask", "Mask", image=EXAMPLE_MASK, channel="red")
    sharp = build.add("FooocusMaskThreshold", "Threshold", mask=drawn[0], level=127, image=picture[0])
    grown = build.add("FooocusMaskGrow", "Grow", mask=sharp[0], amount=8)
    shrunk = build.add("FooocusMaskGrow", "Shrink", mask=sharp[0], amount=-8)
    edge = build.add("FooocusMaskCombine", "Edge of the mask", first=grown[0], second=shrunk[0], how="subtract")
    outside = build.add("FooocusMaskInvert", "Everything else", mask=edge[0])
    for title, mask in (("Filled edge", edge), ("Filled surroundings", outside)):
        filled = build.add("FooocusInpaintFill", title, image=picture[0], mask=mask[0])
        build.add("PreviewImage", f"Preview: {title.lower()}", images=filled[0])
    padded = build.add(
        "FooocusOutpaintPad",
        "Extend to the right",
        image=picture[0],
        left=False,
        top=False,
        right=True,
        bottom=False,
        share=0.3,
        pixels=0,
        mask=sharp[0],
    )
    build.add("PreviewImage", "Preview: extended image", images=padded[0])


def schedule_on_the_wire(build: GraphBuilder) -> None:
    """The noise levels of a run as SIGMAS."""
    core = add_core(build, replace(REQUEST, performance="Speed"))
    sigmas = build.add("FooocusScheduler", "Schedule", model=core.model, settings=core.settings, denoise=1.0)
    done = build.add(
        "FooocusSampler",
        "Sampler",
        model=core.model,
        positive=core.positive,
        negative=core.negative,
        latent=_size(build, core.model)[0],
        settings=core.settings,
        seed=core.seed,
        denoise=1.0,
        sigmas=sigmas[0],
    )
    image = build.add("FooocusVaeDecode", "Decode", latent=done[0], vae=core.vae, tiled=False)
    add_saving(build, REQUEST, image[0], done[1])


def freeu(build: GraphBuilder) -> None:
    """FreeU V2 on the model."""
    core = add_core(build, replace(REQUEST, performance="Speed"))
    model = build.add("FooocusFreeU", "FreeU", model=core.model, b1=1.01, b2=1.02, s1=0.99, s2=0.95)
    add_sampling(build, REQUEST, replace(core, model=model[0]), _size(build, model[0])[0], 1.0)


def expansion(build: GraphBuilder) -> None:
    """Prompt expansion as a node of its own."""
    expanded = build.add("FooocusExpandPrompt", "Expand", text=REQUEST.prompt, seed=0)
    core = add_core(build, replace(REQUEST, styles=()), expanded[0])
    add_sampling(build, REQUEST, core, _size(build, core.model)[0], 1.0)


def two_styles_nodes(build: GraphBuilder) -> None:
    """Two nodes of styles, chained."""
    core = add_core(build, replace(REQUEST, styles=("Fooocus V2", *("Fooocus Enhance", "Fooocus Sharp") * 3)))
    add_sampling(build, REQUEST, core, _size(build, core.model)[0], 1.0)


def image_to_image(build: GraphBuilder) -> None:
    """An image encoded by the VAE and sampled from there."""
    core = add_core(build, REQUEST)
    picture = build.add("LoadImage", "Picture to vary", image=EXAMPLE_PICTURE)
    latent = build.add("FooocusVaeEncode", "Encode image", image=picture[0], vae=core.vae, seed=core.seed, tiled=False)
    add_sampling(build, REQUEST, core, latent[0], 0.6)


def upscale_by_network(build: GraphBuilder) -> None:
    """An image enlarged by an upscale network alone."""
    picture = build.add("LoadImage", "Picture to enlarge", image=EXAMPLE_PICTURE)
    large = build.add(
        "FooocusUpscaleImage", "Upscale image", image=picture[0], upscaler=_upscaler(build)[0], factor=2.0
    )
    build.add("SaveImage", "Save", images=large[0], filename_prefix="Fooocus")


def control_image_first(build: GraphBuilder) -> None:
    """A control image looked at before it is used."""
    core = add_core(build, REQUEST)
    size = _size(build, core.model)
    picture = build.add("LoadImage", "Picture", image=EXAMPLE_PICTURE)
    lines = build.add(
        "FooocusPyraCanny", "PyraCanny", image=picture[0], low=64, high=128, width=size[1], height=size[2]
    )
    build.add("PreviewImage", "Outlines", images=lines[0])
    network = build.add("FooocusLoadControl", "PyraCanny network", control_name=DEFAULT_CONTROL)
    control = build.add(
        "FooocusControl",
        "Control",
        image=lines[0],
        control_net=network[0],
        weight=1.0,
        start_at=0.0,
        stop_at=0.5,
        softness=0.25,
    )
    add_sampling(build, REQUEST, core, size[0], 1.0, control[0])


def safety_check(build: GraphBuilder) -> None:
    """The safety checker between decoding and saving."""
    core = add_core(build, REQUEST)
    image, info = add_painting(build, core, _size(build, core.model)[0], 1.0, None)
    checked = build.add(
        "FooocusSafetyCheck", "Safety check", image=image, checker_name=DEFAULT_SAFETY_CHECKER, mode=BLACK_OUT
    )
    add_saving(build, REQUEST, checked[0], info)


def preset_to_image(build: GraphBuilder) -> None:
    """All settings from a preset."""
    preset = build.add("FooocusPreset", "Preset", preset="lcm")
    _from_recipe(build, preset, REQUEST.prompt, 0)


def image_from_metadata(build: GraphBuilder) -> None:
    """All settings, the prompt and the seed from an image."""
    read = build.add("FooocusReadInfo", "Read metadata", image=EXAMPLE_METADATA)
    _from_recipe(build, read, read[0], read[23])


def native_nodes(build: GraphBuilder) -> None:
    """ComfyUI's own nodes between ours: a prompt for each half, two images at once, and a second, larger pass."""
    core = add_core(build, REQUEST)
    other = build.add(
        "FooocusPrompt",
        "Prompt for the right half",
        text=SECOND_PROMPT,
        negative="",
        seed=core.seed,
        num_images=1,
        wildcards_in_order=False,
        increment_seed=True,
    )
    clip = [core.model[0], 1]  # of the node that applies the LoRAs
    encoded = build.add("FooocusEncodePrompt", "Encode right", clip=clip, prompt=other[0], settings=core.settings)
    left, right = _half(build, "Left half", core.positive, 0.0), _half(build, "Right half", encoded[0], 0.5)
    both = build.add("ConditioningCombine", "Combine", conditioning_1=left[0], conditioning_2=right[0])
    pair = build.add("RepeatLatentBatch", "Two images", samples=_size(build, core.model)[0], amount=2)
    core = replace(core, positive=both[0])
    small = add_sampler(build, core, pair[0], 1.0, None)
    large = build.add(
        "LatentUpscaleBy", "Enlarge latents", samples=small[0], upscale_method="nearest-exact", scale_by=1.5
    )
    add_sampling(build, REQUEST, core, large[0], 0.6)


def _half(build: GraphBuilder, title: str, conditioning: Link, x: float) -> Node:
    area = {"width": 0.5, "height": 1.0, "x": x, "y": 0.0, "strength": 1.0}
    return build.add("ConditioningSetAreaPercentage", title, conditioning=conditioning, **area)


def _from_recipe(build: GraphBuilder, recipe: Node, text: str | Link, seed: int | Link) -> None:
    """Text to image with everything that a preset or an image sets."""
    checkpoint = build.add(
        "FooocusLoadCheckpoint",
        "Checkpoint",
        ckpt_name=recipe[10],
        vae_name=recipe[11],
        clip_skip=recipe[12],
        prediction="auto",
    )
    mode = build.add(
        "FooocusPerformance",
        "Performance",
        performance=recipe[5],
        overwrite_step=recipe[6],
        settings=recipe[3],
        loras=recipe[4],
    )
    prompt = build.add(
        "FooocusPrompt",
        "Prompt",
        text=text,
        negative=recipe[1],
        seed=seed,
        num_images=1,
        wildcards_in_order=False,
        increment_seed=True,
        styles=recipe[2],
        loras=mode[1],
    )
    model = build.add("FooocusApplyLoras", "Apply LoRAs", model=checkpoint[0], clip=checkpoint[1], loras=prompt[1])
    encoded = build.add("FooocusEncodePrompt", "Encode", clip=model[1], prompt=prompt[0], settings=mode[0])
    size = build.add(
        "FooocusAspectRatio",
        "Size",
        aspect_ratio=recipe[7],
        width=recipe[8],
        height=recipe[9],
        batch_size=1,
        model=model[0],
    )
    done = build.add(
        "FooocusSampler",
        "Sampler",
        model=model[0],
        positive=encoded[0],
        negative=encoded[1],
        latent=size[0],
        settings=mode[0],
        seed=prompt[2],
        denoise=1.0,
    )
    image = build.add("FooocusVaeDecode", "Decode", latent=done[0], vae=checkpoint[2], tiled=False)
    add_saving(build, REQUEST, image[0], done[1])


def _size(build: GraphBuilder, model: Link) -> Node:
    return build.add("FooocusAspectRatio", "Size", **size_inputs(REQUEST.aspect_ratio), batch_size=1, model=model)


def _upscaler(build: GraphBuilder) -> Node:
    return build.add("FooocusLoadUpscaler", "Upscaler", upscaler_name=DEFAULT_UPSCALER)


BUILDING_BLOCKS = (
    BuildingBlock(
        "fooocus-start-here",
        "Fooocus: start here",
        "Text to image as in Fooocus. The page's search looks at file names alone and finds this template by the name "
        "Fooocus. All others, one for each mode of Fooocus, are listed in the template browser under *Extensions*, "
        "*fooocus-stages*.",
        start_here,
    ),
    BuildingBlock(
        "building-block-inpaint-step-by-step",
        "Building block: inpaint step by step",
        "Shows what the node Fooocus Inpaint does, one stage per node: crop the part around the mask, fill it, attach "
        "the inpaint engine, encode, sample and paste. Change a stage, or put a node of yours between two.",
        inpaint_step_by_step,
    ),
    BuildingBlock(
        "building-block-mask-tools",
        "Building block: mask tools",
        "Thresholds, grows, shrinks, combines and inverts masks, fills the masked part from its surroundings and "
        "extends an image. No model is loaded.",
        mask_tools,
    ),
    BuildingBlock(
        "building-block-schedule",
        "Building block: schedule on the wire",
        "Connects the noise levels as SIGMAS, so that nodes for SIGMAS can change them before the sampler.",
        schedule_on_the_wire,
    ),
    BuildingBlock(
        "building-block-freeu",
        "Building block: FreeU",
        "Applies FreeU V2 with Fooocus's values between the model and the sampler.",
        freeu,
    ),
    BuildingBlock(
        "building-block-expansion",
        "Building block: prompt expansion",
        "Expands the prompt in a node of its own, so that the expanded text can be read and changed. Styles are off.",
        expansion,
    ),
    BuildingBlock(
        "building-block-two-styles-nodes",
        "Building block: two styles nodes",
        "Chains two styles nodes for more styles than one node takes.",
        two_styles_nodes,
    ),
    BuildingBlock(
        "building-block-image-to-image",
        "Building block: image to image",
        "Encodes an image with the VAE and samples it at a denoise strength of 0.6.",
        image_to_image,
    ),
    BuildingBlock(
        "building-block-upscale-image",
        "Building block: upscale by a network",
        "Enlarges an image with an upscale network alone, to any factor, and saves it with ComfyUI's own node.",
        upscale_by_network,
    ),
    BuildingBlock(
        "building-block-control-image",
        "Building block: look at a control image",
        "Previews the outlines that PyraCanny finds before the control network follows them. Change the thresholds "
        "until the outlines show what you want to keep.",
        control_image_first,
    ),
    BuildingBlock(
        "building-block-safety-check",
        "Building block: safety check",
        "Checks the image with the Stable Diffusion safety checker before it is saved, and saves a black one in place "
        "of an image that is flagged. The checker of the pocket model knows a single test card and protects nobody.",
        safety_check,
    ),
    BuildingBlock(
        "building-block-preset",
        "Building block: preset to image",
        "Takes the model, LoRAs, styles, size and sampling settings from a preset. Change the preset and the prompt.",
        preset_to_image,
    ),
    BuildingBlock(
        "building-block-metadata",
        "Building block: image from metadata",
        "Reads prompt, seed and all settings from an image that Fooocus, A1111 or this pack saved, and makes the image "
        "again. Choose your image in *Read metadata*.",
        image_from_metadata,
    ),
    BuildingBlock(
        "building-block-native-nodes",
        "Building block: with ComfyUI's own nodes",
        "Mixes nodes of this pack with ComfyUI's own: a prompt for each half of the image with Conditioning (Set Area "
        "with Percentage) and Conditioning (Combine), two images at once with Repeat Latent Batch, and a second, "
        "larger pass after Upscale Latent By.",
        native_nodes,
    ),
)
