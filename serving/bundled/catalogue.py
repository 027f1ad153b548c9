"""The bundled workflows: one request for each mode of the endpoints' matrix, with words for the list and the note."""

from __future__ import annotations

from dataclasses import dataclass

from ...pipelines.settings import DEFAULT_REFINER, DEFAULT_STYLES, EXAMPLE_MASK, INPAINT_MODES, SIDES
from ...pipelines.types import Lora
from .graph_builder import ApiGraph
from .modes import graph_of
from .request import NO_MASK, OFFSET_LORA, ImagePrompt, Inpaint, InpaintOptions, TextToImage, UpscaleOrVary

PROMPT = "a large red circle on a yellow background"
DETAIL_PROMPT = "a red circle"

# The base endpoint's control image acts to the end; the slots of the image-prompt endpoint half as long.
CONTROL_IMAGE = {kind: ImagePrompt(kind, 1.0, 1.0) for kind in ("PyraCanny", "CPDS", "ImagePrompt", "FaceSwap")}
SLOT = {kind: ImagePrompt(kind, 1.0, 0.5) for kind in CONTROL_IMAGE}
DEFAULT_MODE, DETAIL, MODIFY = INPAINT_MODES


@dataclass(frozen=True)
class Template:
    """One bundled workflow: its mode in the endpoints' matrix, file stem, and words for the list and the note."""

    mode: str
    name: str
    title: str
    description: str
    request: TextToImage

    @property
    def graph(self) -> ApiGraph:
        return graph_of(self.request)

    @property
    def drawn(self) -> ApiGraph:
        """The workflow whose images its thumbnail shows."""
        return self.graph


FIVE_LORAS = (
    OFFSET_LORA,
    Lora("SDXL_FILM_PHOTOGRAPHY_STYLE_V1.safetensors", 0.25),
    Lora("sd_xl_offset_example-lora_1.0.safetensors", 0.2),
    Lora("SDXL_FILM_PHOTOGRAPHY_STYLE_V1.safetensors", 0.15),
    Lora("sd_xl_offset_example-lora_1.0.safetensors", -0.1),
)

