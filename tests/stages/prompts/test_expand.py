"""Where the expansion model is looked for, what happens without it, and how long it is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile, Interrupted, MissingFile
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models import gpt2
from fooocus_stages.pipelines.stages.prompts import expand
from fooocus_stages.pipelines.stages.prompts.prompt import compose_with
from fooocus_stages.pipelines.text.expansion import stand_in_expander

POCKETS = POCKET / expand.KIND
TEXT = "a red circle on a blue background"


def host(*roots: Path, told: list[str] | None = None) -> LocalHost:
    return LocalHost(list(roots), device="cpu", on_notice=(told if told is not None else []).append)


def copy_of_the_pockets(root: Path) -> Path:
    return Path(shutil.copytree(POCKETS, root / expand.KIND))


@pytest.mark.parametrize("weights", expand.WEIGHTS)
def test_weights_are_found_under_each_name(tmp_path: Path, weights: str) -> None:
    folder = copy_of_the_pockets(tmp_path)
    (folder / "model.safetensors").rename(folder / weights)
    found = expand.find_files(host(tmp_path))
    assert found is not None
    assert found.weights == folder / weights
    assert expand.expand(host(tmp_path), TEXT, 1) == expand.expand(host(POCKET), TEXT, 1)


def test_a_fooocus_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = copy_of_the_pockets(tmp_path / "models")
    for extra in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / extra).write_text("{}", "utf-8")
    assert expand.expand(host(tmp_path), TEXT, 1) == expand.expand(host(POCKET), TEXT, 1)


def test_two_models_do_not_mix(tmp_path: Path) -> None:
    folder = copy_of_the_pockets(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for name in ("vocab.json", "merges.txt"):
        (folder / name).rename(folder / f"{name}.old")
    (folder / "tokenizer.json").write_text("{}", "utf-8")
    found = expand.find_files(host(tmp_path, POCKET))
    assert found is not None
    assert {path.parent for path in found.all} == {folder}


def test_parts_may_lie_in_two_folders(tmp_path: Path) -> None:
    folder = copy_of_the_pockets(tmp_path / "texts")
    weights = tmp_path / "weights" / expand.KIND / "fooocus_expansion.bin"
    weights.parent.mkdir(parents=True)
    (folder / "model.safetensors").rename(weights)
    found = expand.find_files(host(tmp_path / "texts", tmp_path / "weights"))
    assert found is not None
    assert (found.config, found.weights) == (folder / "config.json", weights)


def test_without_any_file_a_stand_in_says_how_to_get_them(tmp_path: Path) -> None:
    (tmp_path / expand.KIND).mkdir(parents=True)
    (tmp_path / expand.KIND / "readme.txt").write_text("weights go here", "utf-8")
    told: list[str] = []
    assert expand.expand(host(tmp_path, told=told), TEXT, 1) == stand_in_expander(TEXT, 1)
    (notice,) = told
    for part in ("'Fooocus V2'", "positive.txt", "pytorch_model.bin", expand.KIND, "assets fetch expansion", "BY-NC"):
        assert part in notice


@pytest.mark.parametrize(
    ("kept", "lacking"),
    [
        (
            {"model.safetensors"},
            r"config\.json and positive\.txt and vocab\.json with merges\.txt or tokenizer\.json missing; fetch",
        ),
        (
            {"config.json", "positive.txt", "vocab.json", "merges.txt"},
            r"model\.safetensors or pytorch_model\.bin or",
        ),
        (
            {"config.json", "positive.txt", "vocab.json", "model.safetensors"},
            r"vocab\.json with merges\.txt or tokenizer\.json missing; fetch",
        ),
        ({"config.json", "vocab.json", "merges.txt", "model.safetensors"}, r"positive\.txt missing; fetch"),
    ],
)
def test_an_incomplete_model_is_an_error_that_names_the_missing_files(
    tmp_path: Path, kept: set[str], lacking: str
) -> None:
    for path in copy_of_the_pockets(tmp_path).iterdir():
        if path.name not in kept:
            path.unlink()
    with pytest.raises(MissingFile, match=lacking):
        compose_with(host(tmp_path), TEXT, styles="Fooocus V2")
    (prompt,), _ = compose_with(host(tmp_path), TEXT, styles="Stages Clean")
    assert prompt.expansion == ""


def test_a_broken_file_is_reported_when_it_is_used(tmp_path: Path) -> None:
    (copy_of_the_pockets(tmp_path) / "merges.txt").write_text("x", "utf-8")
    with pytest.raises(BadFile, match=r"merges\.txt"):
        expand.expand(host(tmp_path), TEXT, 1)


def test_a_prompt_ends_with_its_expansion() -> None:
    told: list[str] = []
    prompts, _ = compose_with(host(POCKET, told=told), f"{TEXT}\nfilm grain", styles="Fooocus V2", seed=5, count=2)
    for prompt in prompts:
        assert prompt.positive == (TEXT, "film grain", prompt.expansion)
        assert prompt.positive_top_k == 2
        assert prompt.expansion == expand.expand(host(POCKET), TEXT, prompt.seed)
        assert prompt.expansion.startswith(f"{TEXT}, ")
    assert prompts[0].expansion != prompts[1].expansion
    assert told == []


@pytest.mark.parametrize(
    ("text", "first", "more"),
    [("", "", ""), ("\nsecond", "", "\nsecond"), (" ,. \nb", "", "\nb"), (f" {TEXT}. \nb\nc", f"{TEXT}, ", "\nb\nc")],
)
def test_only_the_first_line_is_continued(text: str, first: str, more: str) -> None:
    expanded = expand.expand(host(POCKET), text, 3)
    assert expanded.startswith(first)
    assert expanded.endswith(more)
    assert bool(first) == (len(expanded) > len(first + more))


def test_the_model_is_read_once_and_again_when_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    load = gpt2.load_expansion
    monkeypatch.setattr(gpt2, "load_expansion", lambda *args: (reads.append(args), load(*args))[1])
    folder, here = copy_of_the_pockets(tmp_path), host(tmp_path)
    expand.expand(here, TEXT, 1)
    expand.expand(here, "another text", 2)
    assert len(reads) == 1
    (folder / "positive.txt").write_text("sharp\nsoft\n", "utf-8")
    assert set(expand.expand(here, "a", 1).replace(",", "").split()) == {"a", "sharp", "soft"}
    assert len(reads) == 2


def test_words_that_are_no_token_are_reported(tmp_path: Path) -> None:
    (copy_of_the_pockets(tmp_path) / "positive.txt").write_text("sharp\nunheardof\n", "utf-8")
    told: list[str] = []
    expand.expand(host(tmp_path, told=told), TEXT, 1)
    assert told == ["positive.txt: 1 of 2 words are not tokens of the vocabulary and are never added (unheardof)"]


def test_it_can_be_stopped() -> None:
    class Stopped(LocalHost):
        def check_interrupted(self) -> None:
            raise Interrupted

    with pytest.raises(Interrupted):
        expand.expand(Stopped([POCKET], device="cpu"), TEXT, 1)
