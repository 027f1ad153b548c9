"""The dictionaries and prefixes that training programs put around weights are removed; nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.models.weights.files import open_weights, read_state
from fooocus_stages.pipelines.models.weights.wrappers import plain_names, unwrapped

STATE = {"a": torch.ones(2), "b.c": torch.zeros(1)}
NESTED: dict[str, Any] = {
    **{key: {key: STATE} for key in ("state_dict", "model", "module", "params_ema", "params", "ema", "net")},
    "twice": {"state_dict": {"model": STATE}},
    "three times": {"module": {"state_dict": {"params": STATE}}},
    "beside an optimizer": {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}, "step": 3},
    "beside tensors of its own": {"state_dict": STATE, "loss": torch.tensor(0.1)},
    "averages first": {"params": {key: tensor * 3 for key, tensor in STATE.items()}, "params_ema": STATE},
    "averages of one network among several": {"ema": {"a": torch.zeros(1)}, "state_dict": STATE},
    "without a wrapper": STATE,
    "quantised": {"state_dict": {"a": (torch.ones(2), 0.0), "b.c": (torch.zeros(1), 1.0)}},
}


@pytest.mark.parametrize("case", NESTED)
def test_the_dictionary_of_weights_is_found(tmp_path: Path, case: str) -> None:
    torch.save(NESTED[case], tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt").keys() == STATE.keys()
    if case != "quantised":
        with open_weights(tmp_path / "w.pt") as weights:
            assert torch.equal(weights.read("a"), STATE["a"])


def test_a_dictionary_for_each_network_becomes_one(tmp_path: Path) -> None:
    torch.save({"epoch": 2, "networks": [1], "state_dict": {"unet": STATE, "text_encoder": STATE}}, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt").keys() == {f"{n}.{key}" for n in ("unet", "text_encoder") for key in STATE}
    torch.save({"lora": STATE, "step": 3}, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt").keys() == STATE.keys()


@pytest.mark.parametrize("content", [None, [1, 2], {}, {"state_dict": None}, {"model": {}}, {"model": torch.ones(1)}])
def test_other_content_is_returned_as_it_is(content: Any) -> None:
    assert unwrapped(content) is content


def test_a_dictionary_inside_itself_ends() -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    assert unwrapped(loop) is loop


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("module.a.weight", "a.weight"),
        ("_orig_mod.a.weight", "a.weight"),
        ("module._orig_mod.module.a", "a"),
        ("a._orig_mod.b.weight", "a.b.weight"),
        ("a._fsdp_wrapped_module.b._checkpoint_wrapped_module.c", "a.b.c"),
        ("my_module.a", "my_module.a"),
        ("a.module", "a.module"),
        ("modules.0.a", "modules.0.a"),
    ],
)
def test_names_without_wrapper_modules(name: str, plain: str) -> None:
    assert plain_names([name]) == {plain: name}


def test_names_that_would_become_equal_stay() -> None:
    names = ["module.a", "a"]
    assert plain_names(names) == {name: name for name in names}
