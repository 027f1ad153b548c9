"""Settings of ComfyUI's page, as ComfyUI keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "default/comfy.settings.json"


def page_setting(name: str) -> Any:
    """Return the value of a setting; None for one that is not set, and where each user has settings (--multi-user)."""
    import folder_paths
    from comfy.cli_args import args

    if args.multi_user:
        return None
    try:
        found = json.loads((Path(folder_paths.get_user_directory()) / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found.get(name) if isinstance(found, dict) else None
