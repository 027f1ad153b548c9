"""The rule that turns similarities into scores, and blurring."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.functional.safety import blurred, concept_scores, similarity, special_scores


def test_similarity_is_the_cosine() -> None:
    embeds, concepts = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    expected = torch.tensor([[0.6, 0.8, -0.6], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(similarity(embeds, concepts), expected)


def test_a_special_concept_raises_the_scores_that_follow_it() -> None:
    scores, added = special_scores(torch.tensor([[0.1, 0.3, 0.195], [0.1, 0.1, 0.195]]), torch.full((3,), 0.2))
    torch.testing.assert_close(scores, torch.tensor([[-0.1, 0.1, 0.005], [-0.1, -0.1, -0.005]]))
    torch.testing.assert_close(added, torch.tensor([0.01, 0.0]))
    torch.testing.assert_close(
        concept_scores(torch.tensor([[0.196], [0.196]]), torch.tensor([0.2]), added), torch.tensor([[0.006], [-0.004]])
    )


def test_scores_are_rounded_before_they_are_compared() -> None:
    scores, added = special_scores(torch.tensor([[0.2004]]), torch.tensor([0.2]))
    assert scores.tolist() == [[0.0]]
    assert added.tolist() == [0.0]


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (64, 48)])
def test_a_blurred_image_keeps_its_size_and_mean(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    soft = blurred(images)
    assert soft.shape == images.shape
    torch.testing.assert_close(soft.mean((2, 3)), images.mean((2, 3)), atol=0.05, rtol=0)
    assert soft.var() <= images.var() or size == (1, 1)
