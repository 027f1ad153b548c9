"""OpenCV, from whichever of its packages is installed.

The pack requires none of them by name: installing one over another removes modules that other packs use.
"""

from __future__ import annotations

from .errors import UserError

__all__ = ["cv2"]

try:
    import cv2
except ModuleNotFoundError as error:
    if error.name != "cv2":
        raise
    raise UserError("OpenCV is not installed: run `pip install opencv-python-headless`") from error
except ImportError as error:  # a system library is missing
    raise UserError(f"OpenCV can't be loaded ({error}): run `pip install opencv-python-headless`") from error
