"""The optimiser: FastReID's rules for rates and decay, merged parameter groups, fused steps."""

import inspect
import logging
from collections.abc import Iterable

import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.head_plugins import is_users_own
from fastreid_ext.modeling.layer_rates import decay_kinds, layer_factors

logger = logging.getLogger(__name__)

FUSED = ("Adam", "AdamW", "SGD")  # on CPU and CUDA in every torch that we support
NORM_TYPES = (
    nn.modules.batchnorm._NormBase,  # batch and instance norms of every dimension, SyncBatchNorm too
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build SOLVER.OPT over the trainable parameters of a model.

    FastReID makes one group per parameter and flattens them, which trains nothing on torch >= 2.0. Here parameters with
    the same learning rate and weight decay share a group, and the fused step is used if this torch has one.

    Raises:
        ConfigError: an optimiser that torch does not have, an entry of SOLVER.LR_FACTORS that matches no parameter, or
            SOLVER.LAYER_DECAY for a trunk without stages.
    """
    factors = dict(cfg.SOLVER.LR_FACTORS)
    # A project's yaml may name parts of the project's head, that a user's own head lacks.
    own_head = is_users_own(getattr(model, "heads", None))
    groups = parameter_groups(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        lr_factors={"heads": cfg.SOLVER.HEADS_LR_FACTOR, **factors},
        must_match={name: factor for name, factor in factors.items() if not (own_head and name.startswith("heads."))},
        layers={} if cfg.SOLVER.LAYER_DECAY == 1 else layer_factors(model, cfg.SOLVER.LAYER_DECAY),
        kinds=decay_kinds(model),
    )
    kind = getattr(torch.optim, cfg.SOLVER.OPT, None)
    if not (inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)):
        raise ConfigError(f"SOLVER.OPT is {cfg.SOLVER.OPT!r}, which torch.optim does not have: use Adam, AdamW or SGD")
    settings = {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV} if cfg.SOLVER.OPT == "SGD" else {}
    if cfg.SOLVER.OPT in FUSED:
        settings["fused"] = True
    try:
        optimizer = kind(groups, **settings)
    except ValueError as error:
        raise ConfigError(f"torch's {cfg.SOLVER.OPT} refuses the settings of SOLVER: {error}") from error
    if settings.get("momentum"):
        _begin_momenta(optimizer)
        optimizer.register_load_state_dict_post_hook(_begin_momenta)
    logger.info(
        "%s over %d parameters in %d groups", cfg.SOLVER.OPT, sum(len(g["params"]) for g in groups), len(groups)
    )
    return optimizer


def _begin_momenta(optimizer: torch.optim.SGD) -> None:
    """Begin every momentum that is not there at 0, from which the first step makes the gradient, as torch does.

    torch's fused step wants the momenta of all parameters of a group or of none: one that was frozen so far, or that
    no loss reached, would have none beside others that have theirs.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def parameter_groups(
    model: nn.Module,
    base_lr: float,
    weight_decay: float,
    weight_decay_norm: float,
    weight_decay_bias: float,
    bias_lr_factor: float = 1.0,
    lr_factors: dict[str, float] | None = None,
    must_match: dict[str, float] | None = None,
    layers: dict[str, float] | None = None,
    kinds: dict[str, str] | None = None,
) -> list[dict]:
    """Return one group per (rate, decay): {"params": [...], "lr": ..., "weight_decay": ...}.

    Args:
        model: its parameters with requires_grad are taken, each once.
        base_lr, weight_decay: of a plain weight.
        weight_decay_norm: decay of the parameters of normalisation layers other than their bias.
        weight_decay_bias, bias_lr_factor: decay and rate factor of whatever is called "bias".
        lr_factors: dotted module name -> factor on the rate of all below it; the longest name that matches wins.
        must_match: names in lr_factors that must match a parameter.
        layers: as lr_factors, and a further factor.
        kinds: name of a parameter -> "none", "norm" or "bias", where its module's type does not say which decay it has;
            see :func:`fastreid_ext.modeling.layer_rates.decay_kinds`.

    Raises:
        ConfigError: a name of must_match matches no parameter.
    """
    lr_factors, layers, kinds = lr_factors or {}, layers or {}, kinds or {}
    decays = {"none": 0.0, "norm": weight_decay_norm, "bias": weight_decay_bias}
    unmet = set(must_match or {})
    groups: dict[tuple[float, float], dict] = {}
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            path = f"{module_name}.{name}" if module_name else name
            kind = "bias" if name == "bias" else "norm" if isinstance(module, NORM_TYPES) else ""
            kind = kinds.get(path, kind)
            lr, decay = base_lr * (bias_lr_factor if kind == "bias" else 1.0), decays.get(kind, weight_decay)
            matches = _above(path, lr_factors)
            unmet -= set(matches)
            lr *= lr_factors[max(matches, key=len)] if matches else 1.0
            if matches := _above(path, layers):
                lr *= layers[max(matches, key=len)]
            groups.setdefault((lr, decay), {"params": [], "lr": lr, "weight_decay": decay})["params"].append(parameter)
    if unmet:
        raise ConfigError(
            f"SOLVER.LR_FACTORS names {sorted(unmet)}, but no trainable parameter has such a name; the model has"
            f" {sorted(name for name, _ in model.named_children())} at its top level"
        )
    return list(groups.values())


def _above(path: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if path == name or path.startswith(name + ".")]
