"""What a person can place on the canvas: every node id with its class and its title, in menu order."""

from .control import FooocusControl, FooocusCpds, FooocusFaceCrop, FooocusLoadControl, FooocusPyraCanny
from .image_prompt import FooocusImagePrompt, FooocusLoadImagePrompt
from .loaders import FooocusApplyLoras, FooocusFreeU, FooocusLoadCheckpoint, FooocusLora, FooocusLoraStack
from .output import FooocusSaveImage
from .prompt import FooocusEncodePrompt, FooocusExpandPrompt, FooocusPrompt, FooocusStyles
from .recipe import FooocusPreset, FooocusReadInfo
from .refiner import FooocusLoadRefiner, FooocusRefinerSwitch
from .sampling import (
    FooocusAspectRatio,
    FooocusPerformance,
    FooocusSampler,
    FooocusSamplingSettings,
    FooocusScheduler,
    FooocusVaeDecode,
    FooocusVaeEncode,
)
from .upscale import FooocusLoadUpscaler, FooocusUpscale, FooocusUpscaleImage, FooocusVary

NODE_CLASS_MAPPINGS = {
    "FooocusPreset": FooocusPreset,
    "FooocusReadInfo": FooocusReadInfo,
    "FooocusLoadCheckpoint": FooocusLoadCheckpoint,
    "FooocusLora": FooocusLora,
    "FooocusLoraStack": FooocusLoraStack,
    "FooocusApplyLoras": FooocusApplyLoras,
    "FooocusFreeU": FooocusFreeU,
    "FooocusLoadRefiner": FooocusLoadRefiner,
    "FooocusRefinerSwitch": FooocusRefinerSwitch,
    "FooocusStyles": FooocusStyles,
    "FooocusExpandPrompt": FooocusExpandPrompt,
    "FooocusPrompt": FooocusPrompt,
    "FooocusEncodePrompt": FooocusEncodePrompt,
    "FooocusPyraCanny": FooocusPyraCanny,
    "FooocusCpds": FooocusCpds,
    "FooocusFaceCrop": FooocusFaceCrop,
    "FooocusLoadControl": FooocusLoadControl,
    "FooocusControl": FooocusControl,
    "FooocusLoadImagePrompt": FooocusLoadImagePrompt,
    "FooocusImagePrompt": FooocusImagePrompt,
    "FooocusPerformance": FooocusPerformance,
    "FooocusSamplingSettings": FooocusSamplingSettings,
    "FooocusAspectRatio": FooocusAspectRatio,
    "FooocusScheduler": FooocusScheduler,
    "FooocusSampler": FooocusSampler,
    "FooocusVaeDecode": FooocusVaeDecode,
    "FooocusVaeEncode": FooocusVaeEncode,
    "FooocusVary": FooocusVary,
    "FooocusLoadUpscaler": FooocusLoadUpscaler,
    "FooocusUpscaleImage": FooocusUpscaleImage,
    "FooocusUpscale": FooocusUpscale,
    "FooocusSaveImage": FooocusSaveImage,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "FooocusPreset": "Fooocus Preset",
    "FooocusReadInfo": "Fooocus Read Info",
    "FooocusLoadCheckpoint": "Fooocus Load Checkpoint",
    "FooocusLora": "Fooocus LoRA",
    "FooocusLoraStack": "Fooocus LoRA Stack",
    "FooocusApplyLoras": "Fooocus Apply LoRAs",
    "FooocusFreeU": "Fooocus FreeU",
    "FooocusLoadRefiner": "Fooocus Load Refiner",
    "FooocusRefinerSwitch": "Fooocus Refiner Switch",
    "FooocusStyles": "Fooocus Styles",
    "FooocusExpandPrompt": "Fooocus Expand Prompt",
    "FooocusPrompt": "Fooocus Prompt",
    "FooocusEncodePrompt": "Fooocus Encode Prompt",
    "FooocusPyraCanny": "Fooocus PyraCanny",
    "FooocusCpds": "Fooocus CPDS",
    "FooocusFaceCrop": "Fooocus Face Crop",
    "FooocusLoadControl": "Fooocus Load Control",
    "FooocusControl": "Fooocus Control",
    "FooocusLoadImagePrompt": "Fooocus Load Image Prompt",
    "FooocusImagePrompt": "Fooocus Image Prompt",
    "FooocusPerformance": "Fooocus Performance",
    "FooocusSamplingSettings": "Fooocus Sampling Settings",
    "FooocusAspectRatio": "Fooocus Aspect Ratio",
    "FooocusScheduler": "Fooocus Scheduler",
    "FooocusSampler": "Fooocus Sampler",
    "FooocusVaeDecode": "Fooocus VAE Decode",
    "FooocusVaeEncode": "Fooocus VAE Encode",
    "FooocusVary": "Fooocus Vary",
    "FooocusLoadUpscaler": "Fooocus Load Upscaler",
    "FooocusUpscaleImage": "Fooocus Upscale Image",
    "FooocusUpscale": "Fooocus Upscale",
    "FooocusSaveImage": "Fooocus Save Image",
}
