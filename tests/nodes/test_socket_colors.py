"""Every socket type of ours has a colour of its own on the canvas."""

import re
from pathlib import Path

import fooocus_stages
from fooocus_stages.nodes import sockets

SCRIPT = Path(fooocus_stages.__file__).parent / "web" / "js" / "socket_colors.js"


TEXT = SCRIPT.read_text(encoding="utf-8")
NAMES = {str(value) for name, value in vars(sockets).items() if name.isupper()}


def test_every_socket_has_a_color_of_its_own() -> None:
    colors = dict(re.findall(r'^  (\w+): "(#[0-9a-f]{6})",$', TEXT, re.MULTILINE))
    assert set(colors) == {name for name in NAMES if re.fullmatch(r"FOOOCUS_\w+", name)}
    assert len(set(colors.values())) == len(colors)


def test_a_socket_that_takes_a_type_of_comfyui_too_has_the_color_of_ours() -> None:
    pairs = set(re.findall(r'^  "([A-Z_]+,[A-Z_]+)",$', TEXT, re.MULTILINE))
    assert pairs == {name for name in NAMES if "," in name} - {sockets.LANDMARKS}
