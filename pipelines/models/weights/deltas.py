"""The change of one weight, for each format of LoRA files (Fooocus modules/patch.py: calculate_weight_patched).

Each is a function of the weight W in float32, on its device, and returns the change at strength 1 in the shape of W.
The factors come from the file. If `alpha` is None, the product is not scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Delta = Callable[[Tensor], Tensor]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class LowRank:
    """LoRA and LoCon: alpha/r · up·down; a middle factor is first multiplied into down."""

    up: Tensor
    down: Tensor
    mid: Tensor | None = None
    alpha: float | None = None

    def __call__(self, weight: Tensor) -> Tensor:
        up, down = self.factors(weight)
        return (up @ down).reshape(weight.shape)

    def factors(self, weight: Tensor) -> Pair:
        """(out, r), scaled, and (r, in·kh·kw): their product is the change, flattened from axis 1."""
        up, down = _like(self.up, weight), _like(self.down, weight)
        if self.mid is not None:
            mid = _like(self.mid, weight)
            shape = (down.shape[1], down.shape[0], *mid.shape[2:])
            down = (down.transpose(0, 1).flatten(1) @ mid.transpose(0, 1).flatten(1)).reshape(shape).transpose(0, 1)
        up, down = up.flatten(1) * _scale(self.alpha, rank=self.down.shape[0]), down.flatten(1)
        if (len(up), down.shape[1]) != weight.flatten(1).shape:
            raise ValueError(f"a product of shape {(len(up), down.shape[1])} for a weight {tuple(weight.shape)}")
        return up, down


@dataclass(frozen=True, eq=False)
class Hadamard:
    """LoHa: alpha/r · (a1·b1) * (a2·b2), elementwise, or with cores t1, t2 the two tensors in their Tucker form."""

    one: Pair
    two: Pair
    cores: Pair | None = None
    alpha: float | None = None

    def __call__(self, weight: Tensor) -> Tensor:
        scale = _scale(self.alpha, rank=self.one[1].shape[0])
        t1, t2 = self.cores or (None, None)
        return scale * (_product(*self.one, t1, weight) * _product(*self.two, t2, weight)).reshape(weight.shape)


@dataclass(frozen=True, eq=False)
class Kronecker:
    """LoKr: alpha/r · kron(w1, w2), where w1 and w2 are whole matrices or pairs of factors.

    Only pairs are scaled; r is the rank of w2, or that of w1 if w2 is whole.
    """

    one: Tensor | Pair
    two: Tensor | Pair
    core: Tensor | None = None
    alpha: float | None = None

    def __call__(self, weight: Tensor) -> Tensor:
        rank = next((w[1].shape[0] for w in (self.two, self.one) if isinstance(w, tuple)), None)
        left = _product(*self.one, None, weight) if isinstance(self.one, tuple) else _like(self.one, weight)
        right = _product(*self.two, self.core, weight) if isinstance(self.two, tuple) else _like(self.two, weight)
        if right.ndim == 4 and left.ndim == 2:
            left = left[:, :, None, None]
        scale = 1.0 if rank is None else _scale(self.alpha, rank)
        return scale * torch.kron(left.contiguous(), right.contiguous()).reshape(weight.shape)


@dataclass(frozen=True, eq=False)
class Generalised:
    """GLoRA: alpha/r · (B + W·A), with A over the input channels; W includes the changes merged before it.

    Files exist with A = a2·a1, B = b2·b1 (Fooocus reads these), and from later versions of LyCORIS with A = a1·a2,
    B = b1·b2. The shapes decide between them; if both fit, the first is used.
    """

    a1: Tensor
    a2: Tensor
    b1: Tensor
    b2: Tensor
    alpha: float | None = None

    def __call__(self, weight: Tensor) -> Tensor:
        a1, a2, b1, b2 = (_like(t, weight).flatten(1) for t in (self.a1, self.a2, self.b1, self.b2))
        if (b2.shape[0], a2.shape[0]) != weight.shape[:2]:
            a1, a2, b1, b2 = a2, a1, b2, b1
        change = (b2 @ b1).reshape(weight.shape) + (weight.movedim(1, -1) @ a2 @ a1).movedim(-1, 1)
        return _scale(self.alpha, rank=a1.shape[0]) * change


@dataclass(frozen=True, eq=False)
class Decomposed:
    """DoRA: m · V/|V| - W with V = W + dW (Liu et al. 2024, arXiv 2402.09353, equation 5).

    The magnitude m has one number per output channel, shape (out,), (out, 1, …) or, with `peft`, (1, out, 1, 1), or one
    per input channel, shape (1, in, …): older files of LyCORIS. The norm is over all other axes. The change is scaled
    by the strength as a whole, as in ComfyUI; PEFT scales dW and LyCORIS m/|V|, which is the same at strength 1.
    """

    change: Delta
    magnitude: Tensor
    peft: bool = False

    def __call__(self, weight: Tensor) -> Tensor:
        moved = weight + self.change(weight)
        axis = self._axis(weight.shape)
        others = tuple(i for i in range(weight.ndim) if i != axis)
        shape = [weight.shape[i] if i == axis else 1 for i in range(weight.ndim)]
        norm = torch.linalg.vector_norm(moved, dim=others, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return moved.mul_(_like(self.magnitude, weight).reshape(shape) / norm).sub_(weight)

    def _axis(self, shape: torch.Size) -> int:
        per_input = self.magnitude.ndim > 1 and self.magnitude.shape[0] == 1 and self.magnitude.shape[1] == shape[1]
        return 1 if per_input and not self.peft and shape[0] != 1 else 0


@dataclass(frozen=True, eq=False)
class Difference:
    """The change itself, times `scale`."""

    change: Tensor
    scale: float = 1.0

    def __call__(self, weight: Tensor) -> Tensor:
        return self.scale * _as_shaped(self.change, weight) if self.scale != 1.0 else _as_shaped(self.change, weight)


@dataclass(frozen=True, eq=False)
class Quantised:
    """Fooocus's inpaint patch: bytes between a lowest and a highest value."""

    levels: Tensor
    low: Tensor | float
    high: Tensor | float

    def __call__(self, weight: Tensor) -> Tensor:
        low, high = (torch.as_tensor(bound).to(weight.device, torch.float32) for bound in (self.low, self.high))
        return _as_shaped(self.levels, weight) / 255.0 * (high - low) + low


def _as_shaped(change: Tensor, weight: Tensor) -> Tensor:
    if change.shape != weight.shape:
        raise ValueError(f"a change of shape {tuple(change.shape)} for a weight of shape {tuple(weight.shape)}")
    return _like(change, weight)


def _product(a: Tensor, b: Tensor, core: Tensor | None, weight: Tensor) -> Tensor:
    """a·b; with a core its Tucker form."""
    if core is None:
        return _like(a, weight) @ _like(b, weight)
    return torch.einsum("ijkl,jr,ip->prkl", _like(core, weight), _like(b, weight), _like(a, weight))


def _like(tensor: Tensor, weight: Tensor) -> Tensor:
    return tensor.to(weight.device, torch.float32)


def _scale(alpha: float | None, rank: int) -> float:
    return 1.0 if alpha is None else alpha / rank
