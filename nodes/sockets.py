"""The sockets that are ours, each beside the type it carries; everything else travels on ComfyUI's own."""

MODEL = "FOOOCUS_MODEL"  # pipelines.types.Model
CLIP = "FOOOCUS_CLIP"  # pipelines.types.Clip
VAE = "FOOOCUS_VAE"  # pipelines.types.Vae
LORAS = "FOOOCUS_LORAS"  # tuple[pipelines.types.Lora, ...]
PROMPT = "FOOOCUS_PROMPT"  # pipelines.types.Prompt
INFO = "FOOOCUS_INFO"  # pipelines.types.Info
SETTINGS = "FOOOCUS_SETTINGS"  # pipelines.types.SamplingSettings

ANY_VAE = "FOOOCUS_VAE,VAE"  # for inputs that only encode or decode
