"""How the layers that MSReID adds to its trunk start."""

from torch import nn

from fastreid_ext.errors import ConfigError

# INIT -> standard deviation of a classifier's first weights
CLASSIFIER_STD = {"authors": 0.001, "torch": 0.01}


def check_init(init: str) -> None:
    """Raise a ConfigError for an INIT that there is not."""
    if init not in CLASSIFIER_STD:
        raise ConfigError(f"MODEL.MSREID.INIT must be one of {tuple(CLASSIFIER_STD)}, got {init!r}")


def start(layers: nn.Module | None, init: str) -> None:
    """Draw the first weights of some layers.

    Args:
        layers: with convolutions in them, or None.
        init: "authors" for normal numbers with a variance of 2 / inputs (He et al., 2015) and biases of 0, as in the
            authors' code; "torch" leaves torch's own, whose standard deviation is 2.45 times smaller.
    """
    if layers is None or init == "torch":
        return
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
