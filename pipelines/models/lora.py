"""LoRA files: which weights their entries mean, and the patches they become (Fooocus modules/lora.py: match_lora).

A file must fit as a whole. (Fooocus passes over up to twelve entries that it does not know, and over whole files with
more.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadFile
from ..types import Clip, Model
from . import deltas, names
from .files import read_state
from .network import Delta, WeightPatch

SUFFIXES = (
    ".alpha", ".w_norm", ".b_norm", ".diff", ".diff_b", "_lora.up.weight", "_lora.down.weight",
    *(f".lora_{part}.weight" for part in ("up", "down", "mid", "linear_layer.up", "linear_layer.down")),
    *(f".hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *(f".lokr_{part}" for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
    *(f".{part}.weight" for part in ("a1", "a2", "b1", "b2")),
)  # fmt: skip
PAIRS = (
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
)
OF_TEXT = ("lora_te", "text_encoder", "te_")
IN_TEXT = re.compile(r"text_model\.encoder\.layers\.\d+\.(mlp|self_attn)\..*\.weight")

Entries = dict[str, Any]
Found = dict[str, Delta]


def read_lora(path: Path) -> dict[str, Any]:
    """The entries of a LoRA or inpaint-patch file. Raises BadFile, MissingFile."""
    return read_state(path)


def patches(
    state: Mapping[str, Any], name: str, weight: float, model: Model, clip: Clip | None
) -> tuple[WeightPatch | None, tuple[WeightPatch | None, ...]]:
    """What the entries of the file `name` change at strength `weight`: on the UNet, and on each text encoder.

    None where nothing changes. Entries for text encoders are passed over when there is no `clip`. Raises BadFile, with
    counts and first names, when entries have no place or another shape.
    """
    targets = [(model.network.module, dict(unet_names(model.network.module)))]
    for encoder in clip.encoders if clip else ():
        targets.append((encoder.network.module, dict(text_names(encoder.network.module, encoder.pooled))))
    changes: list[Found] = [{} for _ in targets]
    homeless: list[str] = []
    for base, entries in grouped(state).items():
        place = next((i for i, (_, known) in enumerate(targets) if base in known), None)
        if place is None:
            left = [] if clip is None and base.startswith(OF_TEXT) else entries
        else:
            left = _understand(entries, targets[place][1][base], changes[place])
        homeless += [base + suffix for suffix in left]
    _raise_for_homeless(name, homeless, len(state))
    for (module, _), found in zip(targets, changes, strict=True):
        _raise_for_shapes(name, module, found)
    made = [WeightPatch(name, weight, {k: (d,) for k, d in found.items()}) if found else None for found in changes]
    return made[0], tuple(made[1:])


def unet_names(unet: nn.Module) -> Iterator[tuple[str, str]]:
    """(name in a file, weight of a diffusers UNet) for every name by which LoRA files may call a weight."""
    for key, ldm in names.unet_to_ldm(key for key, _ in unet.named_parameters()).items():
        yield "diffusion_model." + ldm, key
        if not key.endswith(".weight"):
            continue
        module = key.removesuffix(".weight")
        dotted = module.replace(".to_", ".processor.to_")
        if dotted.endswith(".processor.to_out.0"):
            dotted = dotted.removesuffix(".0")
        yield "lora_unet_" + ldm.removesuffix(".weight").replace(".", "_"), key
        yield "lora_unet_" + module.replace(".", "_"), key
        yield dotted, key
        yield "unet." + dotted, key


def text_names(encoder: nn.Module, pooled: bool) -> Iterator[tuple[str, str]]:
    """The same for a text encoder, CLIP-G when `pooled`, else CLIP-L."""
    flat = ("lora_te2_",) if pooled else ("lora_te_", "lora_te1_")
    for key, _ in encoder.named_parameters():
        module = names.clip_key(key).removesuffix(".weight")
        if IN_TEXT.fullmatch(module + ".weight") and key.endswith(".weight"):
            for prefix in flat:
                yield prefix + module.replace(".", "_"), key
            yield ("text_encoder_2." if pooled else "text_encoder.") + module, key


def grouped(state: Mapping[str, Any]) -> dict[str, Entries]:
    """Entries by the name of the weight that they are about, then by suffix ('' for an entry named as the weight)."""
    groups: dict[str, Entries] = {}
    longest_first = sorted(SUFFIXES, key=len, reverse=True)
    for key, value in state.items():
        suffix = next((s for s in longest_first if key.endswith(s)), "")
        groups.setdefault(key.removesuffix(suffix), {})[suffix] = value
    return groups


def _understand(entries: Entries, weight: str, found: Found) -> Collection[str]:
    """Add to `found` what the entries about one weight say; the suffixes that say nothing are returned.

    Where several ways of storing a change are mixed, the last one counts, as in Fooocus.
    """
    left = dict(entries)
    bias = weight.removesuffix(".weight") + ".bias"
    for read in (_whole, _low_rank, _hadamard, _kronecker, _generalised):
        if delta := read(left, _alpha(entries)):
            found[weight] = delta
    for suffix, target in ((".w_norm", weight), (".b_norm", bias), (".diff", weight), (".diff_b", bias)):
        if suffix in left:
            found[target] = partial(deltas.difference, left.pop(suffix))
    left.pop(".alpha", None)
    return left.keys()


def _alpha(entries: Entries) -> float | None:
    alpha = entries.get(".alpha")
    return float(alpha) if alpha is not None else None


def _whole(left: Entries, alpha: float | None) -> Delta | None:
    """An entry of the inpaint patch: (bytes, lowest, highest). A tensor there means a checkpoint, not a patch."""
    if isinstance(left.get(""), tuple | list) and len(left[""]) == 3:
        return partial(deltas.quantised, *left.pop(""))
    return None


def _low_rank(left: Entries, alpha: float | None) -> Delta | None:
    for up, down in PAIRS:
        if up in left and down in left:
            mid = left.pop(".lora_mid.weight", None)
            return partial(deltas.low_rank, left.pop(up), left.pop(down), mid, alpha)
    return None


def _hadamard(left: Entries, alpha: float | None) -> Delta | None:
    if not all(f".hada_{part}" in left for part in ("w1_a", "w1_b", "w2_a", "w2_b")):
        return None
    one, two = ((left.pop(f".hada_w{i}_a"), left.pop(f".hada_w{i}_b")) for i in (1, 2))
    cores = (left.pop(".hada_t1"), left.pop(".hada_t2")) if ".hada_t1" in left and ".hada_t2" in left else None
    return partial(deltas.hadamard, one, two, cores, alpha)


def _kronecker(left: Entries, alpha: float | None) -> Delta | None:
    factors: list[Tensor | tuple[Tensor, Tensor]] = []
    used: list[str] = []
    for whole in (".lokr_w1", ".lokr_w2"):
        pair = (whole + "_a", whole + "_b")
        if whole in left:
            factors.append(left[whole])
            used.append(whole)
        elif pair[0] in left and pair[1] in left:
            factors.append((left[pair[0]], left[pair[1]]))
            used += pair
    if len(factors) < 2:
        return None
    for suffix in used:
        del left[suffix]
    one, two = factors
    return partial(deltas.kronecker, one, two, left.pop(".lokr_t2", None), alpha)


def _generalised(left: Entries, alpha: float | None) -> Delta | None:
    if not all(f".{part}.weight" in left for part in ("a1", "a2", "b1", "b2")):
        return None
    a1, a2, b1, b2 = (left.pop(f".{part}.weight") for part in ("a1", "a2", "b1", "b2"))
    return partial(deltas.generalised, a1, a2, b1, b2, alpha)


def _raise_for_homeless(name: str, homeless: list[str], total: int) -> None:
    if not total:
        raise BadFile(f"{name} is empty: choose a LoRA file")
    if not homeless:
        return
    first = ", ".join(sorted(homeless)[:3])
    if len(homeless) == total:
        raise BadFile(
            f"{name} fits nothing in this model: none of its {total} entries ({first}, …) has a place; it is for "
            "another model family, or no LoRA"
        )
    raise BadFile(
        f"{name} fits this model only in part: {len(homeless)} of its {total} entries have no place ({first}, …); "
        "it is for a relative of the model, or of a kind that Fooocus does not know"
    )


def _raise_for_shapes(name: str, module: nn.Module, found: Found) -> None:
    """Each change is worked out once without numbers, on the meta device, to see that it fits its weight."""
    parameters = dict(module.named_parameters())
    wrong = [key for key, delta in found.items() if key not in parameters or not _fits(delta, parameters[key])]
    if wrong:
        shapes = [f"{key} {tuple(parameters[key].shape) if key in parameters else '–'}" for key in sorted(wrong)[:3]]
        raise BadFile(
            f"{name} is for another model family: {len(wrong)} of its {len(found)} changes are not of the shape of "
            f"the weights that they name ({', '.join(shapes)}, …)"
        )


def _fits(delta: Callable[[Tensor], Tensor], weight: Tensor) -> bool:
    try:
        return delta(torch.empty(weight.shape, device="meta")).shape == weight.shape
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
        return False
