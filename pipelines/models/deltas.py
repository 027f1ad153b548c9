"""What a LoRA file adds to one weight, for each way of storing it (Fooocus modules/patch.py: calculate_weight_patched).

Each function takes a weight W in float32, where it lies, and gives the change at strength 1 in the shape of W; the
factors before it come from the file. `alpha` None means that the product is not scaled.
"""

from __future__ import annotations

import torch
from torch import Tensor


def low_rank(up: Tensor, down: Tensor, mid: Tensor | None, alpha: float | None, weight: Tensor) -> Tensor:
    """LoRA and LoCon: α/r · up·down; with a middle factor, down is first multiplied out with it."""
    scale = _scale(alpha, rank=down.shape[0])
    up, down = _like(up, weight), _like(down, weight)
    if mid is not None:
        mid = _like(mid, weight)
        shape = (down.shape[1], down.shape[0], *mid.shape[2:])
        down = (down.transpose(0, 1).flatten(1) @ mid.transpose(0, 1).flatten(1)).reshape(shape).transpose(0, 1)
    return scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)


def hadamard(
    w1: tuple[Tensor, Tensor],
    w2: tuple[Tensor, Tensor],
    cores: tuple[Tensor, Tensor] | None,
    alpha: float | None,
    weight: Tensor,
) -> Tensor:
    """LoHa: α/r · (a1·b1) ∘ (a2·b2), or with cores t1, t2 the two tensors in their Tucker form."""
    (a1, b1), (a2, b2) = w1, w2
    scale = _scale(alpha, rank=b1.shape[0])
    t1, t2 = cores or (None, None)
    return scale * (_product(a1, b1, t1, weight) * _product(a2, b2, t2, weight)).reshape(weight.shape)


def kronecker(
    w1: Tensor | tuple[Tensor, Tensor],
    w2: Tensor | tuple[Tensor, Tensor],
    core: Tensor | None,
    alpha: float | None,
    weight: Tensor,
) -> Tensor:
    """LoKr: α/r · w1 ⊗ w2, each whole or a pair of factors; scaled only when one is a pair (r of w2's before w1's)."""
    rank = next((w[1].shape[0] for w in (w2, w1) if isinstance(w, tuple)), None)
    left = _product(*w1, None, weight) if isinstance(w1, tuple) else _like(w1, weight)
    right = _product(*w2, core, weight) if isinstance(w2, tuple) else _like(w2, weight)
    if right.ndim == 4:
        left = left[:, :, None, None]
    scale = 1.0 if rank is None else _scale(alpha, rank)
    return scale * torch.kron(left.contiguous(), right.contiguous()).reshape(weight.shape)


def generalised(a1: Tensor, a2: Tensor, b1: Tensor, b2: Tensor, alpha: float | None, weight: Tensor) -> Tensor:
    """GLoRA: α/r · (b2·b1 + W·a2·a1); it depends on what the weight is by then."""
    scale = _scale(alpha, rank=a1.shape[0])
    a1, a2, b1, b2 = (_like(t, weight).flatten(1) for t in (a1, a2, b1, b2))
    return scale * (b2 @ b1 + weight.flatten(1) @ a2 @ a1).reshape(weight.shape)


def difference(change: Tensor, weight: Tensor) -> Tensor:
    """The change itself."""
    if change.shape != weight.shape:
        raise ValueError(f"a change of shape {tuple(change.shape)} for a weight of shape {tuple(weight.shape)}")
    return _like(change, weight)


def quantised(levels: Tensor, low: Tensor | float, high: Tensor | float, weight: Tensor) -> Tensor:
    """Fooocus's inpaint patch: bytes between a lowest and a highest value."""
    low, high = (torch.as_tensor(bound).to(weight.device, torch.float32) for bound in (low, high))
    return difference(_like(levels, weight) / 255.0 * (high - low) + low, weight)


def _product(a: Tensor, b: Tensor, core: Tensor | None, weight: Tensor) -> Tensor:
    """a·b; with a core its Tucker form."""
    if core is None:
        return _like(a, weight) @ _like(b, weight)
    return torch.einsum("ijkl,jr,ip->prkl", _like(core, weight), _like(b, weight), _like(a, weight))


def _like(tensor: Tensor, weight: Tensor) -> Tensor:
    return tensor.to(weight.device, torch.float32)


def _scale(alpha: float | None, rank: int) -> float:
    return 1.0 if alpha is None else alpha / rank
