"""What the variable that switches the endpoints on inside ComfyUI may say."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.commands.serve_inside import add_to_comfyui, options_of


@pytest.mark.parametrize("value", ["1", "on", "True"])
def test_on_means_the_defaults(tmp_path: Path, value: str) -> None:
    options = options_of(value, tmp_path)
    assert (options.state, options.max_queue, options.allow_network) == (tmp_path, 10_000, [])


def test_options_are_those_of_serve(tmp_path: Path) -> None:
    options = options_of("--safety-checker off --max-queue 5 --allow-network 192.168.1.0/24", tmp_path)
    assert (options.safety_checker, options.max_queue, options.allow_network) == ("off", 5, ["192.168.1.0/24"])


@pytest.mark.parametrize("value", ["--port 80", "--max-queue many", "--state 'unclosed", "maybe"])
def test_what_can_not_be_used_is_named(tmp_path: Path, value: str) -> None:
    with pytest.raises(BadValue, match="FOOOCUS_STAGES_SERVE"):
        options_of(value, tmp_path)


@pytest.mark.parametrize("value", ["", "0", "off", "No"])
def test_off_does_nothing(value: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        add_to_comfyui(value)
    assert caplog.records == []
