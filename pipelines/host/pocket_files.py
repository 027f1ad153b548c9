"""Files of which the user may choose the pocket model's."""

from __future__ import annotations

from pathlib import Path

from ..names import same
from ..settings import POCKET_CHOICE
from .model_files import POCKET, find_file
from .protocol import Host


def find_or_pocket(host: Host, kind: str, name: str, of_pocket: str = "", home: Path | None = None) -> Path:
    """Find the file of a kind. 'pocket' is the pocket model's file `of_pocket`, 'pocket/NAME' another of its files.

    The models folder `home` is searched first for any other name. Raises MissingFile.
    """
    choice, _, in_pocket = name.replace("\\", "/").partition("/")
    if same(choice, POCKET_CHOICE) and (in_pocket or of_pocket):
        return find_file(kind, in_pocket or of_pocket, [POCKET / kind])
    return host.find(kind, name, home)
