"""The sharpness filter, adaptive CFG and both together."""

from __future__ import annotations

from fooocus_stages.pipelines.functional.guidance import combine, sharpened

from .golden import Case, assert_near, each_case


@each_case("guidance")
def test_guidance(case: Case) -> None:
    x, positive, negative = (case.inputs(name) for name in ("x", "positive_x0", "negative_x0"))
    p = case.params["progress"]
    ours = combine(x, positive, negative, case.params["cfg"], case.params["sharpness"], case.params["adaptive_cfg"], p)
    assert_near(ours, case.output("x0"), of_max=1e-4)
    assert_near(sharpened(x - positive, positive, 1000.0, 1.0), case.output("filtered_eps"), of_max=1e-4)
