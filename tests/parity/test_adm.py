"""The size vectors of base and refiner, and which of the two sizes counts when."""

from __future__ import annotations

import torch
from fooocus_stages.pipelines.functional.adm import refiner_ids, size_ids, vector

from .golden import Case, each_case


@each_case("adm")
def test_adm(case: Case) -> None:
    pooled, width, height = case.inputs("pooled"), case.params["width"], case.params["height"]
    ids = size_ids(width, height, case.params[f"{case.params['prompt']}_scale"])
    both = torch.cat([vector(pooled, ids.emphasised), vector(pooled, ids.consistent)], dim=1)
    torch.testing.assert_close(both, case.output("adm"), atol=1e-5, rtol=0)

    refiner = vector(pooled, refiner_ids(width, height, negative=case.params["prompt"] == "negative"))
    torch.testing.assert_close(refiner, case.output("refiner_adm"), atol=1e-5, rtol=0)

    for name in case.output_names:
        if name.startswith("at_"):
            chosen = vector(pooled, ids.at(float(name.removeprefix("at_")), case.params["end"]))
            torch.testing.assert_close(chosen, case.output(name), atol=1e-5, rtol=0, msg=name)
