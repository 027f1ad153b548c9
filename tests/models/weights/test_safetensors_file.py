"""Tensors read one by one are what the safetensors library reads, in memory of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models.weights.files import open_weights
from fooocus_stages.pipelines.models.weights.safetensors_file import DTYPES
from safetensors.torch import load_file, save_file
from torch import Tensor


def bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def test_every_dtype_and_shape(tmp_path: Path) -> None:
    shapes = ((), (0,), (3,), (2, 3, 1))
    state = {
        f"{name}{shape}": torch.arange(6)[: torch.Size(shape).numel()]
        .reshape(shape).to(dtype) for name, dtype in DTYPES.items() for shape in shapes
    }  # fmt: skip
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    expected = load_file(path)
    with open_weights(path) as weights:
        assert weights.shapes == {key: tuple(tensor.shape) for key, tensor in expected.items()}
        for key, tensor in expected.items():
            ours = weights.read(key)
            assert (ours.dtype, ours.shape) == (tensor.dtype, tensor.shape), key
            assert torch.equal(bits(ours), bits(tensor)), key


@pytest.mark.parametrize("name", ["w.safetensors", "w.ckpt", "w.bin"])
def test_values_that_are_read_belong_to_the_caller(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file({"a": torch.ones(3)}, path)
    else:
        torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=path.suffix == ".ckpt")
    content = path.read_bytes()
    with open_weights(path) as weights:
        weights.read("a").zero_()
        assert weights.read("a").tolist() == [1, 1, 1]
    assert path.read_bytes() == content


KNOWN_BY_NAME = "stores a as F8_E8M0|InvalidHeaderDeserialization"  # the latter of a safetensors without that dtype


def test_a_dtype_that_is_not_known(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(2))
    with pytest.raises(BadFile, match=KNOWN_BY_NAME), open_weights(path) as weights:
        weights.read("a")


def test_a_file_that_shrinks_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(100_000)}, path)
    with open_weights(path) as weights:
        path.write_bytes(path.read_bytes()[:200_000])
        with pytest.raises(BadFile, match="became shorter"):
            weights.read("a")
