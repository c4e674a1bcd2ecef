"""Hashes of what a feature depends on: the weights and the config keys that the test reads."""

import hashlib
import json
import platform
from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

import fastreid_ext
from fastreid_ext.config import FIRST_DEFAULTS, get_cfg
from fastreid_ext.engine.checkpoint import training_only_keys
from fastreid_ext.engine.key_tracking import leaves

# Where features are made, and what only training reads. TEST.IMS_PER_BATCH, the device and the layout change only the
# last digits.
NO_MATTER = (
    "MODEL.DEVICE",
    "MODEL.CHANNELS_LAST",
    "MODEL.WEIGHTS",
    "MODEL.FREEZE_LAYERS",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "MODEL.HEADS.NUM_CLASSES",
)
READ_BY_TEST = ("MODEL.", "INPUT.SIZE_TEST", "INPUT.CROP.", "TEST.FLIP.")


def model_hash(model: nn.Module) -> str:
    """Return the SHA-256 of the weights and buffers that the test feature reads, wherever they were loaded from.

    Args:
        model: of ``load_trained``; classifiers, centers and batch norms' counters do not count.
    """
    unread = training_only_keys(model)
    state = model.state_dict()
    return weights_hash({k: state[k] for k in state if k not in unread and not k.endswith(".num_batches_tracked")})


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights by name; in a file of weights they are those that the test feature reads."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def config_hash(cfg: CfgNode) -> str:
    """Return the SHA-256 of the keys that test features depend on, as far as they differ from their first defaults.

    So a key that a later version adds changes nothing so long as it has its default, nor does a default that a later
    version changes.
    """
    defaults = dict(leaves(get_cfg())) | FIRST_DEFAULTS
    kept = {
        key: value
        for key, value in leaves(cfg)
        if key.startswith(READ_BY_TEST)
        and key not in NO_MATTER
        and not key.startswith("MODEL.LOSSES.")
        and value != defaults.get(key)
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def feature_identity(cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
    """Return what two stores must share for their features to be compared."""
    return {
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "model_sha256": model_hash(model),
        "config_sha256": config_hash(cfg),
        "metric": cfg.TEST.METRIC,
        "flip": bool(cfg.TEST.FLIP.ENABLED),
    }


def versions() -> dict[str, str]:
    """Return the versions of what makes features and indexes."""
    return {
        "fastreid_ext": fastreid_ext.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "faiss": faiss.__version__,
    }
