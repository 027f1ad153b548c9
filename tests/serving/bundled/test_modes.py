"""Graphs of the bundled requests."""

import pytest
from fooocus_stages.serving.bundled.catalogue import TEMPLATES
from fooocus_stages.serving.bundled.modes import graph_of
from fooocus_stages.serving.bundled.request import ImagePrompt, TextToImage, UpscaleOrVary

PREPROCESSORS = ("FooocusPyraCanny", "FooocusCpds")


@pytest.mark.parametrize(
    "request_",
    [
        *(template.request for template in TEMPLATES),
        *(
            UpscaleOrVary(prompt="", image="a.png", method=method, image_prompts=(ImagePrompt(kind),))
            for method in ("Upscale (1.5x)", "Vary (Strong)")
            for kind in ("PyraCanny", "CPDS")
        ),
    ],
)
def test_control_images_are_prepared_at_the_size_that_is_sampled(request_: TextToImage) -> None:
    graph = graph_of(request_)
    for node in graph.values():
        if node["class_type"] in PREPROCESSORS:
            width, height = node["inputs"]["width"], node["inputs"]["height"]
            assert width[0] == height[0] in graph
