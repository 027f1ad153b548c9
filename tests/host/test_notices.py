"""Notices reach the person in every run, once."""

from __future__ import annotations

from typing import Any

from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.serving.engine.runner import Runner


class Tell:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = ""
    host: LocalHost

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": ("STRING", {})}}

    def run(self, text: str) -> tuple[()]:
        for _ in range(2):
            self.host.notice("the file is broken")
        return ()


def test_a_second_run_in_one_host_gets_the_notice_again() -> None:
    runner = Runner({"Tell": Tell})
    Tell.host = LocalHost(on_notice=runner.notice)
    for text in ("one", "two"):
        results = runner.run({"1": {"class_type": "Tell", "inputs": {"text": text}}})
        assert results.notices == ["the file is broken"]
