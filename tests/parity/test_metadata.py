"""The text written into a picture: equal to Fooocus's, in both schemes."""

import ast
import hashlib
import json
from typing import Any

from fooocus_stages.pipelines.stages.recipes.write_metadata import PictureInfo, a1111_text, fooocus_text, rows
from fooocus_stages.pipelines.types import FreeU, Lora

from .golden import Case, each_case

LITERALS = ("styles", "resolution", "adm_guidance", "seed", "freeu")


def picture_info(params: dict[str, Any]) -> PictureInfo:
    known = {key: value for _, key, value in params["rows"]}
    values = {key: ast.literal_eval(known[key]) if key in LITERALS else known[key] for key in known}
    values = {k: v for k, v in values.items() if k != "metadata_scheme" and not k.startswith("lora_combined")}
    values["styles"] = tuple(values["styles"])
    if "freeu" in values:
        values["freeu"] = FreeU(*values["freeu"])
    return PictureInfo(
        **values,
        loras=tuple(Lora(*pair) for pair in params["loras"]),
        full_prompt=tuple(params["full_prompt"]),
        full_negative_prompt=tuple(params["full_negative_prompt"]),
    )


def hash_of(kind: str, name: str) -> str:
    return hashlib.sha256(name.split("/")[-1].encode()).hexdigest()[:10]


@each_case("metadata")
def test_fooocus_scheme(case: Case) -> None:
    ours = fooocus_text(picture_info(case.params), hash_of)
    assert json.loads(ours) == json.loads(case.params["expected"]["fooocus"])
    assert ours == case.params["expected"]["fooocus"]


@each_case("metadata")
def test_a1111_scheme(case: Case) -> None:
    assert a1111_text(picture_info(case.params), hash_of) == case.params["expected"]["a1111"]


@each_case("metadata")
def test_rows(case: Case) -> None:
    assert sorted(map(list, rows(picture_info(case.params)))) == sorted(case.params["rows"])
