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
        "Eight LCM steps without guidance: the hosted endpoint's defaults.",
        TextToImage(PROMPT),
    ),
    Template(
        "B02",
        "text-to-image-lightning",
        "Text to image, Lightning",
        "Four steps with the Lightning LoRA, without guidance.",
        TextToImage(PROMPT, performance="Lightning"),
    ),
    Template(
        "B03",
        "text-to-image-speed",
        "Text to image, Speed",
        "Thirty steps; guidance, sharpness and the negative prompt count.",
        TextToImage(PROMPT, performance="Speed"),
    ),
    Template(
        "B04",
        "text-to-image-quality",
        "Text to image, Quality",
        "Sixty steps; guidance, sharpness and the negative prompt count.",
        TextToImage(PROMPT, performance="Quality"),
    ),
    Template(
        "B05",
        "text-to-image-refiner",
        "Text to image with an SD 1.5 refiner",
        "The base draws two fifths of the steps; the refiner finishes on latents of its own.",
        TextToImage(PROMPT, performance="Speed", refiner=DEFAULT_REFINER, refiner_switch=0.4),
    ),
    Template(
        "B06",
        "text-to-image-five-loras",
        "Text to image, five LoRAs",
        "A stack of five LoRAs, each with its weight.",
        TextToImage(PROMPT, loras=FIVE_LORAS),
    ),
    Template(
        "B07",
        "text-to-image-styles-only",
        "Text to image, styles without expansion",
        "Styles are applied, and the prompt is not expanded.",
        TextToImage(PROMPT, styles=DEFAULT_STYLES[1:]),
    ),
    Template(
        "B08",
        "text-to-image-no-styles",
        "Text to image, no styles",
        "The prompt as it is: no styles, no expansion.",
        TextToImage(PROMPT, styles=()),
    ),
    Template(
        "B09",
        "text-to-image-four-images",
        "Text to image, four images",
        "Four pictures from four seeds in a row.",
        TextToImage(PROMPT, num_images=4, seed=176400),
    ),
    Template(
        "B10",
        "control-pyracanny",
        "Control image: PyraCanny",
        "The outlines of a picture are kept.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "B11",
        "control-cpds",
        "Control image: CPDS",
        "The structure of a picture is kept, light and dark.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["CPDS"],)),
    ),
    Template(
        "B12",
        "control-image-prompt",
        "Control image: ImagePrompt",
        "A picture is read beside the prompt, to the end of the run.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "B13",
        "control-face-swap",
        "Control image: FaceSwap",
        "The face of a picture is read beside the prompt, to the end of the run.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["FaceSwap"],)),
    ),
    Template(
        "B14",
        "control-inpaint",
        "Inpaint with a mask",
        "What is white in the mask, a picture of its own, is painted anew.",
        Inpaint(PROMPT, mask=EXAMPLE_MASK),
    ),
    Template(
        "B15",
        "control-inpaint-mixed",
        "Inpaint with a control image",
        "What is white in the mask, a picture of its own, is painted anew beside a control image.",
        Inpaint(PROMPT, mask=EXAMPLE_MASK, image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "P01",
        "image-prompt",
        "Image prompt",
        "A picture is read beside the prompt during the first half of the run.",
        TextToImage(PROMPT, image_prompts=(SLOT["ImagePrompt"],)),
    ),
    Template(
        "P02",
        "image-prompt-pyracanny",
        "Image prompt slot: PyraCanny",
        "The outlines of a picture are kept, to the end of the run.",
        TextToImage(PROMPT, image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "P03",
        "image-prompt-cpds",
        "Image prompt slot: CPDS",
        "The structure of a picture is kept during the first half of the run.",
        TextToImage(PROMPT, image_prompts=(SLOT["CPDS"],)),
    ),
    Template(
        "P04",
        "image-prompt-face-swap",
        "Image prompt slot: FaceSwap",
        "The face of a picture is read beside the prompt during the first half of the run.",
        TextToImage(PROMPT, image_prompts=(SLOT["FaceSwap"],)),
    ),
    Template(
        "P05",
        "image-prompt-four-kinds",
        "Image prompt, one of each type",
        "Outlines, structure, a picture and a face together.",
        TextToImage(PROMPT, image_prompts=tuple(SLOT.values())),
    ),
    Template(
        "P06",
        "image-prompt-blend",
        "Image prompts blended",
        "Several pictures are read beside the prompt; their weights mix them.",
        TextToImage(PROMPT, image_prompts=(SLOT["ImagePrompt"],) * 2),
    ),
    Template(
        "P07",
        "image-prompt-alone",
        "Image prompt without a text",
        "The picture says it all: the prompt is empty and is not expanded.",
        TextToImage(image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "P08",
        "image-prompt-inpaint",
        "Image prompt with inpaint",
        "What the mask covers is painted anew beside an image prompt.",
        Inpaint(PROMPT, image_prompts=(SLOT["ImagePrompt"],)),
    ),
    Template(
        "P09",
        "image-prompt-improve-detail",
        "Face with Improve Detail",
        "A face is read beside the prompt while the masked part is drawn over.",
        Inpaint(PROMPT, mode=DETAIL, additional_prompt=DETAIL_PROMPT, image_prompts=(SLOT["FaceSwap"],)),
    ),
    Template(
        "P10",
        "image-prompt-modify-content",
        "Image prompt with Modify Content",
        "The masked part is painted from nothing beside an image prompt.",
        Inpaint(PROMPT, mode=MODIFY, additional_prompt=PROMPT, image_prompts=(SLOT["ImagePrompt"],)),
    ),
    Template(
        "P11",
        "image-prompt-outpaint",
        "Image prompt with outpaint",
        "A picture is continued to the right beside an image prompt.",
        Inpaint(PROMPT, mask=NO_MASK, outpaint=("right",), image_prompts=(SLOT["ImagePrompt"],)),
    ),
    Template(
        "P12",
        "image-prompt-vary-subtle",
        "Image prompt with Vary (Subtle)",
        "Half of a picture is drawn anew beside an image prompt.",
        UpscaleOrVary(PROMPT, method="Vary (Subtle)", image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "P13",
        "image-prompt-vary-strong",
        "Image prompt with Vary (Strong)",
        "Most of a picture is drawn anew beside an image prompt.",
        UpscaleOrVary(PROMPT, method="Vary (Strong)", image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "P14",
        "image-prompt-upscale-1.5x",
        "Image prompt with Upscale (1.5x)",
        "A picture is enlarged, and its details are drawn over beside an image prompt.",
        UpscaleOrVary(PROMPT, method="Upscale (1.5x)", image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template(
        "P15",
        "image-prompt-upscale-2x",
        "Image prompt with Upscale (2x)",
        "A picture is enlarged, and its details are drawn over beside an image prompt.",
        UpscaleOrVary(PROMPT, method="Upscale (2x)", image_prompts=(CONTROL_IMAGE["ImagePrompt"],)),
    ),
    Template("I01", "inpaint", "Inpaint", "What the mask covers is painted anew.", Inpaint(PROMPT)),
    *(
        Template(
            f"I0{number}",
            f"outpaint-{side}",
            f"Outpaint: {side}",
            f"The picture grows by three tenths ({side}).",
            Inpaint(PROMPT, mask=NO_MASK, outpaint=(side,)),
        )
        for number, side in enumerate(("left", "right", "top", "bottom"), start=2)
    ),
    Template(
        "I06",
        "outpaint-all-sides",
        "Outpaint: all sides",
        "The picture grows on all four sides.",
        Inpaint(PROMPT, mask=NO_MASK, outpaint=SIDES),
    ),
    Template(
        "I07",
        "inpaint-and-outpaint",
        "Inpaint and outpaint",
        "What the mask covers is painted anew, and the picture grows to the left.",
        Inpaint(PROMPT, outpaint=("left",)),
    ),
    Template(
        "I08",
        "inpaint-improve-detail",
        "Inpaint: Improve Detail",
        "The masked part is drawn over at half strength, without an engine.",
        Inpaint(PROMPT, mode=DETAIL, additional_prompt=DETAIL_PROMPT),
    ),
    Template(
        "I09",
        "inpaint-modify-content",
        "Inpaint: Modify Content",
        "The masked part is painted from nothing.",
        Inpaint(PROMPT, mode=MODIFY, additional_prompt=PROMPT),
    ),
    Template(
        "I10",
        "inpaint-engine-none",
        "Inpaint without an engine",
        "The model paints as it is, with no head and no patch.",
        Inpaint(PROMPT, options=InpaintOptions(engine="None")),
    ),
    *(
        Template(
            f"I{number}",
            f"inpaint-engine-{engine}",
            f"Inpaint with engine {engine}",
            "Another of the three inpaint patches.",
            Inpaint(PROMPT, options=InpaintOptions(engine=engine)),
        )
        for number, engine in enumerate(("v1", "v2.5", "v2.6"), start=11)
    ),
    Template(
        "I14",
        "inpaint-strength-and-field",
        "Inpaint with a strength and a field of one's own",
        "Below a strength of 0.99 the hole is not filled before; the field says how much around it is seen.",
        Inpaint(PROMPT, options=InpaintOptions(strength=0.8, respective_field=0.3)),
    ),
    Template(
        "I15",
        "inpaint-from-nothing",
        "Inpaint without the initial latent",
        "The masked part begins from noise alone.",
        Inpaint(PROMPT, options=InpaintOptions(disable_initial_latent=True)),
    ),
    Template(
        "I16",
        "inpaint-grown-mask",
        "Inpaint with a grown mask",
        "The mask is grown by four pixels first; below 0 it would shrink.",
        Inpaint(PROMPT, erode_or_dilate=4),
    ),
    Template(
        "I17",
        "inpaint-inverted-mask",
        "Inpaint with an inverted mask",
        "What the mask leaves out is painted anew.",
        Inpaint(PROMPT, invert_mask=True),
    ),
    Template(
        "I18",
        "inpaint-image-prompt",
        "Inpaint mixed with image prompts",
        "What the mask covers is painted anew beside outlines and a picture.",
        Inpaint(PROMPT, image_prompts=(SLOT["PyraCanny"], SLOT["ImagePrompt"])),
    ),
    Template(
        "I19",
        "inpaint-refiner",
        "Inpaint with an SD 1.5 refiner",
        "The base begins the masked part, the refiner finishes it on latents of its own.",
        Inpaint(PROMPT, performance="Speed", refiner=DEFAULT_REFINER),
    ),
    Template(
        "U01",
        "vary-subtle",
        "Vary (Subtle)",
        "Half of the picture is drawn anew.",
        UpscaleOrVary(PROMPT, method="Vary (Subtle)"),
    ),
    Template(
        "U02",
        "vary-strong",
        "Vary (Strong)",
        "Most of the picture is drawn anew: the hosted endpoint's default.",
        UpscaleOrVary(PROMPT),
    ),
    Template(
        "U03",
        "upscale-1.5x",
        "Upscale (1.5x)",
        "The network enlarges, and the model draws the details over, in tiles.",
        UpscaleOrVary(PROMPT, method="Upscale (1.5x)"),
    ),
    Template(
        "U04",
        "upscale-2x",
        "Upscale (2x)",
        "The network enlarges, and the model draws the details over, in tiles.",
        UpscaleOrVary(PROMPT, method="Upscale (2x)"),
    ),
    Template(
        "U05",
        "upscale-fast-2x",
        "Upscale (Fast 2x)",
        "The network alone: no checkpoint, no prompt, nothing drawn anew.",
        UpscaleOrVary(PROMPT, method="Upscale (Fast 2x)"),
    ),
    Template(
        "U07",
        "vary-image-prompt",
        "Vary with a control image",
        "A picture is drawn anew, and its outlines are kept.",
        UpscaleOrVary(PROMPT, image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "U08",
        "upscale-image-prompt",
        "Upscale with a control image",
        "A picture is enlarged, and its outlines are kept while the details are drawn over.",
        UpscaleOrVary(PROMPT, method="Upscale (2x)", image_prompts=(CONTROL_IMAGE["PyraCanny"],)),
    ),
    Template(
        "U09",
        "vary-refiner",
        "Vary with an SD 1.5 refiner",
        "At this strength only one of the two models runs; here it is the refiner.",
        UpscaleOrVary(PROMPT, method="Vary (Subtle)", performance="Speed", refiner=DEFAULT_REFINER, refiner_switch=0.4),
    ),
)
