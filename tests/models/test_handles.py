"""The values on the wires."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from fooocus_stages.pipelines.models.handles import Model


def test_a_handle_says_what_it_is_to_a_node_of_comfyui() -> None:
    network: Any = None
    model: Any = Model(network, "sdxl")
    with pytest.raises(AttributeError, match=r"Model of a Fooocus node.*no get_model_object.*ComfyUI"):
        model.get_model_object("model_sampling")
    assert not hasattr(model, "clone")
    assert copy.copy(model) == model
    assert pickle.loads(pickle.dumps(model)) == model
