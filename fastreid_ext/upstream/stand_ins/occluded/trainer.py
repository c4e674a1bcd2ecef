"""FastReID's trainer with momentum elimination (section 3.2, eq. 6)."""

from fastreid.engine.train_loop import HookBase

from fastreid_ext.layers import MomentumElimination
from fastreid_ext.occluded.hooks import MomentumEliminationHook
from fastreid_ext.upstream.stand_ins.trainer import Trainer as EpochTrainer


class Trainer(EpochTrainer):
    """Moves the running mean mu behind every step, where the model has one."""

    def build_hooks(self) -> list[HookBase]:
        """Return FastReID's hooks, with the one of momentum elimination first."""
        hooks = super().build_hooks()
        if any(isinstance(part, MomentumElimination) for part in self.model.modules()):
            hooks.insert(0, MomentumEliminationHook(self.model))
        return hooks
