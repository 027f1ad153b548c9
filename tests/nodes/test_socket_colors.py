"""Every socket type of ours has a colour of its own on the canvas."""

import re
from pathlib import Path

import fooocus_stages
from fooocus_stages.nodes import sockets

SCRIPT = Path(fooocus_stages.__file__).parent / "web" / "js" / "socket_colors.js"


def test_every_socket_has_a_color_of_its_own() -> None:
    colors = dict(re.findall(r'^  (\w+): "(#[0-9a-f]{6})",$', SCRIPT.read_text(encoding="utf-8"), re.MULTILINE))
    ours = {str(value) for value in vars(sockets).values() if re.fullmatch(r"FOOOCUS_\w+", str(value))}
    assert set(colors) == ours
    assert len(set(colors.values())) == len(colors)
