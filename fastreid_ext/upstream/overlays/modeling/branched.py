"""The base class of the meta-architectures: images -> branch -> {feature, neck, logits} -> losses or one vector."""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.modeling.augmentation_table import augmentations_from_config
from fastreid_ext.modeling.loss_table import terms_from_config


class BranchedReID(nn.Module):
    """A model with several branches and the same losses on each, which end in one head.

    A subclass says what its head ``takes``, registers its trunk and then the head as ``heads``, and gives
    :meth:`branches`, and :meth:`embed` where the test feature is not the concatenation of all branches after BNNeck.
    The batch of the caller is never written to.

    Args:
        head: what the branches end in; its ``labels`` are the model's too.
        num_classes: K, identities of the training set; 0 for a model that is never trained.
        loss_terms: the losses of every branch.
        pixel_mean, pixel_std: three numbers each, on the 0-255 scale.
        test_branch_norm: divide each branch's test feature by its length before they are concatenated.
        shared_losses: kinds of loss whose state is one for all branches.
        augmentations: applied in turn to every normalised training batch.

    Raises:
        ConfigError: losses of which none trains the classifiers, or none what has no classifier; DDP would stop at the
            second step.
    """

    @classmethod
    def shared_settings(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read what every constructor takes: classes, losses, pixels and augmentations."""
        return {
            "num_classes": cfg.MODEL.HEADS.NUM_CLASSES,
            "loss_terms": terms_from_config(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "augmentations": augmentations_from_config(cfg),
        }

    def test_feature(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D)."""
        return self.embed(branches)


def _readable(targets: Tensor, batched_inputs: Mapping[str, Any]) -> Tensor:
    return targets
