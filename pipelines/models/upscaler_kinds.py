"""Recognition of upscaler files of unsupported architectures by the names of their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNKNOWN = "of an unknown architecture"
_ARCHITECTURES = (
    ("SPSR", r"^f_HR_conv1\.|^b_fea_conv\."),
    ("Real-ESRGAN Compact (SRVGGNet)", r"^body\.0\.(weight|bias)$"),
    ("EDSR", r"^body\.\d+\.body\.\d+\."),
    ("RCAN", r"^body\.\d+\.body\.\d+\.body\.3\.conv_du|conv_du\.0\.weight$"),
    ("HAT", r"overlap_attn|conv_block\.cab\."),
    ("DRCT", r"^layers\.\d+\.swin1\."),
    ("DAT", r"^layers\.\d+\.blocks\.\d+\.attn\.(attns|dwconv|temperature)"),
    ("ATD", r"attn_atd|^layers\.\d+\.residual_group\.td$|\.adaptive_dict"),
    ("Swin2SR", r"attn\.logit_scale$|\.cpb_mlp\."),
    ("SwinIR", r"residual_group\.blocks\.\d+\.attn\."),
    ("OmniSR", r"^residual_layer\.\d+\."),
    ("SPAN", r"^block_1\.c1_r\."),
    ("PLKSR", r"^feats\.\d+\."),
    ("MoSR, RealCUGAN or waifu2x", r"^gblocks\.|^unet1\.|\bconv_post\."),
    ("SCUNet", r"^m_head\.0\.weight$"),
    ("CodeFormer or GFPGAN, which restores faces,", r"^stylegan_decoder|^quantize\.embedding|\bfuse_convs_dict\b"),
    ("LaMa, which fills holes,", r"^generator\.model\.\d+\.ffc|\bffc\.convl2l\b"),
    ("a checkpoint", r"^model\.diffusion_model\."),
    ("a VAE", r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|mid)\b"),
    ("a LoRA", r"\.lora_(up|down|A|B)\b"),
)


def architecture_of(keys: Iterable[str]) -> str:
    """Return the name of the architecture with tensors of these names; UNKNOWN when none matches."""
    keys = list(keys)
    found = (title for title, pattern in _ARCHITECTURES if any(re.search(pattern, key) for key in keys))
    return next(found, UNKNOWN)
