"""Declarations of ComfyUI's nodes around its own MODEL, for the bundled workflows that need ComfyUI to run."""

from __future__ import annotations

from typing import Any, ClassVar

from ..pipelines.errors import BadValue
from .comfy import current_host
from .inputs import SEED

SAMPLERS = [
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "uni_pc",
    "ddim",
    "lcm",
]
SCHEDULERS = ["simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal"]
SIDE = ("INT", {"default": 512, "min": 16, "max": 16384, "step": 8})
STRENGTH = ("FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01})


class ComfyUINode:
    """A node that only ComfyUI can run; elsewhere its workflow is refused before anything runs."""

    FUNCTION = "run"
    REQUIRED: ClassVar[dict[str, Any]]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": dict(cls.REQUIRED)}

    @classmethod
    def VALIDATE_INPUTS(cls) -> str:
        return cls.sentence()

    @classmethod
    def sentence(cls) -> str:
        """The message for a user who runs it elsewhere."""
        return f"{cls.__name__} is a node of ComfyUI and works on its own models: run this workflow with --comfyui URL"

    def run(self, **_: object) -> tuple[Any, ...]:
        raise BadValue(self.sentence())


class CheckpointLoaderSimple(ComfyUINode):
    DESCRIPTION = "Loads ComfyUI's own MODEL, CLIP and VAE from a checkpoint."
    CATEGORY = "loaders"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"ckpt_name": (current_host().names("checkpoints"),)}}


class LoraLoader(ComfyUINode):
    DESCRIPTION = "Applies a LoRA to ComfyUI's own MODEL and CLIP."
    CATEGORY = "loaders"
    RETURN_TYPES = ("MODEL", "CLIP")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = (current_host().names("loras"),)
        models = {"model": ("MODEL",), "clip": ("CLIP",)}
        return {"required": {**models, "lora_name": names, "strength_model": STRENGTH, "strength_clip": STRENGTH}}


class CLIPTextEncode(ComfyUINode):
    DESCRIPTION = "Encodes a prompt with ComfyUI's own CLIP."
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    REQUIRED: ClassVar[dict[str, Any]] = {
        "text": ("STRING", {"default": "", "multiline": True, "dynamicPrompts": True}),
        "clip": ("CLIP",),
    }


class EmptyLatentImage(ComfyUINode):
    DESCRIPTION = "Creates an empty latent."
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    REQUIRED: ClassVar[dict[str, Any]] = {
        "width": SIDE,
        "height": SIDE,
        "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
    }


class KSampler(ComfyUINode):
    DESCRIPTION = "ComfyUI's sampler."
    CATEGORY = "sampling"
    RETURN_TYPES = ("LATENT",)
    REQUIRED: ClassVar[dict[str, Any]] = {
        "model": ("MODEL",),
        "seed": ("INT", {"default": 0, "min": 0, "max": SEED.max, "control_after_generate": True}),
        "steps": ("INT", {"default": 20, "min": 1, "max": 10000}),
        "cfg": ("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}),
        "sampler_name": (SAMPLERS,),
        "scheduler": (SCHEDULERS,),
        "positive": ("CONDITIONING",),
        "negative": ("CONDITIONING",),
        "latent_image": ("LATENT",),
        "denoise": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
    }


class VAEDecode(ComfyUINode):
    DESCRIPTION = "Decodes a latent with ComfyUI's own VAE."
    CATEGORY = "latent"
    RETURN_TYPES = ("IMAGE",)
    REQUIRED: ClassVar[dict[str, Any]] = {"samples": ("LATENT",), "vae": ("VAE",)}


COMFYUI_NODES: dict[str, type[Any]] = {
    "CheckpointLoaderSimple": CheckpointLoaderSimple,
    "LoraLoader": LoraLoader,
    "CLIPTextEncode": CLIPTextEncode,
    "EmptyLatentImage": EmptyLatentImage,
    "KSampler": KSampler,
    "VAEDecode": VAEDecode,
}
