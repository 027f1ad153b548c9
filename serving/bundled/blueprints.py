"""The subgraph blueprints: bundled modes as single nodes with the inputs that people change."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .catalogue import TEMPLATES
from .graph_builder import ApiGraph
from .modes import graph_of
from .request import TextToImage

PERFORMANCE = "Speed"  # needs no file beside the checkpoint
CATEGORY = "Fooocus"


@dataclass(frozen=True)
class Promoted:
    """An input of the blueprint's node that sets input `input` of the node titled `node` in its graph."""

    name: str
    node: str
    input: str


@dataclass(frozen=True)
class Blueprint:
    """A bundled mode as one node: the name of its template, the words for the library, and its inputs from the top.

    The pictures and masks that the mode loads come first, as sockets: `pictures` names them, (title of the node that
    loads, number of its output) -> name.
    """

    template: str
    title: str
    description: str
    search_aliases: tuple[str, ...]
    inputs: tuple[Promoted, ...]
    pictures: tuple[tuple[tuple[str, int], str], ...] = ()

    @property
    def request(self) -> TextToImage:
        """The request of the mode, with a performance that needs no further file."""
        (template,) = (template for template in TEMPLATES if template.name == self.template)
        return replace(template.request, performance=PERFORMANCE)

    @property
    def graph(self) -> ApiGraph:
        """The graph of the mode, loading and saving included."""
        return graph_of(self.request)


PROMPT = (Promoted("prompt", "Prompt", "text"), Promoted("negative", "Prompt", "negative"))
STYLES = tuple(Promoted(f"style_{number}", "Styles", f"style_{number}") for number in (1, 2, 3))
MODE = Promoted("performance", "Performance", "performance")
SIZE = Promoted("aspect_ratio", "Size", "aspect_ratio")
NUMBER = Promoted("num_images", "Prompt", "num_images")
ENDING = (Promoted("seed", "Prompt", "seed"), Promoted("checkpoint", "Checkpoint", "ckpt_name"))

BLUEPRINTS = (
    Blueprint(
        "text-to-image-speed",
        "Text to Image (Fooocus)",
        "Generates images from a prompt with an SDXL checkpoint, as Fooocus does: styles, prompt expansion, sharpness.",
        ("fooocus", "txt2img", "text to image", "sdxl"),
        (*PROMPT, *STYLES, MODE, SIZE, NUMBER, *ENDING),
    ),
    Blueprint(
        "inpaint",
        "Inpaint (Fooocus)",
        "Repaints the masked part of an image with Fooocus's inpaint engine, improves its detail, or replaces it.",
        ("fooocus", "inpaint", "improve detail", "modify content", "repaint", "fix face", "fix hands"),
        (
            *PROMPT,
            *STYLES,
            MODE,
            Promoted("mode", "Inpaint", "mode"),
            Promoted("erode_or_dilate", "Inpaint", "erode_or_dilate"),
            Promoted("invert_mask", "Inpaint", "invert_mask"),
            *ENDING,
        ),
        ((("Picture to inpaint", 0), "image"), (("Picture to inpaint", 1), "mask")),
    ),
    Blueprint(
        "outpaint-right",
        "Outpaint (Fooocus)",
        "Extends an image by 30 % at each side that is switched on, with Fooocus's inpaint engine.",
        ("fooocus", "outpaint", "extend image", "uncrop", "expand canvas"),
        (
            *PROMPT,
            *STYLES,
            MODE,
            *(Promoted(side, "Inpaint", f"outpaint_{side}") for side in ("left", "top", "right", "bottom")),
            *ENDING,
        ),
        ((("Picture to inpaint", 0), "image"),),
    ),
    Blueprint(
        "vary-subtle",
        "Vary (Fooocus)",
        "Varies an image slightly, strongly, or at a denoise strength of your own with the method custom.",
        ("fooocus", "vary", "variation", "img2img", "image to image"),
        (
            *PROMPT,
            *STYLES,
            MODE,
            Promoted("method", "Vary", "method"),
            Promoted("strength", "Vary", "strength"),
            *ENDING,
        ),
        ((("Picture to vary", 0), "image"),),
    ),
    Blueprint(
        "upscale-2x",
        "Upscale (Fooocus)",
        "Enlarges an image with an upscale network, then adds detail with the model. The method Fast 2x leaves the "
        "model out.",
        ("fooocus", "upscale", "enlarge", "hires fix", "super resolution"),
        (
            *PROMPT,
            *STYLES,
            MODE,
            Promoted("method", "Upscale", "method"),
            Promoted("factor", "Upscale", "factor"),
            Promoted("strength", "Upscale", "strength"),
            *ENDING,
            Promoted("upscaler", "Upscaler", "upscaler_name"),
        ),
        ((("Picture to enlarge", 0), "image"),),
    ),
    Blueprint(
        "image-prompt",
        "Image Prompt (Fooocus)",
        "Generates images that follow a picture beside the prompt, as Fooocus's image prompts do.",
        ("fooocus", "image prompt", "ip-adapter", "ipadapter", "reference image"),
        (
            *PROMPT,
            Promoted("weight", "Image prompt", "weight"),
            Promoted("stop_at", "Image prompt", "stop_at"),
            *STYLES,
            MODE,
            SIZE,
            NUMBER,
            *ENDING,
        ),
        ((("Picture", 0), "image"),),
    ),
)
