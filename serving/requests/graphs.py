"""The workflow of a request: the same nodes as those of the bundled workflows, as a pure function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...pipelines.assets.catalogue import catalogue
from ...pipelines.errors import BadValue
from ...pipelines.settings import BLACK_OUT, FAST_UPSCALES, INPAINT_MODES, NO_FILE, PERFORMANCES, InpaintMode
from ...pipelines.types import Lora
from ..bundled import modes
from ..bundled.graph_builder import ApiGraph
from ..bundled.request import NO_MASK, OWN_MASK, ImagePrompt, Inpaint, InpaintOptions, TextToImage, UpscaleOrVary
from . import models
from .endpoints import Request
from .fields import OWN_MASK_SUFFIX, is_data, is_fetched

Kind = Literal["image", "lora"]
Files = Mapping[str, str]
"""The address of each picture and LoRA -> the name of its file in the workflow. Names of files stand for themselves."""
DISABLED = "Disabled"
SAVE, CHECKER = "FooocusSaveImage", "FooocusSafetyCheck"


@dataclass(frozen=True)
class InputUrl:
    """An address that a request names, and the place of its field in the body."""

    value: str
    kind: Kind
    loc: tuple[str | int, ...]


@dataclass(frozen=True)
class Slot:
    """A picture beside the prompt, and the place of its address in the body."""

    loc: tuple[str, ...]
    image: str
    prompt: ImagePrompt


@dataclass(frozen=True)
class Plan:
    """The parts of a request that run: what is inpainted, what is varied or enlarged, and what goes beside the prompt.

    `inpaint` and `mask`: addresses, '' for none. `picture`: the address of what `method` varies or enlarges.
    """

    slots: tuple[Slot, ...] = ()
    inpaint: str = ""
    mask: str = ""
    sides: tuple[str, ...] = ()
    picture: str = ""
    method: str = DISABLED

    @property
    def samples(self) -> bool:
        """False where the picture is enlarged by a network alone, so that no prompt and no model is used."""
        return self.method not in FAST_UPSCALES

    @property
    def masks_itself(self) -> bool:
        """True where the mask is the transparent part of the picture."""
        return bool(self.mask) and self.mask == self.inpaint + OWN_MASK_SUFFIX


def graph_of(request: Request, files: Files, checker: str = NO_FILE) -> ApiGraph:
    """The workflow of a request in API form.

    `files` must have each address of `urls_of(request)`. `checker`: the file of the safety checker, with which a
    request that asks for it is checked before its images are saved; 'None' where there is none. A request without a
    seed has seed 0: see `with_seed`.
    """
    graph = modes.graph_of(mode_request(request, files))
    return checked(graph, checker) if checker != NO_FILE and request.input.enable_safety_checker else graph


def urls_of(request: Request) -> tuple[InputUrl, ...]:
    """The addresses of the files that the workflow of a request needs: URLs and data URIs, each once.

    The published LoRAs are left out, which are looked for among the files that are there.
    """
    found: dict[tuple[str, Kind], InputUrl] = {}
    for one in _named(request):
        if is_data(one.value) or (is_fetched(one.value) and (one.kind == "image" or not published_lora(one.value))):
            found.setdefault((one.value, one.kind), one)
    return tuple(found.values())


def names_of(request: Request) -> tuple[InputUrl, ...]:
    """The pictures that a request names by their files, which no server may read for a caller."""
    return tuple(
        one for one in _named(request) if one.kind == "image" and not is_data(one.value) | is_fetched(one.value)
    )


def published_lora(url: str) -> str:
    """The name of the file that Fooocus or the endpoints publish at a URL; '' for any other URL."""
    loras = (asset for asset in catalogue().assets.values() if asset.kind == "loras")
    return next((asset.name for asset in loras if asset.address == url.partition("?")[0]), "")


def mode_request(request: Request, files: Files) -> TextToImage:
    """The request of the mode that a request to an endpoint runs, which is all that its workflow depends on."""
    given, plan = request.input, plan_of(request)
    shared = _shared(given, plan, files)
    if plan.inpaint:
        return Inpaint(**shared, **_inpainting(given, plan, files))
    if plan.method != DISABLED:
        return UpscaleOrVary(**shared, image=_local(files, plan.picture), method=plan.method)
    return TextToImage(**shared)


def plan_of(request: Request) -> Plan:
    """Choose the parts of a request that run. A picture without its mixing flag, and without a mask or a side to paint
    at, is not used; where a picture is both inpainted and varied, it is inpainted."""
    given = request.input
    if isinstance(given, models.TextToImageInput):
        inpaints = bool(given.inpaint_image_url and given.mask_image_url)
        slots = _control(given) if given.mixing_image_prompt_and_inpaint or not inpaints else ()
        return Plan(slots, *_pictures(given.inpaint_image_url, given.mask_image_url) if inpaints else ("", ""))
    slots = _slots(given)
    if isinstance(given, models.UpscaleOrVaryInput):
        mixed = slots if given.mixing_image_prompt_and_vary_upscale else ()
        return Plan(mixed, picture=given.uov_image_url, method=given.uov_method)
    assert isinstance(given, models.ImagePromptInput | models.InpaintInput)
    mixed = slots if given.mixing_image_prompt_and_inpaint or isinstance(given, models.ImagePromptInput) else ()
    sides = sides_of(given)
    wanted = given.mixing_image_prompt_and_inpaint or isinstance(given, models.InpaintInput)
    if wanted and given.inpaint_image_url and (given.mask_image_url or sides):
        return Plan(mixed, *_pictures(given.inpaint_image_url, given.mask_image_url), sides=sides)
    if (
        isinstance(given, models.ImagePromptInput)
        and given.mixing_image_prompt_and_vary_upscale
        and given.uov_image_url
    ):
        return Plan(mixed, picture=given.uov_image_url, method=given.uov_method)
    return Plan(mixed)


def sides_of(given: models.ImagePromptInput | models.InpaintInput) -> tuple[str, ...]:
    """The sides at which the picture is extended, in lower case; a mode that does not outpaint has none."""
    outpaints = INPAINT_MODES[given.inpaint_mode].outpaints or overrides(given)
    return tuple(dict.fromkeys(side.lower() for side in given.outpaint_selections)) if outpaints else ()


def overrides(given: models.Input) -> bool:
    """True for a request that sets the inpaint options itself."""
    return isinstance(given, models.InpaintInput) and given.override_inpaint_options


def options_of(given: models.InpaintInput, sides: tuple[str, ...]) -> InpaintOptions | None:
    """The options that replace those of the mode; None where they are the mode's own and the flag is set for the mask's
    growth alone, for which the node needs no override."""
    if not given.override_inpaint_options:
        return None
    options = InpaintOptions(
        engine=given.inpaint_engine,
        strength=given.inpaint_strength,
        respective_field=given.inpaint_respective_field,
        disable_initial_latent=given.inpaint_disable_initial_latent,
    )
    return None if growth_of(given) and options == own_options(given.inpaint_mode, sides) else options


def own_options(mode: str, sides: tuple[str, ...] = ()) -> InpaintOptions:
    """Return the settings of a mode; outpainting works at full strength on the whole picture."""
    own: InpaintMode = INPAINT_MODES[mode]
    strength, field = (1.0, 1.0) if sides else (own.strength, own.respective_field)
    return InpaintOptions(own.engine, strength, field, not own.initial_latent)


def growth_of(given: models.InpaintInput) -> int:
    """The pixels by which the mask grows, in whole ones as Fooocus takes them; 0 unless the options are overridden."""
    return int(given.inpaint_erode_or_dilate) if given.override_inpaint_options else 0


def checked(graph: ApiGraph, checker: str) -> ApiGraph:
    """The workflow with its images checked, and those that are not safe blacked out, before they are saved."""
    node_id = str(len(graph) + 1)
    whole = {key: {**node, "inputs": dict(node["inputs"])} for key, node in graph.items()}
    save = next(node["inputs"] for node in whole.values() if node["class_type"] == SAVE)
    inputs = {"image": save["images"], "checker_name": checker, "mode": BLACK_OUT}
    whole[node_id] = {"class_type": CHECKER, "inputs": inputs, "_meta": {"title": "Safety check"}}
    save["images"] = [node_id, 0]
    return whole


def _named(request: Request) -> Iterator[InputUrl]:
    """The pictures and LoRAs of a request that its workflow uses, in the order of the fields."""
    plan = plan_of(request)
    if plan.samples:
        for number, lora in enumerate(request.input.loras):
            yield InputUrl(lora.path, "lora", ("loras", number, "path"))
        for slot in plan.slots:
            yield InputUrl(slot.image, "image", slot.loc)
    mask = "" if plan.masks_itself else plan.mask
    picture = "" if plan.method == DISABLED else plan.picture
    for field, value in (("inpaint_image_url", plan.inpaint), ("mask_image_url", mask), ("uov_image_url", picture)):
        if value:
            yield InputUrl(value, "image", (field,))


def _control(given: models.TextToImageInput) -> tuple[Slot, ...]:
    if given.control_image_url is None:
        return ()
    prompt = ImagePrompt(given.control_type, given.control_image_weight, given.control_image_stop_at)
    return (Slot(("control_image_url",), given.control_image_url, prompt),)


def _slots(given: models.Input) -> tuple[Slot, ...]:
    found = ((f"image_prompt_{i}", getattr(given, f"image_prompt_{i}", None)) for i in range(1, 5))
    return tuple(
        Slot((name, "image_url"), one.image_url, ImagePrompt(one.type, one.weight, one.stop_at))
        for name, one in found
        if one is not None and one.image_url
    )


def _pictures(image: str | None, mask: str | None) -> tuple[str, str]:
    return image or "", mask or ""


def _shared(given: models.Input, plan: Plan, files: Files) -> dict[str, Any]:
    unrefined = PERFORMANCES[given.performance].distilled
    return {
        "prompt": given.prompt,
        "negative_prompt": given.negative_prompt,
        "styles": given.styles,
        "performance": given.performance,
        "guidance_scale": given.guidance_scale,
        "sharpness": given.sharpness,
        "aspect_ratio": given.aspect_ratio,
        "num_images": given.num_images,
        "loras": tuple(Lora(_lora_file(files, lora.path), lora.scale) for lora in given.loras if plan.samples),
        "image_prompts": tuple(_placed(slot, files) for slot in plan.slots if plan.samples),
        "refiner": NO_FILE if unrefined else given.refiner_model,
        "refiner_switch": given.refiner_switch,
        "output_format": given.output_format,
        "seed": given.seed or 0,
    }


def _inpainting(given: models.Input, plan: Plan, files: Files) -> dict[str, Any]:
    inpainting: dict[str, Any] = {
        "image": _local(files, plan.inpaint),
        "mask": _mask(files, plan),
        "outpaint": plan.sides,
    }
    if isinstance(given, models.ImagePromptInput | models.InpaintInput):
        inpainting |= {"mode": given.inpaint_mode, "additional_prompt": given.inpaint_additional_prompt}
    if isinstance(given, models.InpaintInput):
        inpainting |= {"erode_or_dilate": growth_of(given), "invert_mask": given.invert_mask}
        inpainting["options"] = options_of(given, plan.sides)
    return inpainting


def _mask(files: Files, plan: Plan) -> str:
    if not plan.mask:
        return NO_MASK
    return OWN_MASK if plan.masks_itself else _local(files, plan.mask)


def _placed(slot: Slot, files: Files) -> ImagePrompt:
    return ImagePrompt(slot.prompt.type, slot.prompt.weight, slot.prompt.stop_at, _local(files, slot.image))


def _lora_file(files: Files, path: str) -> str:
    return files.get(path) or published_lora(path) or _local(files, path)


def _local(files: Files, value: str) -> str:
    if (name := files.get(value)) is not None:
        return name
    if is_data(value) or is_fetched(value):
        raise BadValue(f"no file is given for {value[:80]!r}: fetch what `urls_of` names first")
    return value
