"""Files with strangers among their entries, of unsupported kinds, and with embeddings bundled."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models.checkpoint import Checkpoint
from fooocus_stages.pipelines.models.lora import matching
from fooocus_stages.pipelines.models.lora.bundled import without_bundled
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.tlora import TLoraModule
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from torch.nn import Linear

TO_K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"  # (64, 192)


def lora_of(tiny: Checkpoint, layers: int) -> dict[str, Tensor]:
    """Two entries for each of the first linear layers of the UNet."""
    weights = [(key, w) for key, w in tiny.model.network.module.named_parameters() if key.endswith("to_q.weight")]
    assert len(weights) >= layers
    state = {}
    for key, weight in weights[:layers]:
        base = "unet." + key.removesuffix(".weight")
        state |= {f"{base}.lora_B.weight": torch.ones(len(weight), 1)}
        state |= {f"{base}.lora_A.weight": torch.ones(1, weight.shape[1])}
    return state


STRANGERS: dict[str, Any] = {
    "a weight that is not there": {"unet.down_blocks.9.attn.lora_A.weight": torch.ones(1, 4)},
    "half of a pair": {f"unet.{TO_K}.lora_B.weight": torch.ones(64, 1)},
    "an unsupported kind": {f"lora_unet_{TO_K.replace('.', '_')}.oft_blocks": torch.ones(4, 8, 8)},
    "numbers and texts of a pickle": {"rank": 4, "note": "mine"},
    "a third text encoder": {"lora_te3_encoder_block_0.lora_up.weight": torch.ones(1, 1)},
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_few_strangers_do_not_cost_the_lora(tiny: Checkpoint, stranger: str) -> None:
    state = lora_of(tiny, 5)
    alone = matching.patches(state, "file", 1.0, tiny.model, tiny.clip)
    mixed = matching.patches(state | STRANGERS[stranger], "file", 1.0, tiny.model, tiny.clip)
    assert mixed.left_out == tuple(sorted(STRANGERS[stranger]))
    assert mixed.total == len(state) + len(STRANGERS[stranger])
    assert alone.unet is not None
    assert mixed.unet is not None
    assert mixed.unet.deltas.keys() == alone.unet.deltas.keys()


def test_a_scale_without_its_factors_has_no_place_either(tiny: Checkpoint) -> None:
    state = {key: value for key, value in lora_of(tiny, 5).items() if "lora_A" in key}
    state |= {key.replace("lora_A.weight", "alpha"): torch.tensor(1.0) for key in state}
    with pytest.raises(BadFile, match="10 of its 10 entries"):
        matching.patches(state, "file", 1.0, tiny.model, tiny.clip)


@pytest.mark.parametrize(("strangers", "applied"), [(9, True), (10, False), (30, False)])
def test_more_than_half_must_fit(tiny: Checkpoint, strangers: int, applied: bool) -> None:
    state = lora_of(tiny, 5) | {f"unet.stranger_{i}.diff": torch.ones(1) for i in range(strangers)}
    if applied:
        assert len(matching.patches(state, "file", 1.0, tiny.model, tiny.clip).left_out) == strangers
        return
    with pytest.raises(BadFile, match=rf"{strangers} of its {10 + strangers} entries .*stranger_0"):
        matching.patches(state, "file", 1.0, tiny.model, tiny.clip)


def test_one_contradicting_shape_refuses_the_file(tiny: Checkpoint) -> None:
    wrong = {f"unet.{TO_K}.lora_B.weight": torch.ones(64, 1), f"unet.{TO_K}.lora_A.weight": torch.ones(1, 191)}
    with pytest.raises(BadFile, match=r"1 of its 6 changes do not have the shape"):
        matching.patches(lora_of(tiny, 5) | wrong, "file", 1.0, tiny.model, tiny.clip)


LYCORIS = {"(IA)³": IA3Module, "OFT or BOFT": DiagOFTModule, "OFT or BOFT ": ButterflyOFTModule, "T-LoRA": TLoraModule}


@pytest.mark.parametrize("kind", LYCORIS)
def test_unsupported_kinds_of_lycoris_are_named(tiny: Checkpoint, kind: str) -> None:
    layer = Linear(192, 64)
    adapter = LYCORIS[kind]("lora_unet_" + TO_K.replace(".", "_"), layer, lora_dim=4, alpha=1)
    state = {f"{adapter.lora_name}.{part}": value for part, value in adapter.state_dict().items()}
    with pytest.raises(BadFile, match=kind.strip().replace("(", r"\(").replace(")", r"\)")):
        matching.patches(state, "file", 1.0, tiny.model, tiny.clip)


PEFT: dict[str, peft.PeftConfig] = {
    "(IA)³": peft.IA3Config(target_modules=["to_k"], feedforward_modules=[]),
    "OFT": peft.OFTConfig(target_modules=["to_k"], oft_block_size=8, r=0),
    "BOFT": peft.BOFTConfig(target_modules=["to_k"], boft_block_size=8),
    "VeRA": peft.VeraConfig(target_modules=["to_k"], r=4),
    "AdaLoRA": peft.AdaLoraConfig(target_modules=["to_k"], total_step=10),
    "FourierFT": peft.FourierFTConfig(target_modules=["to_k"], n_frequency=8),
    "HRA": peft.HRAConfig(target_modules=["to_k"]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", PEFT)
def test_unsupported_kinds_of_peft_are_named(tiny: Checkpoint, kind: str) -> None:
    block = nn.ModuleDict({"to_k": Linear(192, 64)})
    model: Any = peft.PeftModel(block, PEFT[kind])
    parent = TO_K.removesuffix("to_k")
    state = {
        key.replace("to_k", parent + "to_k"): value.detach() for key, value in get_peft_model_state_dict(model).items()
    }
    with pytest.raises(BadFile, match=kind.replace("(", r"\(").replace(")", r"\)")):
        matching.patches(state, "file", 1.0, tiny.model, tiny.clip)


def test_embeddings_are_taken_out_by_name() -> None:
    vectors = torch.ones(2, 64)
    state = {
        "unet.x.alpha": torch.tensor(1.0),
        "bundle_emb.my token.clip_l": vectors,
        "bundle_emb.my token.clip_g": vectors,
        "bundle_emb.v1.5 style.string_to_param.*": vectors,
        "bundle_emb.v1.5 style.clip_l": vectors,
    }
    own, bundled = without_bundled(state)
    assert own.keys() == {"unet.x.alpha"}
    assert {name: list(content) for name, content in bundled.items()} == {
        "my token": ["clip_l", "clip_g"],
        "v1.5 style": ["string_to_param", "clip_l"],
    }
    assert list(bundled["v1.5 style"]["string_to_param"]) == ["*"]
