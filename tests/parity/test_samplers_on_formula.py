"""Every sampler on a denoiser that is a formula: update rules, noise and seeds."""

from __future__ import annotations

import torch
from fooocus_stages.pipelines.functional.model_sampling import discrete
from fooocus_stages.pipelines.functional.noise import BrownianNoise, GeneratorNoise, draw, generators
from fooocus_stages.pipelines.functional.samplers import SAMPLERS, sample

from .golden import Case, assert_near, each_case
from .reference_inputs import formula_denoiser


@each_case("samplers_on_formula", where=lambda case: "error" not in case.params)
def test_samplers_on_formula(case: Case) -> None:
    seed, shape = case.params["seed"], case.params["shape"][1:]
    sigmas = case.output("sigmas")
    sources = generators([seed])
    noise = draw(sources, shape)
    assert_near(noise, case.output("noise"), of_max=1e-6)

    kind = SAMPLERS[case.params["sampler"]].noise
    if kind == "brownian":
        step_noise = BrownianNoise([seed], shape, float(sigmas[sigmas > 0].min()), float(sigmas.max()))
    else:
        step_noise = GeneratorNoise(sources, shape)
    latent = sample(
        case.params["sampler"], formula_denoiser, noise, torch.zeros_like(noise), sigmas, discrete(), step_noise
    )
    assert_near(latent, case.output("latent"), of_max=1e-4)
