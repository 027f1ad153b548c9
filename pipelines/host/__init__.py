"""The host, which gives stages files, devices and progress, and `LocalHost` for scripts and the command line."""

from .kept import Kept
from .local import LocalHost, find_device
from .model_files import POCKET, HowToGet, files_of, find_file, is_of_kind, suffixes_of
from .pocket_files import find_or_pocket
from .protocol import Host, Preview, Role

__all__ = [
    "POCKET",
    "Host",
    "HowToGet",
    "Kept",
    "LocalHost",
    "Preview",
    "Role",
    "files_of",
    "find_device",
    "find_file",
    "find_or_pocket",
    "is_of_kind",
    "suffixes_of",
]
