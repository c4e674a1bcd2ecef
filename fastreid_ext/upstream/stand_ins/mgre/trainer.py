"""FastReID's trainer with joints as training labels."""

from collections.abc import Iterable
from typing import Any

from fastreid.config import CfgNode
from fastreid.data import build_reid_train_loader
from fastreid.data.transforms import build_transforms

from fastreid_ext.upstream.stand_ins.mgre.joints import ImagesWithJoints, joints_of, transforms_config
from fastreid_ext.upstream.stand_ins.trainer import Trainer as EpochTrainer
from fastreid_ext.upstream.stand_ins.training_set import training_items


class Trainer(EpochTrainer):
    """Loads joints where INPUT.JOINTS.ENABLED is set."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[dict[str, Any]]:
        """Build FastReID's loader on images with joints."""
        if not cfg.INPUT.JOINTS.ENABLED:
            return super().build_train_loader(cfg)
        items = training_items(cfg)
        images = ImagesWithJoints(
            items,
            build_transforms(transforms_config(cfg), is_train=True),
            joints_of(cfg, [item[0] for item in items]),
            cfg.INPUT.FLIP.PROB if cfg.INPUT.FLIP.ENABLED else 0.0,
        )
        return build_reid_train_loader(cfg, train_set=images)
