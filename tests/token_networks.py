"""timm's families of plain vision transformers with few and narrow blocks, and projects on timm's smallest one."""

import copy
import functools

import torch

from fastreid_ext.model_zoo import get_config
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

# MODEL.META_ARCHITECTURE -> demo config, other settings
PROJECTS = {
    "DeepMiner": ("deepminer", {"MODEL.DEEPMINER.LOCAL_STRIPES": 4}),
    "MSReID": ("msreid", {"MODEL.MSREID.DIM": 32}),
    "MGRe": ("mgre", {"MODEL.HEADS.EMBEDDING_DIM": 16}),
    "OccludedReID": ("occluded", {}),
    "Res2NetMultiTask": ("res2net", {"MODEL.MULTITASK.DESCRIPTOR": "linear64"}),
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


def config(project, name="test_vit", **settings):
    """Return a project's demo config on a network of timm's, for images of 64x32."""
    file, own = PROJECTS[project]
    cfg = get_config(f"demo/{file}.yml")
    found = {
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.NAME": "build_timm_backbone",
        "MODEL.BACKBONE.TIMM.NAME": name,
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.BACKBONE.WITH_IBN": False,
        "MODEL.BACKBONE.DEPTH": "50x",  # the default again, as the next one
        "MODEL.BACKBONE.DNL.BLOCKS": [0, 2, 3, 0],
        "MODEL.HEADS.NUM_CLASSES": 12,
        "INPUT.SIZE_TRAIN": [64, 32],
        "INPUT.SIZE_TEST": [64, 32],
        **own,
        **settings,
    }
    cfg.merge_from_list([item for pair in found.items() for item in pair])
    return cfg
