"""Learning rates that fall from a trunk's last block to its stem, and which weights of a transformer are not decayed.

Clark et al., ELECTRA, ICLR 2020; Bao et al., BEiT, ICLR 2022: a pretrained trunk is fine-tuned with a rate of
decay^(L + 1 - l) for layer l of L blocks, where the stem is layer 0.
"""

from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.anatomy import anatomy_of
from fastreid_ext.modeling.region_block import RegionBlock
from fastreid_ext.modeling.residual_blocks import block_count
from fastreid_ext.modeling.token_trunk import TokenTrunk
from fastreid_ext.modeling.tokens import BEHIND
from fastreid_ext.modeling.trunk import STAGES, StageCopies

__all__ = ["decay_kinds", "layer_factors", "layer_numbers"]


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
        numbers = layer_numbers(trunk)
    except ConfigError as error:
        raise ConfigError(f"SOLVER.LAYER_DECAY is about a trunk's blocks: set it to 1.0, for {error}") from error
    last = 1 + sum(block_count(trunk, stage) for stage in STAGES)
    copies = [name for name, module in model.named_modules() if isinstance(module, StageCopies)]
    factors = {}
    for place in ("backbone", *copies):  # copies keep the trunk's names
        for name, layer in numbers.items():
            path = f"{place}.{name}".rstrip(".")
            factors[path] = decay ** (last - layer)
            factors[f"{path}.{BEHIND}"] = 1.0
    return factors


def decay_kinds(model: nn.Module) -> dict[str, str]:
    """Return how weight decay acts on the parameters of vision transformers that a model has, by their names.

    "none": what timm's ``no_weight_decay`` names, positions and class and register tokens; "bias"; "norm": those of one
    number a channel, the weights of norms and layer scale. A parameter that is not named is a plain weight.
    """
    kinds: dict[str, str] = {}
    if not isinstance(getattr(model, "backbone", None), TokenTrunk):
        return kinds
    for place, module in model.named_modules():
        if isinstance(module, TokenTrunk | RegionBlock | StageCopies):
            exempt = module.undecayed if isinstance(module, TokenTrunk) else set()
            for name, parameter in module.named_parameters(place):
                if name.removeprefix(f"{place}.") in exempt:
                    kinds[name] = "none"
                elif name.endswith("bias"):  # q_bias and v_bias too
                    kinds[name] = "bias"
                elif parameter.dim() < 2:
                    kinds[name] = "norm"
    return kinds


def layer_numbers(backbone: nn.Module) -> dict[str, int]:
    """Return the number of each module's layer: 0 for the stem, i for the i-th residual block of L.

    What is no block belongs to the block after it; behind the last block it is L + 1.

    Raises:
        ConfigError: a backbone without stages.
    """
    anatomy, blocks = anatomy_of(backbone), 0
    # A transformer's stem is all that is not named below: class token, positions and more.
    numbers = dict.fromkeys([""] if isinstance(backbone, TokenTrunk) else anatomy.stem_names(backbone), 0)
    for stage in STAGES:
        of_stage = anatomy.block_names(backbone, stage)
        for name in anatomy.stage_names(backbone, stage):
            blocks += name in of_stage
            numbers[name] = blocks if name in of_stage else blocks + 1
    return numbers
