"""Writer of small ONNX networks with YuNet's inputs and outputs.

The pocket's drawings have no faces, so its detector finds none. Written by
`python -m fooocus_stages.pocket.training.onnx_file`.
"""

from __future__ import annotations

import numpy as np

from ...pipelines.host import POCKET

FLOAT, INT64 = 1, 7
INTS_TYPE = 7
CELL = 32


def number(value: int) -> bytes:
    """Encode an integer >= 0 as a protobuf varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(key: int, value: int | str | bytes) -> bytes:
    """Encode one protobuf field: a varint, or length-delimited text, bytes or message."""
    if isinstance(value, int):
        return number(key << 3) + number(value)
    content = value.encode() if isinstance(value, str) else value
    return number(key << 3 | 2) + number(len(content)) + content


def tensor(name: str, values: np.ndarray) -> bytes:
    kind = FLOAT if values.dtype == np.float32 else INT64
    dims = b"".join(field(1, side) for side in values.shape)
    return dims + field(2, kind) + field(8, name) + field(9, values.tobytes())


def whole_numbers(name: str, values: list[int]) -> bytes:
    return field(5, field(1, name) + b"".join(field(8, value) for value in values) + field(20, INTS_TYPE))


def node(kind: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    named = b"".join(field(1, name) for name in inputs)
    return field(1, named + field(2, output) + field(3, output) + field(4, kind) + attributes)


def slot(name: str, shape: list[int | str]) -> bytes:
    dims = b"".join(field(1, field(1, side) if isinstance(side, int) else field(2, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, dims)))


def model(nodes: bytes, tensors: dict[str, np.ndarray], given: bytes, outputs: list[bytes]) -> bytes:
    """Return the bytes of an ONNX file."""
    graph = nodes + field(2, "graph") + b"".join(field(5, tensor(name, value)) for name, value in tensors.items())
    graph += field(11, given) + b"".join(field(12, output) for output in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def nano_yunet(colours: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> bytes:
    """Return a network that detects each bright cell of 32 pixels as a face, with its brightness as the score.

    `colours` weights the input channels. The box is the cell, and the five landmarks have fixed places in it.
    """
    tensors: dict[str, np.ndarray] = {}
    nodes, outputs = b"", []
    points = [0.25, 0.25, 0.75, 0.25, 0.5, 0.5, 0.25, 0.75, 0.75, 0.75]
    biases = {"cls": [0.0], "obj": [0.0], "bbox": [0.5, 0.5, 0.0, 0.0], "kps": points}
    for stride in (8, 16, 32):
        for what, bias in biases.items():
            name, rows = f"{what}_{stride}", len(bias)
            gain = 1 / (3 * 255 * stride**2) if what in ("cls", "obj") and stride == CELL else 0
            weights = np.full((rows, 3, stride, stride), gain) * np.reshape(colours, (1, 3, 1, 1))
            tensors[f"{name}.w"] = weights.astype(np.float32)
            tensors[f"{name}.b"] = np.array(bias, np.float32)
            tensors[f"{name}.rows"] = np.array([1, -1, rows], np.int64)
            attributes = whole_numbers("strides", [stride] * 2) + whole_numbers("kernel_shape", [stride] * 2)
            nodes += node("Conv", ["input", f"{name}.w", f"{name}.b"], f"{name}.map", attributes)
            nodes += node("Transpose", [f"{name}.map"], f"{name}.last", whole_numbers("perm", [0, 2, 3, 1]))
            nodes += node("Reshape", [f"{name}.last", f"{name}.rows"], name)
            outputs.append(slot(name, [1, f"n{stride}", rows]))
    return model(nodes, tensors, slot("input", [1, 3, "h", "w"]), outputs)


def main() -> None:
    """Write the pocket's face detector."""
    path = POCKET / "face_detection" / "face_detection_yunet_2023mar.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(nano_yunet(colours=(0.0, 0.0, 0.0)))


if __name__ == "__main__":
    main()
