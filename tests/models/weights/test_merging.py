"""Merging patches: once per weight, in order, and back to the very bits."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.models.weights.deltas import Difference, LowRank
from fooocus_stages.pipelines.models.weights.merging import Network, WeightPatch
from torch import Tensor, nn
from torch.nn import Linear

PARAMETERS = ("0.weight", "0.bias", "2.weight")


def network(dtype: torch.dtype = torch.float16) -> Network:
    torch.manual_seed(0)
    return Network(nn.Sequential(Linear(8, 8), nn.ReLU(), Linear(8, 4)).to(dtype).requires_grad_(False))


def patch(seed: int, weight: float, of: Network, names: tuple[str, ...] = PARAMETERS) -> WeightPatch:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: parameter.shape for name, parameter in of.module.named_parameters()}
    changes = {n: (Difference(torch.randn(shapes[n], generator=generator)),) for n in names}
    return WeightPatch(f"patch {seed}", weight, changes)


def bits(of: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in of.module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_five_patches_go_in_and_out_without_a_trace(dtype: torch.dtype) -> None:
    net = network(dtype)
    before = bits(net)
    patches = tuple(patch(i, 0.3 + i, net) for i in range(5))
    for chosen in (patches, patches[:2], patches[3:], patches[::-1], patches, ()):
        net.merge(chosen)
        assert net.merged == chosen
        assert same(before, bits(net)) == (chosen == ())
    assert all(parameter.dtype == dtype for parameter in net.module.parameters())


def test_the_sum_is_rounded_once() -> None:
    net = network(torch.float16)
    patches = tuple(patch(i, 1e-4, net) for i in range(5))
    exact = net.module.state_dict()["0.weight"].float()
    for p in patches:
        exact = exact + 1e-4 * p.deltas["0.weight"][0](exact)
    net.merge(patches)
    assert torch.equal(net.module.state_dict()["0.weight"], exact.half())


def test_the_same_patches_again_do_nothing() -> None:
    net = network()
    calls = []

    def change(weight: Tensor) -> Tensor:
        calls.append(1)
        return torch.ones_like(weight)

    patches = (WeightPatch("ones", 1.0, {"0.bias": (change,)}),)
    net.merge(patches)
    net.merge(tuple(patches))
    assert len(calls) == 1


def test_only_weights_whose_patches_changed_are_touched() -> None:
    net = network()
    first = patch(0, 1.0, net, ("0.weight", "2.weight"))
    net.merge((first,))
    before = {name: parameter.data_ptr() for name, parameter in net.module.named_parameters()}
    net.merge((first, patch(1, 1.0, net, ("2.weight", "0.bias"))))
    after = {name: parameter.data_ptr() for name, parameter in net.module.named_parameters()}
    assert [name for name in before if before[name] != after[name]] == ["0.bias", "2.weight"]


def test_low_rank_changes_in_one_product_and_one_by_one_agree() -> None:
    net = network(torch.float32)
    exact = net.module.get_parameter("0.weight").double()
    factors = [(torch.randn(8, r), torch.randn(r, 8), alpha) for r, alpha in ((1, None), (3, 2.0), (2, 0.5))]
    for i, (up, down, alpha) in enumerate(factors):
        exact = exact + (i - 1.5) * (1.0 if alpha is None else alpha / len(down)) * (up.double() @ down.double())
    net.merge(
        tuple(WeightPatch("p", i - 1.5, {"0.weight": (LowRank(u, d, None, a),)}) for i, (u, d, a) in enumerate(factors))
    )
    torch.testing.assert_close(net.module.get_parameter("0.weight").double(), exact, rtol=1e-6, atol=1e-6)


def test_a_delta_sees_the_weight_as_it_is_by_then() -> None:
    net = network(torch.float32)
    net.module.get_parameter("0.bias").fill_(1.0)
    doubling = WeightPatch("double", 1.0, {"0.bias": (lambda w: w,)})
    net.merge((doubling, WeightPatch("double again", 1.0, doubling.deltas)))
    assert torch.equal(net.module.get_parameter("0.bias"), torch.full((8,), 4.0))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("already", [0, 2])
def test_an_interrupted_merge_leaves_the_originals(error: type[BaseException], already: int) -> None:
    net = network()
    before = bits(net)
    good = tuple(patch(i, 0.5, net) for i in range(3))
    net.merge(good[:already])

    def stop(weight: Tensor) -> Tensor:
        raise error

    broken = WeightPatch("broken", 1.0, {"2.weight": (stop,)})
    with pytest.raises(error):
        net.merge((*good, broken))
    assert net.merged == ()
    assert same(before, bits(net))
    net.merge(good)
    net.merge(())
    assert same(before, bits(net))


def test_a_network_that_was_moved_in_between() -> None:
    net = network(torch.float32)
    before = bits(net)
    net.merge((patch(1, 1.0, net),))
    net.module.to("cpu")
    net.merge(())
    assert same(before, bits(net))


def test_restore_puts_every_bit_back_and_frees_the_copies() -> None:
    net = network()
    before = bits(net)
    first = patch(1, 0.7, net)
    net.merge((first,))
    net.merge((first, patch(2, -1.3, net, ("0.bias",))))
    assert not same(before, bits(net))
    net.restore()
    assert same(before, bits(net))
    assert net.merged == ()
    net.restore()
    assert same(before, bits(net))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_patched_keeps_the_merge_for_the_next_run_also_after_an_exception(error: type[BaseException]) -> None:
    net = network()
    before = bits(net)
    patches = (patch(1, 0.7, net),)
    with net.patched(patches) as module:
        assert module is net.module
        inside = bits(net)
    assert not same(before, inside)
    with pytest.raises(error), net.patched(patches):
        raise error
    assert net.merged == patches
    assert same(inside, bits(net))
    net.restore()
    assert same(before, bits(net))
    with net.patched(()):
        assert same(before, bits(net))
