"""Bundled workflows on ComfyUI's own MODEL, which run in ComfyUI only."""

from __future__ import annotations

from dataclasses import replace

from ...pipelines.settings import DEFAULT_ASPECT_RATIO, DEFAULT_CHECKPOINT
from .building_blocks import REQUEST, BuildingBlock, add_inpaint_parts, inpaint_step_by_step, start_here
from .graph_builder import Core, GraphBuilder, Link, Node, add_sampling, add_styles, size_inputs

OFFSET_LORA = "sd_xl_offset_example-lora_1.0.safetensors"
OURS = replace(REQUEST, performance="Speed")  # a mode without a LoRA: LoRAs are those of ComfyUI's loader
STEPS, CFG = 30, 4.0
WHERE = "It runs in ComfyUI, on a checkpoint of your own, which you choose in *Load Checkpoint*."


def sampler_on_a_native_model(build: GraphBuilder) -> None:
    """Fooocus Sampler on what Load Checkpoint loads."""
    loaded = _loaded(build)
    core = _core(build, loaded[0], loaded[1], loaded[2])
    add_sampling(build, OURS, core, _empty(build), 1.0)


def ksampler_with_the_patch(build: GraphBuilder) -> None:
    """KSampler on a MODEL with Fooocus Model Patch."""
    loaded = _loaded(build)
    settings = _settings(build)
    patched = build.add("FooocusModelPatch", "Fooocus guidance", model=loaded[0], settings=settings[0])
    prompt = _prompt(build)
    positive = build.add("CLIPTextEncode", "Positive", clip=loaded[1], text=prompt[3])
    negative = build.add("CLIPTextEncode", "Negative", clip=loaded[1], text=prompt[4])
    sampled = _ksampler(build, patched[0], prompt[2], (positive[0], negative[0]), _empty(build), 1.0)
    image = build.add("VAEDecode", "Decode", samples=sampled, vae=loaded[2])
    build.add("SaveImage", "Save", images=image[0], filename_prefix="fooocus")


def inpaint_with_the_engine(build: GraphBuilder) -> None:
    """KSampler on a MODEL with Fooocus's inpaint engine and Fooocus Model Patch."""
    loaded = _loaded(build)
    core = _core(build, loaded[0], loaded[1], loaded[2])
    model, region, latent = add_inpaint_parts(build, core)
    patched = build.add("FooocusModelPatch", "Fooocus guidance", model=model, settings=core.settings, latent=latent[0])
    sampled = _ksampler(build, patched[0], core.seed, (core.positive, core.negative), latent[0], latent[1])
    part = build.add("VAEDecode", "Decode", samples=sampled, vae=core.vae)
    whole = build.add("FooocusInpaintPaste", "Paste", image=part[0], region=region)
    build.add("SaveImage", "Save", images=whole[0], filename_prefix="fooocus")


def native_loras_with_styles(build: GraphBuilder) -> None:
    """LoRAs of ComfyUI's own loader, prompts with Fooocus's styles."""
    loaded = _loaded(build)
    lora = build.add(
        "LoraLoader",
        "LoRA",
        model=loaded[0],
        clip=loaded[1],
        lora_name=OFFSET_LORA,
        strength_model=0.1,
        strength_clip=0.1,
    )
    core = _core(build, lora[0], lora[1], loaded[2])
    add_sampling(build, OURS, core, _empty(build), 1.0)


def _loaded(build: GraphBuilder) -> Node:
    return build.add("CheckpointLoaderSimple", "Load Checkpoint", ckpt_name=DEFAULT_CHECKPOINT)


def _settings(build: GraphBuilder) -> Node:
    return build.add("FooocusPerformance", "Performance", performance=OURS.performance, overwrite_step=-1)


def _prompt(build: GraphBuilder) -> Node:
    """A prompt with Fooocus's styles."""
    return build.add(
        "FooocusPrompt",
        "Prompt",
        text=OURS.prompt,
        negative="",
        seed=OURS.seed,
        num_images=1,
        wildcards_in_order=False,
        increment_seed=True,
        styles=add_styles(build, OURS.styles),
    )


def _core(build: GraphBuilder, model: Link, clip: Link, vae: Link) -> Core:
    """A prompt that Fooocus Encode Prompt reads with ComfyUI's CLIP, and settings."""
    prompt, settings = _prompt(build), _settings(build)[0]
    encoded = build.add("FooocusEncodePrompt", "Encode prompt", clip=clip, prompt=prompt[0], settings=settings)
    return Core(model, vae, encoded[0], encoded[1], settings, prompt[2])


def _ksampler(
    build: GraphBuilder, model: Link, seed: Link, sides: tuple[Link, Link], latent: Link, denoise: float | Link
) -> Link:
    return build.add(
        "KSampler",
        "KSampler",
        model=model,
        seed=seed,
        steps=STEPS,
        cfg=CFG,
        sampler_name="dpmpp_2m_sde",
        scheduler="karras",
        positive=sides[0],
        negative=sides[1],
        latent_image=latent,
        denoise=denoise,
    )[0]


def _empty(build: GraphBuilder) -> Link:
    return build.add("FooocusAspectRatio", "Image size", **size_inputs(DEFAULT_ASPECT_RATIO), batch_size=1)[0]


NATIVE_WORKFLOWS = (
    BuildingBlock(
        "native-model-fooocus-sampler",
        "ComfyUI's own model in Fooocus Sampler",
        "Samples the MODEL of ComfyUI's Load Checkpoint with Fooocus's sampler: sharpness, adaptive CFG and ADM "
        f"scaling on whatever you have attached to the model. {WHERE}",
        sampler_on_a_native_model,
        draws=start_here,
    ),
    BuildingBlock(
        "native-model-ksampler",
        "KSampler with Fooocus Model Patch",
        "Gives ComfyUI's KSampler Fooocus's sharpness, adaptive CFG and ADM scaling. Change them with a Fooocus "
        f"Sampling Settings node before *Performance*. {WHERE}",
        ksampler_with_the_patch,
        draws=start_here,
    ),
    BuildingBlock(
        "native-loras-fooocus-styles",
        "ComfyUI's LoRA loader with Fooocus's styles",
        "Writes the prompt with Fooocus's styles and encodes it with ComfyUI's CLIP, after LoRAs of ComfyUI's own "
        f"loader. {WHERE}",
        native_loras_with_styles,
        draws=start_here,
    ),
    BuildingBlock(
        "native-inpaint-fooocus-engine",
        "KSampler with Fooocus's inpaint engine",
        "Repaints the masked part of an image with ComfyUI's own MODEL in KSampler: Fooocus's inpaint engine, guidance "
        f"and mask handling, on the part of the image around the mask. {WHERE}",
        inpaint_with_the_engine,
        draws=inpaint_step_by_step,
    ),
)
