"""Deep Miner: global, input-erased and local branches that mine rich and diverse features."""

from fastreid_ext.deepminer.branches import InputErasedBranch
from fastreid_ext.deepminer.config import add_deepminer_config
from fastreid_ext.deepminer.heads import DeepMinerHead
from fastreid_ext.deepminer.layout import BranchLayout
from fastreid_ext.deepminer.meta_arch import DeepMiner

__all__ = ["BranchLayout", "DeepMiner", "DeepMinerHead", "InputErasedBranch", "add_deepminer_config"]
