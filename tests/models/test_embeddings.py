"""Textual inversion: the files, and what the networks make of them, against transformers with a larger table."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models.checkpoint import Checkpoint
from fooocus_stages.pipelines.models.clip import encode_texts, reweight
from fooocus_stages.pipelines.models.embeddings import embedding_names, new_tokens, read_embedding
from fooocus_stages.pipelines.models.handles import Clip, Embedding, TextEncoder
from safetensors.torch import save_file
from torch import Tensor, nn

from .conftest import WIDTH_G, WIDTH_L
from .weights.test_files import Hostile

WIDTHS = {"clip_l": WIDTH_L, "clip_g": WIDTH_G}
L1, L2, L3 = (torch.randn(n, WIDTH_L, generator=torch.Generator().manual_seed(n)) for n in (1, 2, 3))
G1, G2 = (torch.randn(n, WIDTH_G, generator=torch.Generator().manual_seed(n)) for n in (1, 2))

CONTENTS: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "sdxl.safetensors": ({"clip_g": G2, "clip_l": L2}, {"clip_l": L2, "clip_g": G2}),
    "in-half.safetensors": ({"clip_g": G2.half(), "clip_l": L2.half()}, {"clip_l": L2.half(), "clip_g": G2.half()}),
    "cog.safetensors": ({"text_encoders_0": L2, "text_encoders_1": G2}, {"clip_l": L2, "clip_g": G2}),
    "only-l.safetensors": ({"clip_l": L2}, {"clip_l": L2}),
    "only-g.safetensors": ({"clip_g": G2}, {"clip_g": G2}),
    "emb-params.safetensors": ({"emb_params": L3}, {"clip_l": L3}),
    "a1111.pt": (
        {"string_to_token": {"*": 265}, "string_to_param": {"*": L2}, "name": "x", "step": 3, "sd_checkpoint": None},
        {"clip_l": L2},
    ),
    "a1111-parameter.pt": ({"string_to_param": {"*": nn.Parameter(L2)}}, {"clip_l": L2}),
    "diffusers.bin": ({"<cat-toy>": L1[0]}, {"clip_l": L1}),
    "diffusers-rows.bin": ({"<cat-toy>": L3}, {"clip_l": L3}),
    "words-first.pt": ({"name": "x", "<cat-toy>": G1}, {"clip_g": G1}),
    "list.pt": ([{"a": L1[0], "b": G2}, {"c": L2}], {"clip_l": torch.cat([L1, L2]), "clip_g": G2}),
    "bare.pt": (L2, {"clip_l": L2}),
    "other-family.pt": ({"emb_params": torch.ones(4, 24)}, {}),
}


def on_cpu(*_: object) -> torch.device:
    """Leave modules where they are."""
    return torch.device("cpu")


def write(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("name", CONTENTS)
def test_every_kind_of_file(tmp_path: Path, name: str) -> None:
    content, wanted = CONTENTS[name]
    read = read_embedding(write(tmp_path / name, content), WIDTHS)
    assert read.vectors.keys() == wanted.keys()
    for encoder, rows in wanted.items():
        assert read.vectors[encoder].dtype == torch.float32
        assert torch.equal(read.vectors[encoder], rows.float())
    assert read.count == max((len(rows) for rows in wanted.values()), default=4)


def test_the_widths_of_a_file_for_another_family(tmp_path: Path) -> None:
    assert read_embedding(write(tmp_path / "x.pt", {"emb_params": torch.ones(4, 24)}), WIDTHS).widths == (24,)


BROKEN: dict[str, tuple[Any, str]] = {
    "nothing": ({"name": "x"}, "contains no vectors"),
    "empty-list": ([], "contains no vectors"),
    "number": (3, "contains no vectors"),
    "empty": ({"x": torch.ones(0, WIDTH_L)}, r"of shape \(0, 64\)"),
    "scalar": ({"x": torch.tensor(1.0)}, r"of shape \(\)"),
    "picture": ({"x": torch.ones(2, 3, WIDTH_L)}, r"of shape \(2, 3, 64\)"),
    "whole": ({"x": torch.ones(2, WIDTH_L, dtype=torch.int64)}, "int64"),
    "complex": ({"x": torch.ones(2, WIDTH_L, dtype=torch.complex64)}, "complex64"),
    "sparse": ({"x": torch.ones(2, WIDTH_L).to_sparse()}, "be vectors"),
    "nan": ({"clip_l": torch.full((2, WIDTH_L), torch.nan)}, "NaN or infinity"),
    "inf": ({"string_to_param": {"*": torch.full((WIDTH_L,), torch.inf)}}, "NaN or infinity"),
    "lora": ({"lora_te1_x.lora_up.weight": L2, "lora_te1_x.lora_down.weight": L2}, "network.*it is a LoRA"),
    "checkpoint": ({"first_stage_model.decoder.conv_in.weight": L2, "x": L2}, "network.*it is a VAE alone"),
    "network": ({f"layer_{i}": L2 for i in range(65)}, "network.*it has 65 of them"),
    "claim": ({"x": torch.ones(1, WIDTH_L).expand(1 << 40, WIDTH_L)}, "too few values"),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", BROKEN)
def test_what_holds_no_vectors_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, message = BROKEN[name]
    with pytest.raises(BadFile, match=rf"{name}\.pt .*{message}"):
        read_embedding(write(tmp_path / f"{name}.pt", content), WIDTHS)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = write(tmp_path / "x.pt", {"string_to_param": {"*": L1}, "evil": Hostile(marker)})
    with pytest.raises(BadFile, match=r"x\.pt .*running code"):
        read_embedding(path, WIDTHS)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["a embedding:x b"], ["x"]),
        (["(embedding:x:1.3), embedding:y,", "embedding:x"], ["x", "y,"]),
        (["Embedding:x", "an-embedding:y", "(embedding:5)"], []),
        (["embedding:a/b.pt\nembedding:"], ["a/b.pt", ""]),
        ([r"embedding:x\(1\)"], ["x(1)"]),
    ],
)
def test_names_in_texts(texts: list[str], names: list[str]) -> None:
    assert embedding_names(texts) == names


def test_new_ids_are_the_same_for_every_encoder() -> None:
    embeddings = {"a": Embedding({"clip_l": L2}, 2, (WIDTH_L,)), "b": Embedding({"clip_l": L1, "clip_g": G2}, 2, ())}
    for_l, for_g = (new_tokens(embeddings, encoder, 100) for encoder in ("clip_l", "clip_g"))
    assert for_l.ids == for_g.ids == {"a": range(100, 102), "b": range(102, 104)}
    assert (list(for_l.vectors), list(for_g.vectors)) == ([100, 101, 102], [102, 103])


@pytest.fixture
def clip(tiny: Checkpoint) -> Clip:
    assert tiny.clip is not None
    return tiny.clip


BOTH = Embedding({"clip_l": L2, "clip_g": G2}, 2, (WIDTH_L, WIDTH_G))
L_ALONE = Embedding({"clip_l": L2}, 2, (WIDTH_L,))
STRANGE = Embedding({}, 3, (24,))
LONG = Embedding(
    {
        "clip_l": torch.randn(100, WIDTH_L, generator=torch.Generator().manual_seed(4)),
        "clip_g": torch.randn(100, WIDTH_G, generator=torch.Generator().manual_seed(5)),
    },
    100,
    (WIDTH_L, WIDTH_G),
)


def enlarged(clip: Clip, which: int, vectors: Tensor) -> Callable[[Tensor], tuple[Any, Tensor]]:
    """Fooocus's way: a table whose rows V-1, V, … are the vectors and whose last row is the end token's, read by
    transformers, which takes the pooled vector at the largest id. Ids V + k mean vector k."""
    encoder = clip.encoders[which]
    network = cast(Any, copy.deepcopy(encoder.network.module))
    size = len(clip.tokenizer)
    end = network.get_input_embeddings().weight[size - 1].clone()
    network.resize_token_embeddings(size + len(vectors))
    network.get_input_embeddings().weight.data[size - 1 : -1] = vectors
    network.get_input_embeddings().weight.data[-1] = end
    tower = getattr(network, "text_model", network)
    tower.eos_token_id = 2  # the published models' setting, by which the largest id is the end

    def read(ids: Tensor) -> tuple[Any, Tensor]:
        ids = torch.where(ids == size - 1, size + len(vectors) - 1, torch.where(ids >= size, ids - 1, ids))
        out = network(input_ids=ids, output_hidden_states=True)
        return out, out.text_embeds if encoder.pooled else out.pooler_output

    return read


def ids_of(*words: str | int, clip: Clip, pad: int) -> Tensor:
    """One section, by hand: ordinary words, and numbers for vectors."""
    tokens = [clip.tokenizer.start]
    for word in words:
        tokens += [len(clip.tokenizer) + word] if isinstance(word, int) else clip.tokenizer.ids(word)
    tokens += [clip.tokenizer.end, *[pad] * 77]
    return torch.tensor([tokens[:77]])


@pytest.mark.parametrize("skip", [1, 2, 3, 12])
def test_as_transformers_with_a_larger_table(clip: Clip, skip: int) -> None:
    hidden, pooled = encode_texts(replace(clip, skip=skip), ["red embedding:x cat"], 1, on_cpu, {"x": BOTH})
    states = []
    for which, vectors in enumerate((L2, G2)):
        ids = ids_of("red", 0, 1, "cat", clip=clip, pad=clip.encoders[which].pad)
        out, wanted_pooled = enlarged(clip, which, vectors)(ids)
        states.append(out.hidden_states[-skip] if skip < 4 else out.last_hidden_state)
    assert torch.allclose(hidden, torch.cat(states, dim=-1), atol=1e-6)
    assert torch.allclose(pooled, wanted_pooled, atol=1e-6)


def test_weights_act_on_every_vector(clip: Clip) -> None:
    hidden, _ = encode_texts(clip, ["red (embedding:x:1.3)"], 1, on_cpu, {"x": BOTH})
    empty, _ = encode_texts(clip, [""], 1, on_cpu)
    z = enlarged(clip, 0, L2)(ids_of("red", 0, 1, clip=clip, pad=clip.encoders[0].pad))[0].hidden_states[-2][0]
    weights = torch.ones(77)
    weights[2:4] = 1.3
    assert torch.allclose(hidden[0, :, :WIDTH_L], reweight(z, empty[0, :, :WIDTH_L], weights), atol=1e-5)


def test_a_long_one_is_cut_across_sections(clip: Clip) -> None:
    hidden, pooled = encode_texts(clip, ["red " * 70 + "embedding:x cat"], 1, on_cpu, {"x": LONG})
    sections = [("red",) * 70 + tuple(range(5)), tuple(range(5, 80)), (*range(80, 100), "cat")]
    read = enlarged(clip, 1, LONG.vectors["clip_g"])
    ids = torch.cat([ids_of(*words, clip=clip, pad=0) for words in sections])
    out, wanted_pooled = read(ids)
    assert torch.allclose(hidden[0, :, WIDTH_L:], out.hidden_states[-2].reshape(-1, WIDTH_G), atol=1e-5)
    assert torch.allclose(pooled, wanted_pooled[:1], atol=1e-5)


@pytest.mark.parametrize(("count", "first", "second"), [(5, 5, 0), (6, 0, 6), (7, 0, 7), (8, 5, 3), (16, 5, 11)])
def test_from_eight_vectors_on_it_is_split(clip: Clip, count: int, first: int, second: int) -> None:
    size = len(clip.tokenizer)
    sections = clip.tokenizer.sections("red " * 70 + "embedding:x", 0, {"x": range(size, size + count)})
    new = [sum(token >= size for token, _ in section) for section in sections]
    assert new == [first, second][: len(sections)]
    assert len(sections) == (2 if second else 1)


def test_a_short_one_moves_whole_into_the_next_section(clip: Clip) -> None:
    moved, _ = encode_texts(clip, ["red " * 74 + "embedding:x"], 1, on_cpu, {"x": BOTH})
    first, _ = encode_texts(clip, ["red " * 74], 1, on_cpu)
    second, _ = encode_texts(clip, ["embedding:x"], 1, on_cpu, {"x": BOTH})
    assert torch.allclose(moved, torch.cat([first, second], dim=1), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("embedding:x,", "embedding:x ,"),
        ("(embedding:x,:1.2)", "(embedding:x ,:1.2)"),
        ("embedding:none cat", "cat"),
        ("embedding:x,,x cat", "cat"),
        ("embedding:none, cat", ", cat"),
        ("embedding: cat", "cat"),
        ("embedding:, cat", ", cat"),
        ("embedding:c, cat", "embedding:c, cat"),
        ("embedding:,x", "embedding:x x"),
    ],
)
def test_commas_and_names_that_are_not_there(clip: Clip, text: str, same_as: str) -> None:
    embeddings = {"x": BOTH, "c,": BOTH}
    ours = encode_texts(clip, [text], 1, on_cpu, embeddings)
    theirs = encode_texts(clip, [same_as], 1, on_cpu, embeddings)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_without_embeddings_the_words_are_text(clip: Clip) -> None:
    plain = clip.tokenizer.sections("embedding:x", 0)
    assert [token for token, _ in plain[0]][1:12] == clip.tokenizer.ids("embedding:x")
    assert torch.equal(
        encode_texts(clip, ["embedding:x"], 1, on_cpu)[0], encode_texts(clip, ["embedding:x"], 1, on_cpu)[0]
    )


@pytest.mark.parametrize("text", ["red embedding:x cat", "red (embedding:x:1.4) (cat:1.2)", "embedding:x"])
def test_an_encoder_that_it_does_not_fit_reads_the_text_without_it(clip: Clip, text: str) -> None:
    hidden, pooled = encode_texts(clip, [text], 1, on_cpu, {"x": L_ALONE})
    both, _ = encode_texts(clip, [text], 1, on_cpu, {"x": BOTH})
    without, pooled_without = encode_texts(clip, [text], 1, on_cpu, {})
    assert torch.allclose(hidden[..., :WIDTH_L], both[..., :WIDTH_L], atol=1e-6)
    assert torch.allclose(hidden[..., WIDTH_L:], without[..., WIDTH_L:], atol=1e-6)
    assert torch.allclose(pooled, pooled_without, atol=1e-6)


def test_one_that_fits_nothing_changes_nothing(clip: Clip) -> None:
    ours = encode_texts(clip, ["red (embedding:x:1.5) cat"], 1, on_cpu, {"x": STRANGE})
    assert torch.equal(ours[0], encode_texts(clip, ["red cat"], 1, on_cpu)[0])


def test_several_texts_and_embeddings_in_one_run(clip: Clip) -> None:
    texts = ["embedding:x red", "cat embedding:y, (embedding:x:0.7)", "red cat"]
    embeddings = {"x": BOTH, "y": LONG}
    alone = [encode_texts(clip, [text], 1, on_cpu, embeddings) for text in texts]
    hidden, pooled = encode_texts(clip, texts, 2, on_cpu, embeddings)
    assert torch.allclose(hidden, torch.cat([h for h, _ in alone], dim=1), atol=1e-5)
    assert torch.allclose(pooled, alone[0][1] + alone[1][1], atol=1e-5)


def test_a_network_in_bfloat16(clip: Clip) -> None:
    for encoder in clip.encoders:
        encoder.network.module.to(torch.bfloat16)
    exact = BOTH.vectors["clip_l"].bfloat16()
    hidden, _ = encode_texts(clip, ["embedding:x"], 1, on_cpu, {"x": BOTH})
    out, _ = enlarged(clip, 0, exact)(ids_of(0, 1, clip=clip, pad=clip.encoders[0].pad))
    assert torch.equal(hidden[..., :WIDTH_L], out.hidden_states[-2].float())


def state_of(encoder: TextEncoder) -> list[Tensor]:
    return [tensor.clone() for tensor in encoder.network.module.state_dict().values()]


def hooks_of(encoder: TextEncoder) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in encoder.network.module.modules())


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_stays_as_it_is(clip: Clip, fails: bool) -> None:
    plain, _ = encode_texts(clip, ["red cat"], 1, on_cpu)  # transformers puts hooks of its own at the first run
    before = [(state_of(encoder), hooks_of(encoder)) for encoder in clip.encoders]
    if fails:
        layer = cast(Any, clip.encoders[1].network.module).text_model.final_layer_norm
        hook = layer.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            encode_texts(clip, ["embedding:x"], 1, on_cpu, {"x": BOTH})
        hook.remove()
    else:
        encode_texts(clip, ["embedding:x"], 1, on_cpu, {"x": BOTH})
    for encoder, (state, hooks) in zip(clip.encoders, before, strict=True):
        assert hooks_of(encoder) == hooks
        assert all(torch.equal(old, new) for old, new in zip(state, state_of(encoder), strict=True))
    assert torch.equal(plain, encode_texts(clip, ["red cat"], 1, on_cpu)[0])
