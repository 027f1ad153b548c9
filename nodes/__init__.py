"""The nodes of the pack by id, in menu order. The ids are literal, because tools find nodes by reading the source."""

from .control import FooocusControl, FooocusCpds, FooocusFaceCrop, FooocusLoadControl, FooocusPyraCanny
from .image_prompt import FooocusImagePrompt, FooocusLoadImagePrompt
from .inpaint import (
    FooocusInpaint,
    FooocusInpaintCrop,
    FooocusInpaintEncode,
    FooocusInpaintFill,
    FooocusInpaintModel,
    FooocusInpaintPaste,
    FooocusInpaintPrompt,
)
from .loaders import FooocusApplyLoras, FooocusFreeU, FooocusLoadCheckpoint, FooocusLora, FooocusLoraStack
from .masks import FooocusMaskCombine, FooocusMaskGrow, FooocusMaskInvert, FooocusMaskThreshold, FooocusOutpaintPad
from .output import FooocusSaveImage
from .prompt import FooocusEncodePrompt, FooocusExpandPrompt, FooocusPrompt, FooocusStyles
from .recipe import FooocusPreset, FooocusReadInfo
from .refiner import FooocusLoadRefiner, FooocusRefinerSwitch
from .safety import FooocusSafetyCheck
from .sampling import (
    FooocusAspectRatio,
    FooocusModelPatch,
    FooocusPerformance,
    FooocusSampler,
    FooocusSamplingSettings,
    FooocusScheduler,
    FooocusVaeDecode,
    FooocusVaeEncode,
)
from .upscale import FooocusLoadUpscaler, FooocusUpscale, FooocusUpscaleImage, FooocusUpscaleSize, FooocusVary

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
    "FooocusModelPatch": FooocusModelPatch,
    "FooocusVaeDecode": FooocusVaeDecode,
    "FooocusVaeEncode": FooocusVaeEncode,
    "FooocusVary": FooocusVary,
    "FooocusLoadUpscaler": FooocusLoadUpscaler,
    "FooocusUpscaleImage": FooocusUpscaleImage,
    "FooocusUpscale": FooocusUpscale,
    "FooocusUpscaleSize": FooocusUpscaleSize,
    "FooocusInpaint": FooocusInpaint,
    "FooocusInpaintPrompt": FooocusInpaintPrompt,
    "FooocusInpaintCrop": FooocusInpaintCrop,
    "FooocusInpaintFill": FooocusInpaintFill,
    "FooocusInpaintModel": FooocusInpaintModel,
    "FooocusInpaintEncode": FooocusInpaintEncode,
    "FooocusInpaintPaste": FooocusInpaintPaste,
    "FooocusMaskThreshold": FooocusMaskThreshold,
    "FooocusMaskCombine": FooocusMaskCombine,
    "FooocusMaskGrow": FooocusMaskGrow,
    "FooocusMaskInvert": FooocusMaskInvert,
    "FooocusOutpaintPad": FooocusOutpaintPad,
    "FooocusSafetyCheck": FooocusSafetyCheck,
    "FooocusSaveImage": FooocusSaveImage,
}

NODE_DISPLAY_NAME_MAPPINGS = {node_id: node.schema.display_name for node_id, node in NODE_CLASS_MAPPINGS.items()}
