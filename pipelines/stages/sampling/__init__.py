"""Sampling: the plan of a run, the denoiser, control and image hints, the known region, the refiner."""
