"""What a person can place on the canvas: every node id with its class and its title, in menu order."""

from .loaders import FooocusApplyLoras, FooocusFreeU, FooocusLoadCheckpoint, FooocusLora, FooocusLoraStack
from .output import FooocusSaveImage
from .prompt import FooocusEncodePrompt, FooocusExpandPrompt, FooocusPrompt, FooocusStyles
from .recipe import FooocusPreset, FooocusReadInfo
from .sampling import (
    FooocusAspectRatio,
    FooocusPerformance,
    FooocusSampler,
    FooocusSamplingSettings,
    FooocusScheduler,
    FooocusVaeDecode,
    FooocusVaeEncode,
)

NODE_CLASS_MAPPINGS = {
    "FooocusPreset": FooocusPreset,
    "FooocusReadInfo": FooocusReadInfo,
    "FooocusLoadCheckpoint": FooocusLoadCheckpoint,
    "FooocusLora": FooocusLora,
    "FooocusLoraStack": FooocusLoraStack,
    "FooocusApplyLoras": FooocusApplyLoras,
    "FooocusFreeU": FooocusFreeU,
    "FooocusStyles": FooocusStyles,
    "FooocusExpandPrompt": FooocusExpandPrompt,
    "FooocusPrompt": FooocusPrompt,
    "FooocusEncodePrompt": FooocusEncodePrompt,
    "FooocusPerformance": FooocusPerformance,
    "FooocusSamplingSettings": FooocusSamplingSettings,
    "FooocusAspectRatio": FooocusAspectRatio,
    "FooocusScheduler": FooocusScheduler,
    "FooocusSampler": FooocusSampler,
    "FooocusVaeDecode": FooocusVaeDecode,
    "FooocusVaeEncode": FooocusVaeEncode,
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
    "FooocusStyles": "Fooocus Styles",
    "FooocusExpandPrompt": "Fooocus Expand Prompt",
    "FooocusPrompt": "Fooocus Prompt",
    "FooocusEncodePrompt": "Fooocus Encode Prompt",
    "FooocusPerformance": "Fooocus Performance",
    "FooocusSamplingSettings": "Fooocus Sampling Settings",
    "FooocusAspectRatio": "Fooocus Aspect Ratio",
    "FooocusScheduler": "Fooocus Scheduler",
    "FooocusSampler": "Fooocus Sampler",
    "FooocusVaeDecode": "Fooocus VAE Decode",
    "FooocusVaeEncode": "Fooocus VAE Encode",
    "FooocusSaveImage": "Fooocus Save Image",
}
