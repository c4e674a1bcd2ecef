"""Deep Miner: global, input-erased and local branches that mine rich and diverse features."""

from fastreid_ext.deepminer.config import add_deepminer_config
from fastreid_ext.deepminer.meta_arch import DeepMiner

__all__ = ["DeepMiner", "add_deepminer_config"]
