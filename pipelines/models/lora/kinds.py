"""Kinds of adapter files that are not supported, recognised by the names of their entries, so that errors name them."""

from __future__ import annotations

import re
from collections.abc import Iterable

SUPPORTED = "LoRA, LoCon, LoHa, LoKr, GLoRA, DoRA or full differences"
_KINDS = (
    ("(IA)³", r"\.on_input$|\bia3_l\b"),
    ("OFT or BOFT", r"\b(oft_blocks|oft_diag|oft_[rRs]|oft_embedding_R|boft_[Rs])\b"),
    ("AdaLoRA", r"\blora_E\b"),
    ("T-LoRA", r"\b[qp]_layer\.weight$|\blambda_layer$"),
    ("GLoRA of PEFT", r"\bglora_[A-E]\b"),
    ("VeRA", r"\bp?vera_(lambda|A|B)"),
    ("VB-LoRA", r"\bvblora_"),
    ("RandLoRA", r"\brandlora_"),
    ("GraLoRA", r"\bgralora_"),
    ("DeLoRA", r"\bdelora_"),
    ("HiRA", r"\bhira_"),
    ("TinyLoRA", r"\btinylora_"),
    ("X-LoRA", r"\bxlora_"),
    ("Poly", r"\bpoly_lora_"),
    ("FourierFT", r"\bfourierft_"),
    ("WaveFT", r"\bwaveft_"),
    ("C³A", r"\bc3a_kernel\b"),
    ("HRA", r"\bhra_[uv]\b"),
    ("MiSS or Bone", r"\b(miss|bone)_block\b|\bbone_"),
    ("SHiRA", r"\bshira_"),
    ("RoAd", r"\broad_(theta|alpha)\b"),
    ("LN tuning", r"\bln_tuning_layers\b"),
    ("trainable tokens", r"\btrainable_tokens_"),
    ("control-LoRA", r"^lora_controlnet$"),
    ("ControlNet-LLLite", r"^lllite_"),
    ("IP-Adapter", r"^(image_proj|ip_adapter)\."),
    ("AnimateDiff motion module", r"\bmotion_modules\b"),
    ("numbered factors of the first LoRA programs", r"^(unet|text_encoder):\d+:(up|down)$"),
    ("whole weights of ComfyUI", r"\.set_weight$"),
    ("sparse biases of early LyCORIS", r"\bbias_(indices|values|size)$"),
    ("textual inversion", r"^(emb_params|string_to_param|clip_[lg])$"),
)


def unsupported_kind(keys: Iterable[str]) -> str | None:
    """The unsupported kind that some of the keys belong to, or None."""
    keys = list(keys)
    return next((title for title, pattern in _KINDS if any(re.search(pattern, key) for key in keys)), None)
