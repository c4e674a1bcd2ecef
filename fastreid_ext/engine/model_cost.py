"""What a model costs: parameters and multiply-adds of one test image, counted as in docs/counting.md."""

from typing import Any

import torch
from fastreid.config import CfgNode
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.engine.checkpoint import training_only_keys
from fastreid_ext.modeling.capabilities import ReadsLabels


def model_cost(cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
    """Return the size of a model and what one test image costs it.

    The model is left in the modes of training and evaluation that it had.

    Args:
        cfg: its config.
        model: without a wrapper for several processes.

    Returns:
        "parameters" of all its modules, "parameters_of_test" without those that no test feature reads, and, unless the
        test reads more than an image or images keep their own size, "input" (height, width), "multiply_adds" and
        "feature_dim".
    """
    unread = training_only_keys(model)
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    found: dict[str, Any] = {
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "parameters": sum(counts.values()),
        "parameters_of_test": sum(count for name, count in counts.items() if name not in unread),
    }
    size = list(cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else cfg.INPUT.SIZE_TEST)
    size = size * 2 if len(size) == 1 else size
    if size[0] <= 0 or (isinstance(model, ReadsLabels) and model.test_labels):
        return found
    image = torch.zeros(1, 3, *size, device=cfg.MODEL.DEVICE)
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            feature = model.eval()(image)
    finally:
        for module, training in modes:
            module.training = training
    operations = counter.get_total_flops() // 2  # torch counts a multiply-add as two
    return {**found, "input": size, "multiply_adds": operations, "feature_dim": feature.shape[1]}
