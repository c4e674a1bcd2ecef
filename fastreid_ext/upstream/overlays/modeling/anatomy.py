"""Which modules of a trunk are its stem and its four stages."""

from torch import nn


class StemAndStages:
    """FastReID's ResNet: the names of its modules in the order in which they run."""

    def stem_names(self, network: nn.Module) -> list[str]:
        """Return the names of the stem's modules."""
        return ["conv1", "bn1", "relu", "maxpool"]

    def stage_names(self, network: nn.Module, stage: int) -> list[str]:
        """Return the dotted names of a stage's modules."""
        return [f"layer{stage}.{index}" for index in range(len(getattr(network, f"layer{stage}")))]

    def block_names(self, network: nn.Module, stage: int) -> list[str]:
        """Return the dotted names of a stage's residual blocks."""
        return self.stage_names(network, stage)


def anatomy_of(network: nn.Module) -> StemAndStages:
    """Return which modules of a trunk are its stem and stages."""
    return StemAndStages()
