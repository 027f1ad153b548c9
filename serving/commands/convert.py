"""`convert`: a request becomes a workflow, and a saved image or a workflow becomes a request again."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...nodes.comfy import use_host
from ...pipelines import stages
from ...pipelines.errors import BadGraph, MissingFile
from ...pipelines.host import LocalHost
from ...pipelines.settings import NO_FILE, PERFORMANCES
from ..console import Console
from .common import OK, REGISTRY, Commands, add_command, add_host_options, host_of, show
from .requested import check_package, named_files, read_json, request_from

if TYPE_CHECKING:
    from ..requests.endpoints import Request

FORMS = API, CANVAS = ("api", "canvas")


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    convert = add_command(
        commands, "convert", convert_file, "make a request into a workflow, or an image or a workflow into a request"
    )
    convert.add_argument(
        "file", type=Path, metavar="REQUEST|PICTURE", help="a request or a workflow in API format, in JSON; or an image"
    )
    convert.add_argument("--endpoint", metavar="ID", help="the endpoint of the request; default: that of its fields")
    convert.add_argument(
        "--form",
        choices=FORMS,
        default=API,
        help="form of the workflow: api to run it, canvas to open it; default: api",
    )
    convert.add_argument(
        "--safety-checker",
        metavar="FILE",
        help="check images with this file in the workflow, where the request asks for it",
    )
    convert.add_argument("-o", "--output-file", type=Path, metavar="FILE", help="the file to write; default: stdout")
    add_host_options(convert)


def convert_file(options: argparse.Namespace, console: Console) -> int:
    """Convert the file, and print the result or write it to a file."""
    check_package("pydantic")
    if not options.file.is_file():
        raise MissingFile(f"file {str(options.file)!r} is not there; name a request, a workflow or an image")
    host = host_of(options, console)
    with use_host(host):
        data = converted(options, console, host)
    console.close()
    text = json.dumps(data, indent=1, ensure_ascii=False)
    if options.output_file is None:
        show(options, data, [text])
        return OK
    options.output_file.parent.mkdir(parents=True, exist_ok=True)
    options.output_file.write_text(f"{text}\n", encoding="utf-8")
    show(options, {"file": str(options.output_file), "notices": console.notices}, [str(options.output_file)])
    return OK


def converted(options: argparse.Namespace, console: Console, host: LocalHost) -> dict[str, Any]:
    """The workflow of a request, or the request of an image or of a workflow."""
    if options.file.suffix.lower() != ".json":
        return from_picture(options.file, host, console)
    read = read_json(options.file)
    if is_workflow(read):
        return from_workflow(read, options.file, console)
    return workflow_of(request_from(read, options.endpoint), options, console)


def is_workflow(read: Any) -> bool:
    """True for JSON that holds nodes, as the canvas and the API format do."""
    if not isinstance(read, dict):
        return False
    return "nodes" in read or any(isinstance(value, dict) and "class_type" in value for value in read.values())


def workflow_of(request: Request, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The workflow of a request, in the form that the options name."""
    from ..bundled.canvas import to_canvas
    from ..bundled.write_workflows import completed
    from ..requests.endpoints import with_seed
    from ..requests.graphs import graph_of
    from ..requests.notices import notices_of

    for notice in notices_of(request):
        console.notice(notice)
    request = with_seed(request)
    beside = options.file.parent if options.output_file is None else options.output_file.parent
    files = named_files(request, beside)
    for address, name in files.items():
        console.notice(
            f"{beside / name} holds the picture of a data URI: put it into the input folder"
            if address[:5].lower() == "data:"
            else f"the workflow loads {name!r}: download it from {address}"
        )
    checker = options.safety_checker or NO_FILE
    if request.input.enable_safety_checker and checker == NO_FILE:
        console.notice("the workflow does not check its images: name a file with --safety-checker to have them checked")
    graph = completed(graph_of(request, files, checker), REGISTRY)
    if options.form == API:
        return graph
    from ...pipelines.assets.catalogue import download_link

    about = {"mode": "", "title": options.file.stem, "description": f"Made from a request to {request.endpoint}."}
    return to_canvas(graph, REGISTRY, options.file.stem, __version__, about, download_link)


def from_workflow(read: Any, path: Path, console: Console) -> dict[str, Any]:
    """The request that gives a workflow."""
    from ..bundled.workflow_files import api_graph
    from ..requests.back import request_of

    back = request_of(api_graph(read, path))
    if back.notice:
        console.notice(back.notice)
    return call_of(back.request)


def from_picture(path: Path, host: LocalHost, console: Console) -> dict[str, Any]:
    """The request that gives an image: from the workflow in its file, else from its generation parameters."""
    from ..requests.back import graph_in

    graph = graph_in(path)
    if graph is not None:
        try:
            return from_workflow(graph, path, console)
        except BadGraph as error:
            console.notice(f"{error}; the image's generation parameters are read instead")
    return from_parameters(path, host, console)


def from_parameters(path: Path, host: LocalHost, console: Console) -> dict[str, Any]:
    """The text-to-image request with an image's generation parameters, which tell nothing of pictures that it used."""
    from ..requests.endpoints import TEXT_TO_IMAGE, parse

    recipe, _ = stages.from_picture.of_picture(host, path)
    console.notice(
        "the request is read from generation parameters, which tell of no picture that the image was made from"
    )
    plain = PERFORMANCES[recipe.settings.performance]
    if recipe.settings.steps != plain.steps:
        console.notice(
            f"the image took {recipe.settings.steps} steps, and a request has {plain.steps} with this performance"
        )
    body: dict[str, Any] = {
        "prompt": recipe.text,
        "negative_prompt": recipe.negative,
        "styles": list(recipe.styles),
        "performance": recipe.settings.performance,
        "aspect_ratio": f"{recipe.width}x{recipe.height}",
        "loras": [{"path": lora.name, "scale": lora.weight} for lora in recipe.loras],
        "seed": recipe.seed,
    }
    if not plain.distilled:
        body |= {"guidance_scale": recipe.settings.cfg, "sharpness": recipe.settings.sharpness}
        if recipe.refiner != NO_FILE:
            body |= {"refiner_model": recipe.refiner, "refiner_switch": recipe.refiner_switch}
    return call_of(parse(TEXT_TO_IMAGE, body))


def call_of(request: Request) -> dict[str, Any]:
    """A request with its endpoint, as clients call it."""
    return {"endpoint": request.endpoint, "input": request.body()}
