"""The branches of a Deep Miner: where they start, what they pass and how long their features are (figure 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastreid.config import CfgNode

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.trunk import STAGES

LOCAL = "local"
LOCAL_START = 3  # the block that the local branch follows (section 3.3)


@dataclass(frozen=True)
class BranchLayout:
    """Which branches there are beside the global one.

    Args:
        ie_blocks: blocks B_i that an input-erased (IE) branch follows, any of 1, 2, 3.
        local_stripes: stripes of the local branch; 0 = no local branch.
        attention_blocks: blocks that ATT follows, on every branch whose path has that block.
        erase_threshold: tau of eq. 1, in [0, 1].

    Raises:
        ConfigError: blocks that do not exist or are named twice, or values outside their range.
    """

    ie_blocks: Sequence[int] = (2, 3)
    local_stripes: int = 4
    attention_blocks: Sequence[int] = (2, 3)
    erase_threshold: float = 0.8

    def __post_init__(self):
        _check_blocks("IE_BLOCKS", self.ie_blocks, STAGES[:-1])
        _check_blocks("ATTENTION_BLOCKS", self.attention_blocks, STAGES)
        if not 0.0 <= self.erase_threshold <= 1.0:
            raise ConfigError(f"MODEL.DEEPMINER.ERASE_THRESHOLD must lie in [0, 1], got {self.erase_threshold}")
        if self.local_stripes < 0:
            raise ConfigError(f"MODEL.DEEPMINER.LOCAL_STRIPES must be 0 or more, got {self.local_stripes}")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "BranchLayout":
        """Read MODEL.DEEPMINER."""
        node = cfg.MODEL.DEEPMINER
        erasing = {"erase_threshold": node.ERASE_THRESHOLD} if node.IE_BLOCKS else {}
        return cls(tuple(node.IE_BLOCKS), node.LOCAL_STRIPES, tuple(node.ATTENTION_BLOCKS), **erasing)

    @property
    def starts(self) -> dict[str, int]:
        """Side branch -> block that it follows: IE branches from the lowest block on, then the local one."""
        starts = {f"ie{i}": i for i in sorted(self.ie_blocks)}
        return starts | ({LOCAL: LOCAL_START} if self.local_stripes else {})

    @property
    def branches(self) -> tuple[str, ...]:
        """All branches, the global one first."""
        return ("global", *self.starts)

    def lengths(self, channels: int) -> dict[str, int]:
        """Branch -> length of its pooled vector, for last maps of so many channels."""
        return {name: channels * (self.local_stripes if name == LOCAL else 1) for name in self.branches}

    def check_rows(self, rows: int, height: int, last_stride: int = 1) -> None:
        """Check that the last map of images of a height has at least one row for each stripe.

        Args:
            rows: of the last map.
            height: of the images, in pixels.
            last_stride: of the trunk, if MODEL.BACKBONE.LAST_STRIDE could make it smaller; else 1.

        Raises:
            ConfigError: fewer rows than stripes.
        """
        if rows < self.local_stripes:
            raise ConfigError(
                f"images of {height} rows give a last map of {rows}, too few for"
                f" MODEL.DEEPMINER.LOCAL_STRIPES ({self.local_stripes}): raise INPUT.SIZE_TRAIN / SIZE_TEST, or set"
                f" MODEL.DEEPMINER.LOCAL_STRIPES {rows}{' or MODEL.BACKBONE.LAST_STRIDE 1' if last_stride > 1 else ''}"
            )


def _check_blocks(key: str, blocks: Sequence[int], allowed: Sequence[int]) -> None:
    if len(set(blocks)) != len(blocks) or not set(blocks) <= set(allowed):
        raise ConfigError(
            f"MODEL.DEEPMINER.{key} must name each block once, out of {list(allowed)}; got {list(blocks)}"
        )
