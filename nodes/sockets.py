"""The socket types of this pack, each with the Python type it carries; other values use ComfyUI's own types."""

MODEL = "FOOOCUS_MODEL"  # pipelines.models.handles.Model
CLIP = "FOOOCUS_CLIP"  # pipelines.models.handles.Clip
VAE = "FOOOCUS_VAE"  # pipelines.models.handles.Vae
LORAS = "FOOOCUS_LORAS"  # tuple[pipelines.types.Lora, ...]
PROMPT = "FOOOCUS_PROMPT"  # pipelines.types.Prompt
INFO = "FOOOCUS_INFO"  # pipelines.models.handles.Info
SETTINGS = "FOOOCUS_SETTINGS"  # pipelines.types.SamplingSettings
REFINER = "FOOOCUS_REFINER"  # pipelines.models.handles.Refiner
CONTROL = "FOOOCUS_CONTROL"  # tuple[pipelines.models.handles.Hint, ...]
CONTROL_NET = "FOOOCUS_CONTROLNET"  # pipelines.models.hints.control_lora.ControlNet
IMAGE_PROMPT = "FOOOCUS_IMAGE_PROMPT_MODEL"  # pipelines.models.hints.ip_adapter.ImagePromptModel
INPAINT = "FOOOCUS_INPAINT"  # pipelines.types.InpaintRegion
UPSCALER = "FOOOCUS_UPSCALER"  # pipelines.models.upscaler.Upscaler

ANY_MODEL = "FOOOCUS_MODEL,MODEL"  # ours, or ComfyUI's own: see Host.adopt
ANY_CLIP = "FOOOCUS_CLIP,CLIP"
ANY_VAE = "FOOOCUS_VAE,VAE"
ANY_REFINER = "FOOOCUS_REFINER,MODEL"
ANY_MASK = "MASK,IMAGE"
LANDMARKS = "STRING,FLOAT"  # ten numbers for each face
ANY_UPSCALER = "FOOOCUS_UPSCALER,UPSCALE_MODEL"


class _Choice(str):
    """A COMBO type that also connects to inputs declared as a list of choices."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, list) and str(self) != other


CHOICE = _Choice("COMBO")  # the text of a choice, which the receiving node validates
