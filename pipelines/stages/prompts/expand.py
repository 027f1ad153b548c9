"""Prompt expansion (`Fooocus V2`): by GPT-2 if its files are installed, otherwise by a stand-in."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import BadFile, MissingFile
from ...files import file_state
from ...host import Host
from ...settings import EXPANSION_STYLE
from ...text.expansion import Expander, ExpansionFiles, safe_str, stand_in_expander

if TYPE_CHECKING:
    from ...models.gpt2 import ExpansionModel

KIND = "prompt_expansion/fooocus_expansion"
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "fooocus_expansion.safetensors", "fooocus_expansion.bin")
PARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "config": (("config.json",),),
    "words": (("positive.txt",),),
    "tokenizer": (("vocab.json", "merges.txt"), ("tokenizer.json",)),
    "weights": tuple((name,) for name in WEIGHTS),
}
NEEDED = "config.json, positive.txt, tokenizer.json (or vocab.json with merges.txt) and pytorch_model.bin"
HOW_TO_GET = (
    f"fetch them into the models folder {KIND} with `fooocus-stages assets fetch expansion` "
    "(outside Fooocus their licence is CC BY-NC 4.0: no commercial use)"
)


def expand(host: Host, text: str, seed: int) -> str:
    """Continue the first line of a text, with seed mod 2³²; further lines and an empty first line are unchanged.

    Raises MissingFile and BadFile as `find_expander`.
    """
    first, *more = text.splitlines() or [""]
    line = safe_str(first)
    return "\n".join([find_expander(host)(line, seed) if line else "", *more])


def find_expander(host: Host) -> Expander:
    """Return the expansion model, loaded at its first text, or the stand-in, with a notice, if it is not installed.

    Raises MissingFile if the model is incomplete; the expander raises BadFile for a broken file.
    """
    files = find_files(host)
    if files is None:
        host.notice(
            f"{EXPANSION_STYLE!r}: a stand-in adds a few general words to the prompt, because the files of Fooocus's "
            f"expansion model are missing ({NEEDED}); {HOW_TO_GET}"
        )
        return stand_in_expander
    return lambda text, seed: _continue(host, files, text, seed)


def find_files(host: Host) -> ExpansionFiles | None:
    """Find the model's files, preferring those beside its config; None if there are none.

    Raises MissingFile, naming the missing files, if only some are found.
    """
    listed = set(host.names(KIND))
    names = {name for choices in PARTS.values() for choice in choices for name in choice}
    found = {name: host.find(KIND, name) for name in names & listed}
    if not found:
        return None
    parts = {part: _nearest(found, choices) for part, choices in PARTS.items()}
    missing = [" or ".join(map(" with ".join, PARTS[part])) for part, paths in parts.items() if not paths]
    if missing:
        raise MissingFile(f"the expansion model is incomplete: {' and '.join(missing)} missing; {HOW_TO_GET}")
    (config,), (words,), tokenizer, (weights,) = parts.values()
    return ExpansionFiles(config, words, tokenizer, weights)


def _nearest(found: Mapping[str, Path], choices: Iterable[tuple[str, ...]]) -> tuple[Path, ...]:
    """Return the first complete choice of files, in the config's folder if possible, so that models don't mix."""
    home = found["config.json"].parent if "config.json" in found else None
    whole = [tuple(found[name] for name in names) for names in choices if found.keys() >= set(names)]
    at_home = [paths for paths in whole if all(path.parent == home for path in paths)]
    return next(iter(at_home or whole), ())


def _continue(host: Host, files: ExpansionFiles, text: str, seed: int) -> str:
    """Continue one text on the device of the text encoders, or on the CPU instead of MPS, as Fooocus does."""
    import torch

    from ...models import gpt2

    device = host.load("text")
    half = device.type == "cuda"  # Fooocus draws from half-precision scores there
    model = host.keep(("expansion", _state(files), half), lambda: _read(files, half))
    if model.unknown:
        host.notice(
            f"{files.words.name}: {len(model.unknown)} of {model.words} words are not tokens of the vocabulary and are "
            f"never added ({', '.join(model.unknown[:3])})"
        )
    device = torch.device("cpu") if device.type == "mps" else host.load("text", model.module)
    return gpt2.continued(model, text, seed, device, host.check_interrupted)


def _state(files: ExpansionFiles) -> tuple[Hashable, ...]:
    """Return the state of every file, so that the model is reloaded when one is replaced."""
    try:
        return tuple(file_state(path) for path in files.all)
    except OSError as error:
        raise BadFile(f"{error.filename} can't be read: {error.strerror or error}") from error


def _read(files: ExpansionFiles, half: bool) -> ExpansionModel:
    import torch

    from ...models import gpt2

    return gpt2.load_expansion(files, torch.float16 if half else torch.float32)
