"""Files that are broken, foreign or hostile are refused with one sentence."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.models.weights.files import open_weights, read_state
from safetensors.torch import save_file

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.marker), "w")


def write(path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(TENSORS, path, {"answer": "42"})
    elif path.suffix == ".bin":
        torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    else:
        torch.save({"state_dict": TENSORS}, path)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.ckpt", "w.bin", "misnamed.pth"])
def test_tensors_and_shapes(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    with open_weights(path) as weights:
        assert dict(weights.shapes) == {"a": (2, 3), "b": (4,)}
        assert torch.equal(weights.read("a"), TENSORS["a"])
    assert torch.equal(read_state(path)["b"], TENSORS["b"])


def test_the_kind_follows_from_the_content_and_not_from_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors").rename(tmp_path / "w.ckpt")
    with open_weights(path) as weights:
        assert weights.metadata == {"answer": "42"}


@pytest.mark.parametrize("name", ["w.safetensors", "w.ckpt", "w.bin"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.98])
def test_a_truncated_file(tmp_path: Path, name: str, kept: float) -> None:
    path = write(tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BadFile, match=path.name), open_weights(path):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (bytes(5000), "nothing but zeros"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "an image"),
        (b"\xff\xd8\xff\xe0" + bytes(60), "an image"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\xef\xbb\xbf\r\n  <html><body>Sign in</body></html>", "web page"),
        (b'{"error": "Unauthorized"}', "JSON"),
        (b"Entry not found", "'Entry not found'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"/annex/objects/SHA256E-s12--00\n", "git-annex pointer"),
        (b"GGUF\x03\0\0\0" + bytes(60), r"\(GGUF\).*safetensors"),
        (b"lmgg" + bytes(60), r"\(GGML\)"),
        (b"ftrt" + bytes(60), "TensorRT engine"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "HDF5"),
        (b"\x08\x07\x12\x07pytorch\x1a\x051.12\x3a" + bytes(60), r"\(ONNX\)"),
        (b"\x08\x08\x3a\x80\x01" + bytes(60), r"\(ONNX\)"),
        (b"\x1f\x8b\x08" + bytes(60), "gzip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(60), "7z"),
        (b"Rar!\x1a\x07" + bytes(60), "RAR"),
        (bytes(range(1, 61)), "choose a model file"),
        ((1 << 62).to_bytes(8, "little") + b"{" + bytes(60), "its header claims"),
        ((60).to_bytes(8, "little") + b"{" + b"x" * 59, "damaged"),
        (b"PK\x03\x04" + bytes(60), "damaged"),
        (b"\x80\x02garbage", "damaged|code"),
    ],
)
def test_a_foreign_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=message), open_weights(path):
        pass
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, content)]  # as it was


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, marker = tmp_path / "model.ckpt", tmp_path / "marker"
    torch.save({"state_dict": TENSORS, "x": Hostile(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadFile, match="running code"):
        read_state(path)
    path.write_bytes(pickle.dumps(Hostile(marker)))
    with pytest.raises(BadFile):
        read_state(path)
    assert not marker.exists()


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "w.ckpt"), tmp_path / "packed.ckpt"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry))
    with pytest.raises(BadFile, match="compressed archive"):
        read_state(packed)


def test_an_archive_of_other_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.safetensors", "w") as archive:
        archive.write(write(tmp_path / "inner.ckpt"), "inner.ckpt")
    with pytest.raises(BadFile, match=r"archive of other files.*unpack it"):
        read_state(tmp_path / "w.safetensors")


def test_a_program_is_refused_as_that(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name in ("w/data.pkl", "w/code/__torch__.py", "w/constants.pkl", "w/version"):
            archive.writestr(name, b"2")
    with pytest.raises(BadFile, match=r"program of TorchScript.*safetensors"):
        read_state(tmp_path / "w.pt")


def test_a_folder_that_was_zipped_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.safetensors", "w") as archive:
        archive.writestr("model/model_index.json", "{}")
        archive.write(write(tmp_path / "w.safetensors"), "model/unet/w.safetensors")
    with pytest.raises(BadFile, match=r"archive of other files.*unpack it"):
        read_state(tmp_path / "model.safetensors")


def test_a_tensor_larger_than_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    torch.save({"a": torch.ones(1).expand(1 << 20, 1 << 20)}, path)
    with pytest.raises(BadFile, match="too few values"):
        read_state(path)


def test_a_pickle_that_is_no_dictionary(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(BadFile, match="list"):
        read_state(tmp_path / "w.pt")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="does not exist"):
        read_state(tmp_path / "w.pt")
    with pytest.raises(BadFile, match="can't be read"):
        read_state(tmp_path)
