"""The sampler: plan, denoiser, hints, refiner."""