TEMPLATES = (
    Template(
        "B01",
        "text-to-image-extreme-speed",
        "Text to image, Extreme Speed",
        "Generates an image in eight LCM steps without guidance: the default of the hosted endpoint.",
        TextToImage(PROMPT),
    ),
    Template(
        "B02",
        "text-to-image-lightning",
        "Text to image, Lightning",
        "Generates an image in four steps with the Lightning LoRA, without guidance.",
        TextToImage(PROMPT, performance="Lightning"),
    ),
    Template(
        "B03",
        "text-to-image-speed",
        "Text to image, Speed",
        "Generates an image in 30 steps with guidance, sharpness and a negative prompt.",
        TextToImage(PROMPT, performance="Speed"),
    ),
    Template(
        "B04",
        "text-to-image-quality",
        "Text to image, Quality",
        "Generates an image in 60 steps with guidance, sharpness and a negative prompt.",
        TextToImage(PROMPT, performance="Quality"),
    ),
    Template(
        "B05",
        "text-to-image-refiner",
        "Text to image with an SD 1.5 refiner",
        "The base model runs the first 40 % of the steps. An SD 1.5 refiner finishes the image in its latent space.",
        TextToImage(PROMPT, performance="Speed", refiner=DEFAULT_REFINER, refiner_switch=0.4),
    ),
    Template(
        "B06",
        "text-to-image-five-loras",
        "Text to image, five LoRAs",
        "Applies five LoRAs, each with its own weight.",
        TextToImage(PROMPT, loras=FIVE_LORAS),
    ),
    Template(
        "B07",
        "text-to-image-styles-only",
        "Text to image, styles without expansion",
        "Applies styles without expanding the prompt.",
        TextToImage(PROMPT, styles=DEFAULT_STYLES[1:]),
    ),
    Template(
        "B08",
        "text-to-image-no-styles",
        "Text to image, no styles",
        "Uses the prompt as it is: no styles, no expansion.",
        TextToImage(PROMPT, styles=()),
    ),
    Template(
        "B09",
        "text-to-image-four-images",
        "Text to image, four images",
        "Generates four images from four consecutive seeds.",
        TextToImage(PROMPT, num_images=4, seed=176400),
    ),
    Template(
        "B10",
        "control-pyracanny",
        "Control image: PyraCanny",
        "Keeps the outlines of an image during all steps.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "B11",
        "control-cpds",
        "Control image: CPDS",
        "Keeps the structure of an image, light and dark, during all steps.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["CPDS"],)),
    ),
    Template(
        "B12",
        "control-image-prompt",
        "Control image: ImagePrompt",
        "Follows an image beside the prompt during all steps.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "B13",
        "control-face-swap",
        "Control image: FaceSwap",
        "Follows a face beside the prompt during all steps.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["FaceSwap"],)),
    ),
    Template(
        "B14",
        "control-inpaint",
        "Inpaint with a mask",
        "Repaints the white part of a mask that comes from a file of its own.",
        Inpaint(PROMPT, mask=EXAMPLE_MASK),
    ),
    Template(
        "B15",
        "control-inpaint-mixed",
        "Inpaint with a control image",
        "Repaints the white part of a mask file while the outlines of a control image are kept.",
        Inpaint(PROMPT, mask=EXAMPLE_MASK, image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "P01",
        "image-prompt",
        "Image prompt",
        "Follows an image beside the prompt during the first half of the steps.",
        TextToImage(PROMPT, image_prompts=(SLOT["ImagePrompt"],)),
    ),
    Template(
        "P02",
        "image-prompt-pyracanny",
        "Image prompt slot: PyraCanny",
        "Keeps the outlines of an image during all steps.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "P03",
        "image-prompt-cpds",
        "Image prompt slot: CPDS",
        "Keeps the structure of an image during the first half of the steps.",
        TextToImage(PROMPT, image_prompts=(SLOT["CPDS"],)),
    ),
    Template(
        "P04",
        "image-prompt-face-swap",
        "Image prompt slot: FaceSwap",
        "Follows a face beside the prompt during the first half of the steps.",
        TextToImage(PROMPT, image_prompts=(SLOT["FaceSwap"],)),
    ),
    Template(
        "P05",
        "image-prompt-four-kinds",
        "Image prompt, one of each type",
        "Combines outlines, structure, an image prompt and a face.",
        TextToImage(PROMPT, image_prompts=tuple(SLOT.values())),
    ),
    Template(
        "P06",
        "image-prompt-blend",
        "Image prompts blended",
        "Blends two images beside the prompt by their weights.",
        TextToImage(PROMPT, image_prompts=(SLOT["ImagePrompt"],) * 2),
    ),
    Template(
        "P07",
        "image-prompt-alone",
        "Image prompt without text",
        "Generates an image from an image prompt alone, with an empty prompt.",
        TextToImage(image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "P08",
        "image-prompt-inpaint",
        "Image prompt with inpaint",
        "Repaints the masked part and follows an image prompt.",
        Inpaint(PROMPT, image_prompts=(SLOT["ImagePrompt"],)),
    ),
    Template(
        "P09",
        "image-prompt-improve-detail",
        "Face with Improve Detail",
        "Improves the masked part and follows a face.",
        Inpaint(PROMPT, mode=DETAIL, additional_prompt=DETAIL_PROMPT, image_prompts=(SLOT["FaceSwap"],)),
    ),
    Template(
        "P10",
        "image-prompt-modify-content",
        "Image prompt with Modify Content",
        "Replaces the masked part with new content and follows an image prompt.",
        Inpaint(PROMPT, mode=MODIFY, additional_prompt=PROMPT, image_prompts=(SLOT["ImagePrompt"],)),
    ),
    Template(
        "P11",
        "image-prompt-outpaint",
        "Image prompt with outpaint",
        "Extends an image to the right and follows an image prompt.",
        Inpaint(PROMPT, mask=NO_MASK, outpaint=("right",), image_prompts=(SLOT["ImagePrompt"],)),
    ),
    Template(
        "P12",
        "image-prompt-vary-subtle",
        "Image prompt with Vary (Subtle)",
        "Varies an image slightly and follows an image prompt.",
        UpscaleOrVary(PROMPT, method="Vary (Subtle)", image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "P13",
        "image-prompt-vary-strong",
        "Image prompt with Vary (Strong)",
        "Varies an image strongly and follows an image prompt.",
        UpscaleOrVary(PROMPT, method="Vary (Strong)", image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "P14",
        "image-prompt-upscale-1.5x",
        "Image prompt with Upscale (1.5x)",
        "Enlarges an image, adds detail and follows an image prompt.",
        UpscaleOrVary(PROMPT, method="Upscale (1.5x)", image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "P15",
        "image-prompt-upscale-2x",
        "Image prompt with Upscale (2x)",
        "Enlarges an image, adds detail and follows an image prompt.",
        UpscaleOrVary(PROMPT, method="Upscale (2x)", image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template("I01", "inpaint", "Inpaint", "Repaints the masked part of an image.", Inpaint(PROMPT)),
    *(
        Template(
            f"I0{number}",
            f"outpaint-{side}",
            f"Outpaint: {side}",
            f"Extends the image by 30 % at this side: {side}.",
            Inpaint(PROMPT, mask=NO_MASK, outpaint=(side,)),
        )
        for number, side in enumerate(("left", "right", "top", "bottom"), start=2)
    ),
    Template(
        "I06",
        "outpaint-all-sides",
        "Outpaint: all sides",
        "Extends the image at all four sides.",
        Inpaint(PROMPT, mask=NO_MASK, outpaint=SIDES),
    ),
    Template(
        "I07",
        "inpaint-and-outpaint",
        "Inpaint and outpaint",
        "Repaints the masked part of an image and extends it to the left.",
        Inpaint(PROMPT, outpaint=("left",)),
    ),
    Template(
        "I08",
        "inpaint-improve-detail",
        "Inpaint: Improve Detail",
        "Improves the masked part at half denoise strength, without an inpaint engine: for faces, hands and eyes.",
        Inpaint(PROMPT, mode=DETAIL, additional_prompt=DETAIL_PROMPT),
    ),
    Template(
        "I09",
        "inpaint-modify-content",
        "Inpaint: Modify Content",
        "Replaces the masked part with new content.",
        Inpaint(PROMPT, mode=MODIFY, additional_prompt=PROMPT),
    ),
    Template(
        "I10",
        "inpaint-engine-none",
        "Inpaint without an engine",
        "Repaints the masked part with the unpatched model.",
        Inpaint(PROMPT, options=InpaintOptions(engine="None")),
    ),
    *(
        Template(
            f"I{number}",
            f"inpaint-engine-{engine}",
            f"Inpaint with engine {engine}",
            "Repaints the masked part with this version of Fooocus's inpaint patch.",
            Inpaint(PROMPT, options=InpaintOptions(engine=engine)),
        )
        for number, engine in enumerate(("v1", "v2.5", "v2.6"), start=11)
    ),
    Template(
        "I14",
        "inpaint-strength-and-field",
        "Inpaint with custom strength and field",
        "Sets the denoise strength and the respective field, which controls how much of the surroundings the model "
        "sees. Below a strength of 0.99 the masked part is not filled first.",
        Inpaint(PROMPT, options=InpaintOptions(strength=0.8, respective_field=0.3)),
    ),
    Template(
        "I15",
        "inpaint-from-nothing",
        "Inpaint without the initial latent",
        "Repaints the masked part from noise alone.",
        Inpaint(PROMPT, options=InpaintOptions(disable_initial_latent=True)),
    ),
    Template(
        "I16",
        "inpaint-grown-mask",
        "Inpaint with a grown mask",
        "Grows the mask by four pixels before repainting. Negative values shrink it.",
        Inpaint(PROMPT, erode_or_dilate=4),
    ),
    Template(
        "I17",
        "inpaint-inverted-mask",
        "Inpaint with an inverted mask",
        "Repaints everything outside the mask.",
        Inpaint(PROMPT, invert_mask=True),
    ),
    Template(
        "I18",
        "inpaint-image-prompt",
        "Inpaint mixed with image prompts",
        "Repaints the masked part and follows the outlines of one image and the content of another.",
        Inpaint(PROMPT, image_prompts=(SLOT["PyraCanny"], SLOT["ImagePrompt"])),
    ),
    Template(
        "I19",
        "inpaint-refiner",
        "Inpaint with an SD 1.5 refiner",
        "The base model begins the masked part, and an SD 1.5 refiner finishes it in its own latent space.",
        Inpaint(PROMPT, performance="Speed", refiner=DEFAULT_REFINER),
    ),
    Template(
        "U01",
        "vary-subtle",
        "Vary (Subtle)",
        "Varies an image slightly: denoise strength 0.5.",
        UpscaleOrVary(PROMPT, method="Vary (Subtle)"),
    ),
    Template(
        "U02",
        "vary-strong",
        "Vary (Strong)",
        "Varies an image strongly, denoise strength 0.85: the default of the hosted endpoint.",
        UpscaleOrVary(PROMPT),
    ),
    Template(
        "U03",
        "upscale-1.5x",
        "Upscale (1.5x)",
        "Enlarges an image with an upscale network, then adds detail with the model.",
        UpscaleOrVary(PROMPT, method="Upscale (1.5x)"),
    ),
    Template(
        "U04",
        "upscale-2x",
        "Upscale (2x)",
        "Enlarges an image with an upscale network, then adds detail with the model.",
        UpscaleOrVary(PROMPT, method="Upscale (2x)"),
    ),
    Template(
        "U05",
        "upscale-fast-2x",
        "Upscale (Fast 2x)",
        "Enlarges an image with the upscale network alone: no checkpoint and no prompt.",
        UpscaleOrVary(PROMPT, method="Upscale (Fast 2x)"),
    ),
    Template(
        "U07",
        "vary-image-prompt",
        "Vary with a control image",
        "Varies an image strongly and keeps its outlines.",
        UpscaleOrVary(PROMPT, image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "U08",
        "upscale-image-prompt",
        "Upscale with a control image",
        "Enlarges an image and keeps its outlines while detail is added.",
        UpscaleOrVary(PROMPT, method="Upscale (2x)", image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "U09",
        "vary-refiner",
        "Vary with an SD 1.5 refiner",
        "Varies an image with the refiner alone: below the switch only the refiner runs.",
        UpscaleOrVary(PROMPT, method="Vary (Subtle)", performance="Speed", refiner=DEFAULT_REFINER, refiner_switch=0.4),
    ),
)
