"""The side branches of Deep Miner (sections 3.2 and 3.3): copies of the trunk's later blocks."""

import copy
from collections.abc import Iterable
from functools import partial

from torch import Tensor, nn

from fastreid_ext.deepminer.attention import attend
from fastreid_ext.deepminer.erasing import check_threshold, erase, keep_mask
from fastreid_ext.modeling.tokens import Tokens
from fastreid_ext.modeling.trunk import STAGES, StageCopies, map_of, on_map, run_stage


class LaterStages(nn.Module):
    """Unshared copies of the stages behind a block, and of the attention behind each: from Y_after to the last map.

    Args:
        backbone: any trunk.
        attention: stage -> its attention; the copies start with the same weights.
        after: the block, 1 to 3.
    """

    def __init__(self, backbone: nn.Module, attention: nn.ModuleDict, after: int):
        super().__init__()
        self.stages = [stage for stage in STAGES if stage > after]
        self.trunk = StageCopies(backbone, self.stages)
        self.attention = copy.deepcopy(nn.ModuleDict({k: a for k, a in attention.items() if int(k) > after}))

    def forward(self, y: Tensor | Tokens) -> Tensor:
        """(B, C, h, w) of Y_after, or a vision transformer's tokens, -> (B, C4, h', w')."""
        for stage in self.stages:
            y = attend(self.attention, stage, run_stage(self.trunk, stage, y))
        return map_of(y)


class InputErasedBranch(nn.Module):
    """An input-erased (IE) branch of any trunk: Y^e = M * Y (eq. 1), then copies of the blocks behind Y (section 3.2).

    ``InputErasedBranch([net.layer3, net.layer4])`` is the paper's branch behind block 2. It shares no weight with the
    trunk; pooling, BNNeck and classifier are a head's.

    Args:
        blocks: what leads from Y to the trunk's last map, a module or several in their order; they are copied, with
            their weights of this moment.
        threshold: tau of eq. 1, in [0, 1]; 1 erases nothing.

    Raises:
        ConfigError: a threshold outside [0, 1].
    """

    def __init__(self, blocks: nn.Module | Iterable[nn.Module], threshold: float = 0.8):
        super().__init__()
        check_threshold(threshold)
        several = not isinstance(blocks, nn.Module) or isinstance(blocks, nn.ModuleList)
        self.blocks = copy.deepcopy(nn.Sequential(*blocks) if several else blocks)
        self.threshold = threshold

    def keep_mask(self, y: Tensor) -> Tensor:
        """Return what the branch may see of Y (B, C, h, w): (B, 1, h, w), 1 where Y is kept and 0 where erased."""
        return keep_mask(y, self.threshold)

    def forward(self, y: Tensor | Tokens) -> Tensor:
        """Y (B, C, h, w) -> the branch's last map; of a vision transformer's tokens, those of the map are erased."""
        return self.blocks(on_map(partial(erase, threshold=self.threshold), y))

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}"
