"""The way back: the request that gives a workflow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pipelines.errors import BadGraph
from ...pipelines.picture_files import opened
from ...pipelines.settings import CUSTOM_SIZE, FAST_UPSCALES, MAX_LORAS, NO_FILE, NO_STYLE, SIDES
from ..bundled.graph_builder import STYLES_PER_NODE, ApiGraph
from ..engine.graph import is_link
from .endpoints import IMAGE_PROMPT, INPAINT, TEXT_TO_IMAGE, UPSCALE_OR_VARY, Request, parse
from .fields import OWN_MASK_SUFFIX
from .graphs import CHECKER, SAVE, graph_of, own_options, published_lora

MOST_PROMPTS = 4
FEW = 5
ALWAYS = ("prompt", "seed")
PICTURE = "LoadImage"
Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Back:
    """A request that was read from a workflow. `lost`: the values of the workflow that no request can have."""

    request: Request
    lost: tuple[str, ...]

    @property
    def notice(self) -> str:
        """One sentence about what is lost; '' for nothing."""
        if not self.lost:
            return ""
        more = f" and {len(self.lost) - FEW} more" if len(self.lost) > FEW else ""
        return f"a request has no field for these parts of the workflow: {', '.join(self.lost[:FEW])}{more}"


def request_of(graph: ApiGraph) -> Back:
    """The request that gives a workflow in API form, or one near to it.

    Raises BadGraph for a workflow that is none of an endpoint, and InvalidRequest for a value that a request refuses.
    """
    try:
        endpoint, body = Reading(graph).body()
    except KeyError as error:
        raise BadGraph(f"a node of the workflow has no input {error}; export the workflow again") from error
    request = parse(endpoint, body)
    request = parse(endpoint, {name: body[name] for name in body if name in ALWAYS or not _is_default(request, name)})
    checker = next((node["inputs"].get("checker_name", "") for node in graph.values() if _is(node, CHECKER)), NO_FILE)
    lost = tuple(_apart(graph, graph_of(request, {}, str(checker))))
    if pictures := [one for one in lost if one.startswith(PICTURE)]:
        raise BadGraph(f"the workflow uses a picture in a way that no request has: {', '.join(pictures)}")
    return Back(request, lost)


def graph_in(path: Path) -> ApiGraph | None:
    """The workflow in API form that a PNG or WebP image holds; None for an image without one. Raises BadFile."""
    with opened(path) as image:
        exif = (value for value in image.getexif().values() if isinstance(value, str))
        found = [image.info.get("prompt"), *(text.partition(":")[2] for text in exif if text.startswith("prompt:"))]
    for text in found:
        with suppress(ValueError, RecursionError):
            graph = json.loads(text) if isinstance(text, str) else None
            if isinstance(graph, dict) and graph and all(map(_is_node, graph.values())):
                return graph
    return None


class Reading:
    """Reads the fields of a request from the nodes of a workflow."""

    def __init__(self, graph: ApiGraph) -> None:
        self._graph = graph

    def body(self) -> tuple[str, dict[str, Any]]:
        """The endpoint that a workflow belongs to, and the fields of its request."""
        save = self._the(SAVE)
        if save is None:
            raise BadGraph("the workflow has no Fooocus Save Image, so it is none of the endpoints' workflows")
        fields = {
            **self._prompt(),
            **self._settings(),
            "output_format": save.get("format"),
            "enable_safety_checker": self._the(CHECKER) is not None,
        }
        prompts = {f"image_prompt_{i}": prompt for i, prompt in enumerate(self._prompts()[:MOST_PROMPTS], start=1)}
        inpaint, vary, upscale = map(self._the, ("FooocusInpaint", "FooocusVary", "FooocusUpscale"))
        if inpaint is not None:
            mixing = {"mixing_image_prompt_and_inpaint": True} if prompts else {}
            return INPAINT, {**fields, **self._inpainting(inpaint), **prompts, **mixing}
        if (picture := vary or upscale) is not None:
            if picture["method"] in FAST_UPSCALES:
                fields["seed"] = picture.get("seed", 0)
            mixing = {"mixing_image_prompt_and_vary_upscale": True} if prompts else {}
            uov = {"uov_image_url": self._picture(picture["image"]), "uov_method": picture["method"]}
            return UPSCALE_OR_VARY, {**fields, **uov, **prompts, **mixing}
        if self._the("FooocusPrompt") is None:
            raise BadGraph("the workflow has no Fooocus Prompt, so it is none of the endpoints' workflows")
        return (IMAGE_PROMPT if prompts else TEXT_TO_IMAGE), {**fields, **self._size(), **prompts}

    def _the(self, class_type: str) -> Inputs | None:
        """The inputs of the node of a class; None without one. Raises BadGraph for several."""
        found = [node["inputs"] for node in self._graph.values() if _is(node, class_type)]
        if len(found) > 1:
            raise BadGraph(f"the workflow has {len(found)} nodes {class_type}, and a request has one")
        return found[0] if found else None

    def _at(self, link: Any) -> tuple[str, Inputs]:
        """The class and the inputs of the node that a link begins at; '' and {} for what is no link."""
        node = self._graph.get(link[0], {}) if is_link(link) else {}
        return str(node.get("class_type", "")), node.get("inputs", {})

    def _prompt(self) -> dict[str, Any]:
        node = self._the("FooocusPrompt")
        if node is None:
            return {}
        class_type, added = self._at(node["text"])
        text, additional = node["text"], ""
        if class_type == "FooocusInpaintPrompt":
            text, additional = added["text"], added["additional_prompt"]
        fields = {
            "prompt": _plain(text, "FooocusPrompt.text"),
            "negative_prompt": _plain(node.get("negative", ""), "FooocusPrompt.negative"),
            "seed": _plain(node["seed"], "FooocusPrompt.seed"),
            "num_images": _plain(node["num_images"], "FooocusPrompt.num_images"),
            "styles": self._styles(node.get("styles")),
        }
        return {**fields, "inpaint_additional_prompt": additional} if additional else fields

    def _styles(self, link: Any) -> list[str]:
        class_type, node = self._at(link)
        if class_type != "FooocusStyles":
            return []
        names = [node.get(f"style_{i}", NO_STYLE) for i in range(1, STYLES_PER_NODE + 1)]
        return [*self._styles(node.get("styles")), *(name for name in names if name != NO_STYLE)]

    def _settings(self) -> dict[str, Any]:
        mode = self._the("FooocusPerformance")
        if mode is None:
            return {}
        settings = self._at(mode.get("settings"))[1]
        fields = {
            "performance": mode["performance"],
            "loras": self._loras(mode.get("loras")),
            **{name: settings[name] for name in ("guidance_scale", "sharpness") if name in settings},
        }
        refiner, switch = self._the("FooocusLoadRefiner"), self._the("FooocusRefinerSwitch")
        if refiner is not None and switch is not None:
            fields |= {"refiner_model": refiner["refiner_name"], "refiner_switch": switch["refiner_switch"]}
        return fields

    def _loras(self, link: Any) -> list[dict[str, Any]]:
        class_type, node = self._at(link)
        if class_type == "FooocusLora":
            own = [(node["lora_name"], node["weight"])]
        elif class_type == "FooocusLoraStack":
            own = [(node[f"lora_{i}"], node[f"weight_{i}"]) for i in range(1, MAX_LORAS + 1)]
        else:
            return []
        added = [{"path": name, "scale": weight} for name, weight in own if name != NO_FILE]
        return [*self._loras(node.get("loras")), *added]

    def _prompts(self) -> list[dict[str, Any]]:
        """The pictures beside the prompt, in the order of their chain."""
        used = (self._the("FooocusSampler") or {}).get("control") or (self._the("FooocusUpscale") or {}).get("control")
        return list(self._chain(used))

    def _chain(self, link: Any) -> Iterator[dict[str, Any]]:
        class_type, node = self._at(link)
        if class_type not in ("FooocusControl", "FooocusImagePrompt"):
            return
        yield from self._chain(node.get("control"))
        prepared, before = self._at(node["image"])
        kinds = {"FooocusPyraCanny": "PyraCanny", "FooocusCpds": "CPDS", "FooocusFaceCrop": "FaceSwap"}
        kind = kinds.get(prepared, "ImagePrompt")
        picture = self._picture(before["image"] if prepared in kinds else node["image"])
        yield {"type": kind, "image_url": picture, "weight": node["weight"], "stop_at": node["stop_at"]}

    def _picture(self, link: Any) -> str:
        class_type, node = self._at(link)
        if class_type not in ("LoadImage", "LoadImageMask"):
            raise BadGraph(f"the workflow takes a picture from {class_type or 'nowhere'}, and a request names a file")
        return str(node["image"])

    def _inpainting(self, node: Inputs) -> dict[str, Any]:
        picture = self._picture(node["image"])
        fields: dict[str, Any] = {
            "inpaint_image_url": picture,
            "inpaint_mode": node["mode"],
            "outpaint_selections": [side.title() for side in SIDES if node.get(f"outpaint_{side}")],
            "invert_mask": node["invert_mask"],
        }
        if node.get("mask") is not None:
            own = self._at(node["mask"])[0] == "LoadImage"
            fields["mask_image_url"] = self._picture(node["mask"]) + (OWN_MASK_SUFFIX if own else "")
        if node["override"] or node["erode_or_dilate"]:
            fields |= {"override_inpaint_options": True, "inpaint_erode_or_dilate": node["erode_or_dilate"]}
            fields |= _options(node) if node["override"] else _own(node["mode"], bool(fields["outpaint_selections"]))
        return fields

    def _size(self) -> dict[str, Any]:
        node = self._the("FooocusAspectRatio")
        if node is None:
            return {}
        listed = node["aspect_ratio"] != CUSTOM_SIZE
        return {"aspect_ratio": node["aspect_ratio"] if listed else f"{node['width']}x{node['height']}"}


def _options(node: Inputs) -> dict[str, Any]:
    names = ("disable_initial_latent", "engine", "strength", "respective_field")
    return {f"inpaint_{name}": node[name] for name in names}


def _own(mode: str, outpaints: bool) -> dict[str, Any]:
    own = own_options(mode, SIDES if outpaints else ())
    return {
        "inpaint_disable_initial_latent": own.disable_initial_latent,
        "inpaint_engine": own.engine,
        "inpaint_strength": own.strength,
        "inpaint_respective_field": own.respective_field,
    }


def _is_default(request: Request, name: str) -> bool:
    """True for a field with its default value; LoRAs are compared by the names of their files."""
    value = getattr(request.input, name)
    default = type(request.input).model_fields[name].get_default(call_default_factory=True)
    if name == "loras":
        return [(published_lora(lora.path) or lora.path, lora.scale) for lora in value] == [
            (published_lora(lora.path), lora.scale) for lora in default
        ]
    return bool(value == default)


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _is(node: Mapping[str, Any], class_type: str) -> bool:
    return node.get("class_type") == class_type


def _plain(value: Any, where: str) -> Any:
    if is_link(value):
        raise BadGraph(f"{where} is linked to another node, and a request has a plain value there")
    return value


def _apart(given: ApiGraph, made: ApiGraph) -> Iterator[str]:
    """The values of a workflow that the one of its request does not have, and the nodes."""
    ours, theirs = (Counter(_values(graph)) for graph in (made, given))
    yield from (f"{name} = {value}" if value else name for name, value in (theirs - ours))


def _values(graph: ApiGraph) -> Iterator[tuple[str, str]]:
    """(class, '') of each node, and (class.input, value) of each value that is not linked."""
    for node in graph.values():
        yield node["class_type"], ""
        for name, value in node["inputs"].items():
            if not is_link(value):
                yield f"{node['class_type']}.{name}", repr(float(value) if type(value) is int else value)
