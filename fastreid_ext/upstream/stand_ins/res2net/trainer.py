"""FastReID's trainer with batches of pairs (section III.B) and rates by module."""

from collections.abc import Iterable
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.data import build_reid_train_loader
from fastreid.data.common import CommDataset
from fastreid.data.transforms import build_transforms
from fastreid.utils import comm
from torch import nn

from fastreid_ext.data.batches import PAIR_SAMPLER
from fastreid_ext.data.pairs import PairSampler
from fastreid_ext.errors import ConfigError
from fastreid_ext.upstream.stand_ins.trainer import Trainer as EpochTrainer
from fastreid_ext.upstream.stand_ins.training_set import training_items


def add_trainer_config(cfg: CfgNode) -> None:
    """Add the keys of the pairs and of the rates."""
    # Share of positive pairs of DATALOADER.SAMPLER_TRAIN PairSampler
    cfg.DATALOADER.PAIRS = CfgNode({"POSITIVE_SHARE": 0.5})
    # Rate factors by module: [["backbone", 0.1], ["heads", 1.0]]; the longest matching name wins
    cfg.SOLVER.LR_FACTORS = []


class Trainer(EpochTrainer):
    """Trains on pairs where DATALOADER.SAMPLER_TRAIN is PairSampler."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[dict[str, Any]]:
        """Build FastReID's loader with the sampler of pairs."""
        if cfg.DATALOADER.SAMPLER_TRAIN != PAIR_SAMPLER:
            return super().build_train_loader(cfg)
        images = CommDataset(training_items(cfg), build_transforms(cfg, is_train=True), relabel=True)
        ranks = comm.get_world_size()
        sampler = PairSampler(
            images.img_items,
            cfg.SOLVER.IMS_PER_BATCH // ranks,
            comm.shared_random_seed(),
            cfg.DATALOADER.PAIRS.POSITIVE_SHARE,
            comm.get_rank(),
            ranks,
        )
        return build_reid_train_loader(cfg, train_set=images, sampler=sampler)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
        """Build FastReID's optimiser, and multiply each rate by the factor of SOLVER.LR_FACTORS.

        Raises:
            ConfigError: a name that no parameter has.
        """
        optimizer, parameters = super().build_optimizer(cfg, model)
        factors = dict(cfg.SOLVER.LR_FACTORS)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        unmet = set(factors)
        for group in optimizer.param_groups:  # FastReID makes one for each parameter
            name = names[id(group["params"][0])]
            matches = [part for part in factors if name == part or name.startswith(f"{part}.")]
            unmet -= set(matches)
            group["lr"] *= factors[max(matches, key=len)] if matches else 1.0
        if unmet:
            raise ConfigError(f"SOLVER.LR_FACTORS names {sorted(unmet)}, which no parameter's name begins with")
        return optimizer, parameters
