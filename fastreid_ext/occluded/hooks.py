"""Momentum elimination for trainers other than ours."""

from fastreid.engine.train_loop import HookBase
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import MomentumElimination


class MomentumEliminationHook(HookBase):
    """Moves the running mean mu of every :class:`MomentumElimination` of a model after each optimiser step (eq. 6).

    For FastReID's ``DefaultTrainer``::

        def build_hooks(self):
            return [MomentumEliminationHook(self.model), *super().build_hooks()]

    Our trainer moves mu by itself; there the hook does nothing more.

    Args:
        model: the model that is trained, also inside DDP.

    Raises:
        ConfigError: a model without momentum elimination.
    """

    def __init__(self, model: nn.Module):
        self.parts = [part for part in model.modules() if isinstance(part, MomentumElimination)]
        if not self.parts:
            raise ConfigError(
                "the model has no momentum elimination: set MODEL.HEADS.NAME OccludedHead and MODEL.OCCLUDED.ME.ENABLED"
                " True, or leave the hook out"
            )

    def after_step(self) -> None:
        for part in self.parts:
            part.after_step()
