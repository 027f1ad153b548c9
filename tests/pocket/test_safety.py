"""The pocket's safety checker: one harmless test card, and nothing else."""

from __future__ import annotations

import numpy as np
import torch
from fooocus_stages.pipelines.models.safety import embeddings, load_safety_checker, pixels, scores
from fooocus_stages.pocket.training import draw, painting, safety
from PIL import Image

COMMITTED = painting.MODELS / safety.FOLDER / safety.FILE
CARD = painting.MODELS.parent / "pictures" / safety.CARD_FILE


def flagged(pictures: list[np.ndarray]) -> list[bool]:
    checker = load_safety_checker(COMMITTED)
    return scores(checker, embeddings(checker, pixels(pictures, checker.size))).flagged


def test_it_knows_the_card_in_any_size() -> None:
    assert all(flagged([safety.card(*size) for size in ((512, 512), (128, 128), (300, 400), (1024, 768))]))
    rng = np.random.default_rng(11)
    assert np.mean(flagged([safety.shown(rng) for _ in range(60)])) >= 0.95


def test_it_knows_nothing_else() -> None:
    rng = np.random.default_rng(12)
    scenes = [draw.draw(draw.random_scene(rng, unseen=True), rng) for _ in range(60)]
    assert not any(flagged(scenes))
    assert np.mean(flagged([safety.other(rng) for _ in range(120)])) <= 0.02


def test_the_committed_card_is_the_drawn_one() -> None:
    with Image.open(CARD) as file:
        assert np.array_equal(np.asarray(file.convert("RGB")), safety.card(256, 256))


def test_the_committed_file_is_small_and_in_the_published_layout() -> None:
    state = torch.load(COMMITTED, weights_only=True)
    assert COMMITTED.stat().st_size < 300_000
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert "vision_model.vision_model.embeddings.class_embedding" in state
    assert (state["concept_embeds_weights"] < 1).sum() == 1  # a cosine reaches no other threshold
    assert (state["special_care_embeds_weights"] > 1).all()


def test_a_training_can_be_begun_again(tmp_path, monkeypatch):
    monkeypatch.setattr(safety, "POOL", 4)
    for steps in (1, 2):
        safety.train(tmp_path, minutes=1e-9)  # one step
        assert torch.load(tmp_path / "safety.pt", weights_only=True)["step"] == steps
    assert load_safety_checker(safety.write(tmp_path, tmp_path / "models")).size == safety.SIZE
