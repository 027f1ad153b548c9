"""The files that a request on the command line names: local pictures, data URIs and LoRAs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ...pipelines.errors import BadFile, BadValue, MissingFile

if TYPE_CHECKING:
    from ..requests.endpoints import Request

NAME_BYTES = 8
SHOWN = 100


def read_request(path: Path, endpoint: str | None) -> Request:
    """Read the request in a JSON file. Raises MissingFile, BadFile and the errors of `request_in`."""
    return request_from(read_json(path), endpoint)


def request_from(body: Any, endpoint: str | None) -> Request:
    """The request in a JSON value: its fields, or a call {"endpoint": …, "input": {…}}."""
    from ..requests.guess import request_in

    if isinstance(body, dict) and set(body) == {"endpoint", "input"}:
        return request_in(body["input"], endpoint or body["endpoint"])
    return request_in(body, endpoint)


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises MissingFile and BadFile."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingFile(f"request {str(path)!r} is not there; name a JSON file") from error
    except OSError as error:
        raise BadFile(f"{path} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON: {error}") from error


def local_files(request: Request, beside: Path, scratch: Path) -> dict[str, str]:
    """The file of each address of a request, as the workflow names it.

    A picture named by its file is looked for in the folder `beside` first. Data URIs are written below `scratch`.
    Raises BadValue for an URL.
    """
    from ..requests.graphs import names_of, urls_of

    files: dict[str, str] = {}
    for one in urls_of(request):
        files[one.value] = (
            str(write_data(one.value, scratch)) if one.value[:5].lower() == "data:" else fetched(one.value)
        )
    for one in names_of(request):
        if (beside / one.value).is_file():
            files[one.value] = str(beside / one.value)
    return files


def fetched(url: str) -> str:
    """No file yet: this command fetches nothing. Raises BadValue."""
    raise BadValue(f"{url[:SHOWN]!r} is not fetched: download it and name the file in the request")


def named_files(request: Request, folder: Path) -> dict[str, str]:
    """The name of each address of a request in a workflow to run elsewhere; data URIs are written to the folder."""
    from ..requests.graphs import urls_of

    files: dict[str, str] = {}
    for one in urls_of(request):
        data = one.value[:5].lower() == "data:"
        files[one.value] = write_data(one.value, folder).name if data else name_of(one.value)
    return files


def name_of(url: str) -> str:
    """The name of the file at an URL. Raises BadValue for an URL without one."""
    name = unquote(urlsplit(url).path).replace("\\", "/").rpartition("/")[2]
    if not name.strip(". "):
        raise BadValue(f"the URL {url[:SHOWN]!r} names no file: download it and name the file in the request")
    return name


def write_data(uri: str, folder: Path) -> Path:
    """Write the file in a data URI below a folder, named by its content. Raises BadValue."""
    from ..requests.data_uris import decoded, suffix_of

    media_type, data = decoded(uri)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()[: 2 * NAME_BYTES]}{suffix_of(media_type)}"
    path.write_bytes(data)
    return path
