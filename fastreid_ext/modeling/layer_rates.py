"""Learning rates that fall from a trunk's last block to its stem, and which weights of a transformer are not decayed.

Clark et al., ELECTRA, ICLR 2020; Bao et al., BEiT, ICLR 2022: a pretrained trunk is fine-tuned with a rate of
decay^(L + 1 - l) for layer l of L blocks, where the stem is layer 0.
"""

from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.region_block import RegionBlock
from fastreid_ext.modeling.residual_blocks import block_count
from fastreid_ext.modeling.token_trunk import TokenTrunk
from fastreid_ext.modeling.tokens import BEHIND
from fastreid_ext.modeling.trunk import STAGES, StageCopies, layer_numbers

__all__ = ["decay_kinds", "layer_factors"]


def layer_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Return the factors on the rates of a model's trunk and of copies of its blocks, by dotted names.

    A layer is a residual block; what stands between two blocks is of the later one's. What is behind the last block,
    what is no part of the trunk, and a new part behind a block, such as a non-local one, keep the full rate.

    Args:
        model: its trunk is ``backbone``.
        decay: above 0 and not above 1.

    Raises:
        ConfigError: a model without a trunk, or with one whose stages are not known.
    """
    trunk = getattr(model, "backbone", None)
    if trunk is None:
        raise ConfigError(
            f"SOLVER.LAYER_DECAY is about the blocks of a model's backbone, and this {type(model).__name__} has none:"
            " set it to 1.0"
        )
    try:
        places = {"backbone": layer_numbers(trunk)}
    except ConfigError as error:
        raise ConfigError(f"SOLVER.LAYER_DECAY is about a trunk's blocks: set it to 1.0, for {error}") from error
    last = 1 + sum(block_count(trunk, stage) for stage in STAGES)
    places |= {name: module.layers for name, module in model.named_modules() if isinstance(module, StageCopies)}
    factors = {}
    for place, layers in places.items():
        for name, layer in layers.items():
            path = f"{place}.{name}".rstrip(".")
            factors[path] = decay ** (last - layer)
            factors[f"{path}.{BEHIND}"] = 1.0
    return factors


def decay_kinds(model: nn.Module) -> dict[str, str]:
    """Return how weight decay acts on the parameters of vision transformers that a model has, by their names.

    "none": what timm's ``no_weight_decay`` names, positions and class and register tokens; "bias"; "norm": those of one
    number a channel, the weights of norms and layer scale. A parameter that is not named is a plain weight.
    """
    kinds = {}
    for place, module in model.named_modules():
        if isinstance(module, TokenTrunk | RegionBlock) or getattr(module, "of_tokens", False):
            exempt = module.undecayed if isinstance(module, TokenTrunk) else set()
            for name, parameter in module.named_parameters(place):
                if name.removeprefix(f"{place}.") in exempt:
                    kinds[name] = "none"
                elif name.endswith("bias"):  # q_bias and v_bias too
                    kinds[name] = "bias"
                elif parameter.dim() < 2:
                    kinds[name] = "norm"
    return kinds
