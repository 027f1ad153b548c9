"""The prompt grammar: tags, arrays, lines, styles, expansion, seeds; and what the host adds to it."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile, BadValue, MissingFile, UnknownName
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.host.model_files import SUFFIXES
from fooocus_stages.pipelines.stages.prompts.prompt import (
    apply_arrays,
    check_styles,
    compose,
    compose_with,
    join_styles,
    split_styles,
    style_names,
    take_lora_tags,
)
from fooocus_stages.pipelines.text.styles import Style, Styles
from fooocus_stages.pipelines.types import Lora
from hypothesis import given, settings
from hypothesis import strategies as st

FILES = ["hey.safetensors", "sub/you.safetensors"]
LCM = Lora("sdxl_lcm_lora.safetensors", 1.0, required=True)
BOOK = Styles(
    [
        Style("Enhance", "", "neg enhance"),
        Style("Sharp", "sharp {prompt}", "neg sharp"),
        Style("Anime", "anime {prompt}", "neg anime"),
        Style("Manga", "manga {prompt}", "neg manga"),
        Style("Mood", "low sun\nlong shadows", ""),
    ]
)


def expand(text: str, seed: int) -> str:
    return f"E({text})" if text else ""


@pytest.mark.parametrize(
    ("line", "wired", "loras", "expected"),
    [
        ("a cat,  on a   mat ,, <lora:hey:0.5>", [], [("hey", 0.5)], "a cat, on a mat"),
        ("a cat<lora:hey:0.5> on a mat", [], [("hey", 0.5)], "a cat on a mat"),
        ("(a cat:1.2),dog", [], [], "(a cat:1.2), dog"),
        ("a cat, no tokens , here..", [], [], "a cat, no tokens, here.."),
        (
            "<lora:hey:0.5>, <lora:hey:0.7>, <lora:hey:.5>, <lora:you:+1.>",
            [],
            [("hey", 0.5), ("hey", 0.7), ("sub/you", 1.0)],
            "",
        ),
        ("<lora:hey:0.5>", [("hey", 1.0)], [("hey", 1.0)], ""),
        ("<lora:hey:0.5>", [("None", 1.0)], [("hey", 0.5)], ""),
        ("x <lora:missing:0.5> y", [], [], "x y"),
        ("<lora:hey:1e-1> a", [], [], "<lora:hey:1e-1> a"),
        ("<lora:hey> a", [], [], "<lora:hey> a"),
        ("<LORA:hey:1> a", [], [], "<LORA:hey:1> a"),
        ("[[red,green]] <lora:hey:1> apple", [], [("hey", 1.0)], "[[red, green]] apple"),
        ("<lora:a,b:1>", [], [], "<lora:a, b:1>"),
    ],
)
def test_lora_tags(line: str, wired: list[tuple[str, float]], loras: list[tuple[str, float]], expected: str) -> None:
    given_loras = [Lora(f"{name}.safetensors" if name != "None" else name, weight) for name, weight in wired]
    text, found = take_lora_tags(line, given_loras, FILES)
    assert text == expected
    assert found == tuple(Lora(f"{name}.safetensors", weight) for name, weight in loras)


def test_a_wired_lora_is_known_by_its_stem_too() -> None:
    assert take_lora_tags("<lora:you:1>", [Lora("you", 0.3)], FILES)[1] == (Lora("you", 0.3),)


def test_tags_add_up_to_five_and_required_ones_come_last() -> None:
    files = [f"{name}.safetensors" for name in "abcdefg"]
    line, wired = "".join(f"<lora:{name}:1>" for name in "abcdef"), [LCM, Lora("g.safetensors", 0.5)]
    told: list[str] = []
    loras = take_lora_tags(line, wired, files, told.append)[1]
    assert [lora.name[0] for lora in loras] == ["g", "a", "b", "c", "d", "s"]
    assert loras[-1] == LCM
    assert len(told) == 1
    assert "e.safetensors, f.safetensors" in told[0]


def test_more_than_five_wired_loras_stay() -> None:
    wired = [Lora(f"{name}.safetensors", 1.0) for name in "abcdefg"]
    assert take_lora_tags("<lora:hey:1>", wired, FILES)[1] == tuple(wired)


@pytest.mark.parametrize("available", [[], ["sub/sdxl_lcm_lora.safetensors"]])
def test_a_tag_of_a_required_lora_is_swallowed(available: list[str]) -> None:
    told: list[str] = []
    assert take_lora_tags("a <lora:sdxl_lcm_lora:1>", [LCM], available, told.append) == ("a", (LCM,))
    assert told == []


def test_a_weight_without_bound_is_refused() -> None:
    with pytest.raises(BadValue, match="'hey'"):
        take_lora_tags(f"<lora:hey:{'9' * 400}>", [], FILES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[[red,green,blue]] [[cat,dog]]",
            ["red cat", "green cat", "blue cat", "red dog", "green dog", "blue dog", "red cat"],
        ),
        ("[[red, green]] apple", ["red apple", " green apple"]),
        ("[[a,,b]]", ["a", "", "b"]),
        ("[[[x,y]]]", ["[x]", "y]"]),
        ("[[]] ]] [[", [" ]] [["]),
        ("[[x,y]] [[x,y]]", ["x x", "y x", "x y", "y y"]),
    ],
)
def test_arrays(text: str, expected: list[str]) -> None:
    assert [apply_arrays(text, index) for index in range(len(expected))] == expected


@pytest.mark.parametrize(
    ("text", "negative", "styles", "positives", "negatives", "top_k"),
    [
        ("a cat", "", ["Fooocus V2", "Enhance", "Sharp"], ["sharp a cat", "E(a cat)"], ["neg enhance", "neg sharp"],
         (1, 2)),
        ("a cat", "", ["Fooocus V2", "Enhance"], ["a cat", "E(a cat)"], ["neg enhance"], (1, 1)),
        ("a cat\nsoft light\n\nfilm grain", "blurry\nugly", ["Enhance", "Anime", "Manga"],
         ["anime a cat", "manga a cat", "soft light", "film grain"],
         ["neg enhance", "neg anime", "neg manga", "blurry", "ugly"], (4, 5)),
        ("", "", ["Sharp", "Fooocus V2"], ["sharp "], ["neg sharp"], (1, 1)),
        ("<lora:hey:0.5>", "", ["Fooocus V2"], ["", ""], [""], (1, 1)),
        (",\nsecond", "", [], ["second"], [""], (1, 1)),
        ("a cat", "", ["Mood"], ["a cat", "low sun", "long shadows"], [""], (3, 1)),
        ("a cat", "", ["Mood", "Sharp"], ["low sun", "long shadows", "sharp a cat"], ["neg sharp"], (3, 1)),
        ("", "", [], [""], [""], (1, 1)),
    ],
)  # fmt: skip
def test_texts(
    text: str,
    negative: str,
    styles: list[str],
    positives: list[str],
    negatives: list[str],
    top_k: tuple[int, int],
) -> None:
    (prompt,), _ = compose(text, negative, styles, known=BOOK, available_loras=FILES, expander=expand)
    assert list(prompt.positive) == positives
    assert list(prompt.negative) == negatives
    assert (prompt.positive_top_k, prompt.negative_top_k) == top_k


def test_arrays_and_ordered_wildcards_follow_the_picture() -> None:
    text = "a [[red,blue]] __hue__\n[[x,y]] __hue__ <lora:hey:1>"
    words = {"hue": ["red", "green", "blue"]}
    prompts, loras = compose(text, count=3, wildcards=words, available_loras=FILES, in_order=True)
    assert [prompt.positive for prompt in prompts] == [
        ("a red red", "[[x,y]] red <lora:hey:1>"),
        ("a  blue green", "[[x,y]] green <lora:hey:1>"),
        ("a red blue", "[[x,y]] blue <lora:hey:1>"),
    ]
    assert prompts[1].text == "a  blue green\n[[x,y]] green <lora:hey:1>"
    assert loras == ()


def test_the_draws_have_one_order() -> None:
    words = {"n": [str(n) for n in range(1000)]}
    (prompt,), _ = compose("__n__\n__n__", "__n__\n__n__", ["Random Style"], seed=9, known=BOOK, wildcards=words)
    rng = random.Random(9)
    first, against, more, against_more = (rng.choice(words["n"]) for _ in range(4))
    assert (prompt.text, prompt.negative_text) == (f"{first}\n{more}", f"{against}\n{against_more}")
    assert prompt.styles == (rng.choice(list(BOOK)),)


@pytest.mark.parametrize(
    ("seed", "increment", "expected"),
    [
        (2**63 - 2, True, [2**63 - 2, 2**63 - 1, 0]),
        (2**63 - 2, False, [2**63 - 2] * 3),
        (2**63, True, [0, 1, 2]),
    ],
)
def test_seeds(seed: int, increment: bool, expected: list[int]) -> None:
    prompts, _ = compose("a", seed=seed, count=3, increment_seed=increment)
    assert [prompt.seed for prompt in prompts] == expected


def test_a_kept_seed_draws_the_same_words_and_still_walks_the_arrays() -> None:
    words = {"n": [str(n) for n in range(1000)]}
    prompts, _ = compose("__n__ [[a,b]]", seed=5, count=2, wildcards=words, increment_seed=False)
    first, second = (prompt.text.split() for prompt in prompts)
    assert first[0] == second[0]
    assert (first[1], second[1]) == ("a", "b")


def test_the_log_names_the_expansion_and_the_drawn_styles() -> None:
    (prompt,), _ = compose("a", styles=["Sharp", "Fooocus V2"], known=BOOK, expander=expand)
    assert prompt.styles == ("Fooocus V2", "Sharp")
    assert prompt.expansion == "E(a)"
    (prompt,), _ = compose("", styles=["Sharp", "Fooocus V2"], known=BOOK, expander=expand)
    assert prompt.styles == ("Sharp",)


def test_bad_values() -> None:
    with pytest.raises(BadValue, match="at least 1, not 0"):
        compose("a", count=0)
    with pytest.raises(UnknownName, match="'Sharp'"):
        compose("a", styles=["Sharpp"], known=BOOK)
    with pytest.raises(BadValue, match="'Random Style'"):
        compose("a", styles=["Random Style"])


PIECES = st.sampled_from(
    ["[[", "]]", ",", "<lora:", "hey", ":", "0.5", ">", "__hue__", "__loop__", "__", "_", "{prompt}", "\n", "  ", ".",
     "<lora:hey:1>", "[[a,b]]", "\u732b", "\x85", "\u2028", "(", ")", "-", "\0", "\ud800"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(max_size=60))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    text=TEXTS,
    negative=TEXTS,
    styles=st.lists(st.sampled_from([*BOOK, "Random Style", "Fooocus V2"]), max_size=4),
    seed=st.integers(0, 2**64),
    count=st.integers(1, 4),
    in_order=st.booleans(),
)
def test_any_text_composes_and_always_to_the_same(
    text: str, negative: str, styles: list[str], seed: int, count: int, in_order: bool
) -> None:
    words = {"hue": ["red", "__hue__", "[[x,y]]"], "loop": ["__loop__"]}
    twice = [
        compose(
            text, negative, styles, (LCM,), seed, count,
            known=BOOK, wildcards=words, available_loras=FILES, in_order=in_order,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert twice[0] == twice[1]
    prompts, loras = twice[0]
    assert len(prompts) == count
    assert loras[-1] == LCM
    for prompt in prompts:
        expanded = "Fooocus V2" in prompt.styles
        assert len(prompt.positive) == prompt.positive_top_k + expanded
        assert len(prompt.negative) == prompt.negative_top_k
        assert 0 <= prompt.seed < 2**63


@settings(deadline=None, max_examples=200, derandomize=True)
@given(text=TEXTS, index=st.integers(0, 10**6))
def test_arrays_take_any_text(text: str, index: int) -> None:
    assert len(apply_arrays(text, index)) <= len(text)


def host(folder: Path, told: list[str] | None = None) -> LocalHost:
    return LocalHost([folder], on_notice=(told if told is not None else []).append)


def write_styles(path: Path, *names: str, text: str = "{prompt}") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"name": name, "prompt": f"{text} {name}"} for name in names]), "utf-8")


def test_join_and_split_styles() -> None:
    assert join_styles(["", "None", "Sharp", "Anime, Manga"]) == "Sharp, Anime, Manga"
    assert split_styles("Sharp,Anime\n Manga ,, None") == ["Sharp", "Anime", "Manga"]
    assert split_styles("Red, soft, Sharp", {"Red, soft"}) == ["Red, soft", "Sharp"]
    assert split_styles("") == []


def test_names_of_files_come_before_ours(tmp_path: Path) -> None:
    write_styles(tmp_path / "styles" / "mine.json", "Mine", "Fooocus Sharp")
    names = style_names(host(tmp_path))
    assert names[:5] == ["Fooocus V2", "Random Style", "Mine", "Fooocus Sharp", "Stages Clean"]
    assert names[-1] == "Fooocus Enhance"
    assert len(set(names)) == len(names)


def test_a_broken_file_stops_a_run_but_not_the_list(tmp_path: Path) -> None:
    write_styles(tmp_path / "styles" / "mine.json", "Mine")
    (tmp_path / "styles" / "broken.json").write_text("{", "utf-8")
    told: list[str] = []
    assert "Mine" in style_names(host(tmp_path, told))
    assert "broken.json" in told[0]
    with pytest.raises(BadFile, match=r"broken\.json"):
        compose_with(host(tmp_path), "a", styles="Mine")


def test_folders_given_come_first(tmp_path: Path) -> None:
    write_styles(tmp_path / "styles" / "mine.json", "Mine", text="old {prompt}")
    write_styles(tmp_path / "given" / "sub" / "x.json", "Mine", text="new {prompt}")
    (tmp_path / "given" / "hue.txt").write_text("teal", "utf-8")
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "hue.txt").write_text("red", "utf-8")
    given_folder = tmp_path / "given"
    (prompt,), _ = compose_with(
        host(tmp_path), "__hue__", styles="Mine", styles_dir=given_folder, wildcards_dir=given_folder
    )
    assert prompt.positive == ("new teal Mine",)
    for wrong in ({"styles_dir": tmp_path / "no"}, {"wildcards_dir": tmp_path / "no"}):
        with pytest.raises(MissingFile, match=r"'.*no' does not exist"):
            compose_with(host(tmp_path), "a", **wrong)


def test_stand_ins_say_what_they_are(tmp_path: Path) -> None:
    told: list[str] = []
    (prompt,), _ = compose_with(host(tmp_path, told), "a", styles="Fooocus V2, Fooocus Enhance, Fooocus Sharp")
    assert len(prompt.positive) == 2
    assert len(told) == 2
    assert "'Fooocus Enhance' and 'Fooocus Sharp': a stand-in" in told[0]
    assert "sdxl_styles" in told[0]
    assert "--styles-dir" in told[0]
    assert "'Fooocus V2': a stand-in" in told[1]


def test_the_real_files_win_over_stand_ins(tmp_path: Path) -> None:
    write_styles(tmp_path / "styles" / "sdxl_styles_fooocus.json", "Fooocus Sharp", text="real {prompt}")
    told: list[str] = []
    (prompt,), _ = compose_with(host(tmp_path, told), "a", styles=["Fooocus Sharp"])
    assert prompt.positive == ("real a Fooocus Sharp",)
    assert told == []


def test_a_fooocus_folder_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUFFIXES, "sdxl_styles", {".json"})
    (tmp_path / "models").mkdir()
    write_styles(tmp_path / "sdxl_styles" / "sdxl_styles_fooocus.json", "Fooocus Sharp", "A", text="stock {prompt}")
    write_styles(tmp_path / "sdxl_styles" / "zz_mine.json", "B")
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "hue.txt").write_text("red", "utf-8")
    told: list[str] = []
    assert style_names(host(tmp_path))[2:5] == ["B", "Fooocus Sharp", "A"]
    (prompt,), _ = compose_with(host(tmp_path, told), "__hue__", styles="Fooocus Sharp, Random Style", seed=1)
    assert prompt.positive[0] == "stock red Fooocus Sharp"
    rng = random.Random(1)
    rng.choice(["red"])
    assert prompt.styles[1] == rng.choice(["B", "Fooocus Sharp", "A"])
    assert told == []


def test_missing_wildcards_and_loras_are_reported_once(tmp_path: Path) -> None:
    told: list[str] = []
    compose_with(host(tmp_path, told), "a __nope__ <lora:gone:1>", count=3)
    assert len(told) == 2
    assert "'gone'" in told[0]
    assert "nope.txt" in told[1]


@pytest.mark.parametrize(
    ("name", "files", "named"),
    [
        ("cats", ["cats.yaml"], "cats.yaml can't be read: write one entry per line into cats.txt"),
        ("animals/cats", ["Animals/Cats.yml", "dogs.yaml"], "; Animals/Cats.yml can't be read"),
        ("cats", ["a.yaml", "b.yaml", "c.json", "d.yaml"], "; a.yaml, b.yaml, c.json and 1 more can't be read"),
    ],
)
def test_wildcards_in_other_formats_are_named(tmp_path: Path, name: str, files: list[str], named: str) -> None:
    for file in files:
        (tmp_path / "wildcards" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "wildcards" / file).write_text("cats: [tabby]")
    told: list[str] = []
    compose_with(host(tmp_path, told), f"a __{name}__")
    (note,) = told
    assert named in note


def test_a_list_of_styles_of_a1111_is_named(tmp_path: Path) -> None:
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "styles.csv").write_text("name,prompt,negative_prompt\nInk,ink,")
    with pytest.raises(UnknownName, match=r"styles\.csv can't be read: only Fooocus's JSON is"):
        check_styles(host(tmp_path), ["Ink"])
    with pytest.raises(UnknownName, match=r"styles\.csv can't be read"):
        check_styles(host(tmp_path / "elsewhere"), ["Ink"], tmp_path / "styles")


@pytest.mark.parametrize(
    "text", ["a <lora:hey>", "a\n<lora:hey:0.5>", "a <lora:hey:0.5:0.7>", "a\n[[red,blue]]", "a __no/such__"]
)
def test_syntax_that_is_read_as_words_is_reported_once(text: str) -> None:
    told: list[str] = []
    prompts, loras = compose(text, count=2, available_loras=FILES, notice=told.append)
    assert (prompts[0].text, loras, len(told)) == (text, (), 1)


@pytest.mark.parametrize("name", ["sub/you", "SUB\\You", "you.safetensors", " you "])
def test_a_tag_names_its_file_in_any_spelling(name: str) -> None:
    assert take_lora_tags(f"a <lora:{name}:0.5>", [], FILES)[1] == (Lora("sub/you.safetensors", 0.5),)


def test_check_styles(tmp_path: Path) -> None:
    check_styles(host(tmp_path), [None, "", "None", "Fooocus V2", "Random Style", "stages watercolour, Stages Macro"])
    with pytest.raises(UnknownName, match=r"'Stages Watercolor' \(did you mean 'Stages Watercolour'"):
        check_styles(host(tmp_path), ["Stages Watercolor"])


def test_the_prompt_side_needs_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from fooocus_stages.pipelines.host import LocalHost\n"
        "from fooocus_stages.pipelines.stages.prompts.prompt import compose_with\n"
        "compose_with(LocalHost(), 'a fox', styles='Stages Watercolour')\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
