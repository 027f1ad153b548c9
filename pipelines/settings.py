"""Fooocus's lists, ranges and presets as plain data (Fooocus modules/flags.py); importing it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLERS = (
    "euler", "euler_ancestral", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive",
    "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu",
    "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "tcd", "restart", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip

SCHEDULERS = (
    "normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "lcm", "turbo", "align_your_steps",
    "tcd", "edm_playground_v2.5",
)  # fmt: skip

ASPECT_RATIOS = (
    "704×1408", "704×1344", "768×1344", "768×1280", "832×1216", "832×1152", "896×1152", "896×1088", "960×1088",
    "960×1024", "1024×1024", "1024×960", "1088×960", "1088×896", "1152×896", "1152×832", "1216×832", "1280×768",
    "1344×768", "1344×704", "1408×704", "1472×704", "1536×640", "1600×640", "1664×576", "1728×576",
)  # fmt: skip
DEFAULT_ASPECT_RATIO = "1152×896"

DEFAULT_CHECKPOINT = "juggernautXL_v8Rundiffusion.safetensors"
DEFAULT_REFINER = "realisticVisionV60B1_v51VAE.safetensors"
DEFAULT_UPSCALER = "fooocus_upscaler_s409985e5.bin"
DEFAULT_CONTROL = "control-lora-canny-rank128.safetensors"
DEFAULT_CPDS = "fooocus_xl_cpds_128.safetensors"
DEFAULT_IMAGE_PROMPT = "ip-adapter-plus_sdxl_vit-h.bin"
DEFAULT_FACE_PROMPT = "ip-adapter-plus-face_sdxl_vit-h.bin"
DEFAULT_CLIP_VISION = "clip_vision_vit_h.safetensors"
DEFAULT_IP_NEGATIVE = "fooocus_ip_negative.safetensors"
DEFAULT_SAFETY_CHECKER = "stable-diffusion-safety-checker.bin"
DEFAULT_VAE = "Default (model)"
AUTO = "auto"
PREDICTIONS = (AUTO, "eps", "v", "v + zero SNR")
POCKET_CHOICE = "pocket"
EXAMPLE_PICTURE = "example.png"  # ComfyUI's input folder comes with one of this name
EXAMPLE_MASK = "example_mask.png"
EXAMPLE_METADATA = "example_metadata.png"
NO_FILE = "None"
NO_STYLE = "None"
CUSTOM_SIZE = "custom"
DEFAULT_STYLES = ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp")
EXPANSION_STYLE = "Fooocus V2"
RANDOM_STYLE = "Random Style"

FORMATS = ("png", "jpeg", "webp")
METADATA_SCHEMES = ("fooocus", "a1111", "none")

CUSTOM = "custom"
VARY_STRENGTHS = {"Vary (Subtle)": 0.5, "Vary (Strong)": 0.85, CUSTOM: None}
UPSCALE_FACTORS = {"Upscale (1.5x)": 1.5, "Upscale (2x)": 2.0, "Upscale (Fast 2x)": 2.0, CUSTOM: None}
FAST_UPSCALES = ("Upscale (Fast 2x)",)

TOGETHER, APART = "fooocus", "ip-adapter"
IMAGE_PROMPT_FORMULAS = (TOGETHER, APART)
MAX_IMAGE_PROMPT_WEIGHT = 2.0
IMAGE_PROMPT_DEFAULTS = {"ImagePrompt": (0.6, 0.5), "FaceSwap": (0.75, 0.9)}  # weight, stop

INPAINT_HEAD = "fooocus_inpaint_head.pth"
INPAINT_PATCHES = {
    "None": "",
    "v1": "inpaint.fooocus.patch",
    "v2.5": "inpaint_v25.fooocus.patch",
    "v2.6": "inpaint_v26.fooocus.patch",
}
DEFAULT_ENGINE = "v2.6"
BLACK_OUT, BLUR, ONLY_REPORT = "black out", "blur", "only report"
POCKET_CHECKER = (
    "the pocket model's safety checker knows one test card and nothing else, and protects nobody: choose "
    f"{DEFAULT_SAFETY_CHECKER}"
)
SAFETY_MODES = (BLACK_OUT, BLUR, ONLY_REPORT)
SIDES = ("left", "top", "right", "bottom")
MASK_COMBINATIONS = ("add", "intersect", "subtract")

MAX_SEED = 2**63 - 1  # of Fooocus
MAX_SEED_OF_PAGE = 2**53 - 1  # a browser rounds larger whole numbers
ROUNDED_MAX_SEED = 9223372036854776000  # MAX_SEED as a browser writes it
MAX_LORAS = 5
SIZE_OF_SDXL = 1024


@dataclass(frozen=True)
class Performance:
    """A performance mode: how many steps, and what the distilled modes force (Fooocus set_lcm_defaults …)."""

    steps: int
    upscale_steps: int
    lora: str = ""
    lora_weight: float = 1.0
    sampler: str = ""
    scheduler: str = ""

    @property
    def distilled(self) -> bool:
        """True for a mode that runs without guidance on a distilled LoRA."""
        return bool(self.lora)


PERFORMANCES = {
    "Quality": Performance(60, 36),
    "Speed": Performance(30, 18),
    "Extreme Speed": Performance(8, 8, "sdxl_lcm_lora.safetensors", 1.0, "lcm", "lcm"),
    "Lightning": Performance(4, 4, "sdxl_lightning_4step_lora.safetensors", 1.0, "euler", "sgm_uniform"),
    "Hyper-SD": Performance(4, 4, "sdxl_hyper_sd_4step_lora.safetensors", 0.8, "dpmpp_sde_gpu", "karras"),
}


@dataclass(frozen=True)
class InpaintMode:
    """The settings of an inpaint mode; `outpaints`: the image may grow (Fooocus webui.py: inpaint_mode_change)."""

    engine: str = DEFAULT_ENGINE
    strength: float = 1.0
    respective_field: float = 0.618
    initial_latent: bool = True
    outpaints: bool = False


INPAINT_MODES = {
    "Inpaint or Outpaint (default)": InpaintMode(outpaints=True),
    "Improve Detail (face, hand, eyes, etc.)": InpaintMode("None", strength=0.5, respective_field=0.0),
    "Modify Content (add objects, change background, etc.)": InpaintMode(respective_field=0.0, initial_latent=False),
}
