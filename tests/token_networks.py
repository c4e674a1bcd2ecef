"""timm's families of plain vision transformers with few and narrow blocks, by their own code for each."""

import copy
import functools

import torch

from fastreid_ext.modeling.token_trunk import create_token_trunk

NARROW = {"depth": 4, "embed_dim": 48, "num_heads": 3}
# family -> (timm's name, patch, class and register tokens, other settings)
FAMILIES = {
    "ViT": ("vit_tiny_patch16_224", 16, 1, {}),
    "DeiT with distillation": ("deit_tiny_distilled_patch16_224", 16, 2, {}),
    "DeiT III": ("deit3_small_patch16_224", 16, 1, {}),
    "CLIP": ("vit_base_patch16_clip_224", 16, 1, {}),
    "SigLIP": ("vit_base_patch16_siglip_224", 16, 0, {}),
    "DINOv2": ("vit_small_patch14_dinov2", 14, 1, {}),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", 14, 5, {}),
    "DINOv3": ("vit_small_patch16_dinov3", 16, 5, {}),
    "EVA-02": ("eva02_tiny_patch14_224", 14, 1, {}),
    "EVA-02 CLIP": ("eva02_base_patch16_clip_224", 16, 1, {}),
    "RoPE of each block": ("vit_small_patch16_rope_mixed_224", 16, 1, {}),
    "parallel": ("vit_pwee_patch16_reg1_gap_256", 16, 1, {}),
}


def make(family="ViT", rows=4, columns=2, **settings):
    """Return a trunk for images of so many patches, with weights that are no zeros and ones."""
    return copy.deepcopy(_made(family, rows, columns, **settings))


@functools.cache
def _made(family, rows, columns, **settings):
    name, patch, _, own = FAMILIES[family]
    torch.manual_seed(0)
    trunk = create_token_trunk(name, (rows * patch, columns * patch), **{**NARROW, **own, **settings})
    with torch.no_grad():
        for parameter in trunk.parameters():  # tokens, biases, layer scale: else much of it is 0
            parameter += 0.1 * torch.randn_like(parameter)
    return trunk.eval()


def images_of(trunk, rows=4, columns=2, batch=2, seed=1):
    """Return random images of so many patches."""
    torch.manual_seed(seed)
    return torch.randn(batch, 3, rows * trunk.patch, columns * trunk.patch)
