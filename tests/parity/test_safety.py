"""The safety checker's scores against those of diffusers' StableDiffusionSafetyChecker."""

from __future__ import annotations

from functools import cache

import torch
from fooocus_stages.pipelines.models.safety import (
    SafetyChecker,
    Scores,
    embeddings,
    load_safety_checker,
    pixels,
    scores,
)
from safetensors.torch import save_file

from . import reference_inputs
from .golden import Case, each_case
from .nano import folder, untagged

WITHIN = 1e-6
NESTED = "vision_model.vision_model."


@cache
def checker(nested: bool) -> SafetyChecker:
    """The nano checker from a file in the old layout, or in that of transformers 5."""
    state = untagged("nano-safety")
    if nested:
        state[NESTED + "embeddings.position_ids"] = torch.arange(50)[None]
    else:
        state = {key.replace(NESTED, "vision_model."): tensor for key, tensor in state.items()}
    path = folder() / f"nano-safety-{nested}.safetensors"
    save_file(state, path)
    return load_safety_checker(path)


def scored(case: Case, nested: bool = True) -> Scores:
    picture = reference_inputs.picture(*(case.params[name] for name in ("height", "width", "k")))
    ours = checker(nested)
    return scores(ours, embeddings(ours, pixels([picture], ours.size)))


@each_case("safety")
def test_scores(case: Case) -> None:
    ours = scored(case)
    assert (ours.special[0] - case.output("special")).abs().max() <= WITHIN
    assert (ours.concepts[0] - case.output("concepts")).abs().max() <= WITHIN
    assert ours.flagged == [case.params["flagged"]]


@each_case("safety", lambda case: case.name == "300x500")
def test_both_layouts_give_the_same_scores(case: Case) -> None:
    old, new = scored(case, nested=True), scored(case, nested=False)
    assert torch.equal(old.concepts, new.concepts)
    assert torch.equal(old.special, new.special)
