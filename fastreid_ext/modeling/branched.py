"""The base class of our meta-architectures: images -> branch -> {feature, neck, logits} -> losses or one vector."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.data.batches import TARGETS_ON_CPU
from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import MomentumElimination
from fastreid_ext.losses.demands import demand
from fastreid_ext.modeling.augmentation_table import BatchAugmentation, augmentations_from_config
from fastreid_ext.modeling.head_plugins import BranchHead, build_head
from fastreid_ext.modeling.loss_table import Criterion, Term, terms_from_config
from fastreid_ext.modeling.scalars import log_scalars

logger = logging.getLogger(__name__)

# Label of a batch -> the config keys that load it for training and for the test.
LABEL_KEYS = {"joints": "INPUT.JOINTS.ENABLED"}
TEST_LABEL_KEYS = {"joints": "INPUT.JOINTS.TEST"}


class BranchedReID(nn.Module):
    """A model with several branches and the same losses on each, which end in one head.

    A subclass says what its head ``takes``, registers its trunk and then the head as ``heads``, and gives
    :meth:`branches`, and :meth:`embed` where the test feature is not the concatenation of all branches after BNNeck.
    One whose test feature is weighted parts side by side has their weights in ``test_weights`` (part -> weight), the
    parts without them in ``test_parts(branches)`` (part -> (B, D)), and the config key of weights and its value in
    ``test_weights_option(weights)``: ``fastreid-ext test-weights`` searches them. The batch of the caller is never
    written to.

    Args:
        head: what the branches end in; its ``labels`` are the model's too.
        num_classes: K, identities of the training set; 0 for a model that is never trained, as FastReID's
            ``DefaultPredictor`` builds it.
        loss_terms: the losses of every branch, see :class:`fastreid_ext.modeling.loss_table.Criterion`.
        pixel_mean, pixel_std: three numbers each, on the 0-255 scale.
        test_branch_norm: divide each branch's test feature by its length before they are concatenated.
        shared_losses: kinds of loss whose state is one for all branches.
        augmentations: applied in turn to every normalised training batch.
        momentum_elimination: beta of :class:`MomentumElimination` of the test feature, which is made of the features
            before BNNeck then; None leaves it out.

    Raises:
        ConfigError: losses of which none trains the classifiers, or none what has no classifier; DDP would stop at the
            second step. Or a head that has momentum elimination of its own.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    heads: BranchHead
    # A key of head_plugins.TAKES: the maps that the head is given.
    takes: ClassVar[str]
    # Nodes below MODEL with the keys of the project.
    nodes: ClassVar[tuple[str, ...]] = ()
    # What branches() takes by name, out of the batch: "joints" (B, J, 3), shares of the image and confidence. A test
    # batch may be without, but for those of test_labels. Those of the head are added.
    labels: tuple[str, ...] = ()
    test_labels: tuple[str, ...] = ()
    # Modules that the test feature does not read: an evaluation does not need their weights.
    training_only: tuple[str, ...] = ("criterion",)
    # Names of weights written before they were given others: (pattern of the name's beginning, what it is now).
    renamed: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(
        self,
        head: BranchHead,
        *,
        num_classes: int,
        loss_terms: list[Term],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        test_branch_norm: bool = False,
        shared_losses: Collection[str] = (),
        augmentations: Sequence[BatchAugmentation] = (),
        momentum_elimination: float | None = None,
    ):
        super().__init__()
        if loss_terms and all(term.source != "logits" for term in loss_terms):
            raise ConfigError("no loss of MODEL.LOSSES.NAME trains the classifier: add SmoothedCrossEntropyLoss")
        if head.without_logits and loss_terms and all(term.source == "logits" for term in loss_terms):
            raise ConfigError(
                f"{type(head).__name__} has a feature without a classifier ({', '.join(head.without_logits)}), which"
                " metric losses train, and MODEL.LOSSES.NAME has none: add one, or switch that part of the head off"
            )
        self.num_classes = num_classes
        terms = loss_terms if num_classes else []  # without identities there are no centers of them, and no loss
        self.criterion = Criterion(terms, head.dims, num_classes, head.without_logits, shared_losses)
        self.labels = tuple(dict.fromkeys((*self.labels, *head.labels)))
        self.test_labels = tuple(dict.fromkeys((*self.test_labels, *head.test_labels)))
        self.test_branch_norm = test_branch_norm
        self.augmentations = tuple(augmentations)
        self.elimination = None
        if momentum_elimination is not None:
            if hasattr(head, "momentum_elimination"):
                raise ConfigError(
                    f"{type(head).__name__} has momentum elimination of its own: set MODEL.OCCLUDED.ME.ENABLED True for"
                    " it, and MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION.ENABLED False"
                )
            self.elimination = MomentumElimination(self.test_dim(head), momentum_elimination)
        # Not persistent, as in FastReID: they are settings, not weights.
        self.register_buffer("pixel_mean", torch.tensor(list(pixel_mean)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(list(pixel_std)).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def shared_settings(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read what every paper's constructor takes: classes, losses, pixels, augmentations and the test feature."""
        elimination = cfg.MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION
        if elimination.ENABLED and cfg.TEST.METRIC != "cosine":
            logger.warning(
                "MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION subtracts one vector from every test feature, which leaves %s"
                " distances of features of length 1 as they are: set TEST.METRIC cosine",
                cfg.TEST.METRIC,
            )
        return {
            "num_classes": cfg.MODEL.HEADS.NUM_CLASSES,
            "loss_terms": terms_from_config(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "augmentations": augmentations_from_config(cfg),
        } | ({"momentum_elimination": elimination.BETA} if elimination.ENABLED else {})

    @classmethod
    def build_head(cls, cfg: CfgNode, feat_dim: int) -> BranchHead:
        """Build MODEL.HEADS.NAME; see :func:`fastreid_ext.modeling.head_plugins.build_head`."""
        return build_head(cfg, cls.takes, feat_dim, cls.nodes)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def branches(self, images: Tensor, targets: Tensor | None, **labels: Tensor) -> dict[str, dict[str, Tensor]]:
        """Return branch -> outputs of its head for normalised images (B, 3, H, W) and what ``labels`` names."""
        raise TypeError(f"{type(self).__name__} defines no branches()")

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D): all branches after BNNeck, concatenated, in float32."""
        features = [outputs["neck"].float() for outputs in branches.values()]
        if self.test_branch_norm:
            features = [F.normalize(feature) for feature in features]
        return torch.cat(features, dim=1)

    def test_dim(self, head: BranchHead) -> int:
        """Return D of what :meth:`embed` returns: the first branch's of a head on one map, all branches' of others."""
        dims = list(head.dims.values())
        return dims[0] if self.takes == "map" else sum(dims)

    def test_feature(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D): what :meth:`embed` returns, less mu where momentum elimination is on.

        It is made of the features before BNNeck then, which takes the mean away by itself.
        """
        return self.embed(branches) if self.elimination is None else self.elimination(self._before_bnneck(branches))

    def _before_bnneck(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        return self.embed({name: {**outputs, "neck": outputs["feature"]} for name, outputs in branches.items()})

    def losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """Return the weighted losses: those of MODEL.LOSSES on all branches, and those of the head's own."""
        return self.criterion(branches, targets) | self.heads.extra_losses(branches, targets)

    def forward(self, batched_inputs: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor] | Tensor:
        """Return the dict of losses in training mode, the test feature (B, D) in eval mode."""
        images = self.preprocess_image(batched_inputs)
        labels = self.labels_of(batched_inputs)
        if not self.training:
            return self.test_feature(self.branches(images, None, **labels))

        if not self.num_classes:
            raise ConfigError(
                f"this {type(self).__name__} was built for a test: MODEL.HEADS.NUM_CLASSES is 0, and training needs the"
                " number of identities of the training set"
            )
        given = _targets_of(batched_inputs)
        on_cpu = _readable(given, batched_inputs)
        if not torch.compiler.is_compiling() and bool((on_cpu < 0).any()):
            # FastReID's PreciseBN only wants the batch norms to see the images and marks them with -1.
            self.branches(images, None, **labels)
            return {}
        self._check_range(on_cpu)
        targets = given.to(images.device, non_blocking=True)
        extra = list(labels.values())
        for augment in self.augmentations:
            images, targets, *extra = augment(images, targets, *extra)
        branches = self.branches(images, targets, **dict(zip(labels, extra, strict=True)))
        self.criterion.check(targets, on_cpu)
        losses = self.losses(branches, targets)
        if self.elimination is not None and torch.is_grad_enabled():  # a forward without gradients is no step
            with torch.no_grad():
                self.elimination.observe(self._before_bnneck(branches))
        _log_accuracy(branches, targets)
        return losses

    def preprocess_image(self, batched_inputs: Mapping[str, Tensor] | Tensor) -> Tensor:
        """Move images (B, 3, H, W) on the 0-255 scale to the model's device and normalise a copy of them."""
        images = batched_inputs["images"] if isinstance(batched_inputs, Mapping) else batched_inputs
        images = images.to(self.device, non_blocking=True)
        return (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std

    def labels_of(self, batched_inputs: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
        """Move the labels of a batch to the model's device."""
        batch = batched_inputs if isinstance(batched_inputs, Mapping) else {}
        needed, keys = (self.labels, LABEL_KEYS) if self.training else (self.test_labels, TEST_LABEL_KEYS)
        missing = [name for name in needed if name not in batch]
        if missing:
            raise ConfigError(
                f"{type(self).__name__} {'trains' if self.training else 'tests'} with {', '.join(missing)}, but the"
                f" batch has none: set {', '.join(keys[name] for name in missing)} True"
            )
        return {name: batch[name].to(self.device, non_blocking=True) for name in self.labels if name in batch}

    def _check_range(self, targets: Tensor) -> None:
        demand(
            ((targets >= 0) & (targets < self.num_classes)).all(),
            f"a training batch has targets outside 0 to {self.num_classes - 1}, the identities that the classifiers"
            " were built for: number those of the training set from 0, and set MODEL.HEADS.NUM_CLASSES to how many they"
            " are",
        )


def _targets_of(batched_inputs: Mapping[str, Tensor] | Tensor) -> Tensor:
    if not isinstance(batched_inputs, Mapping) or "targets" not in batched_inputs:
        raise ValueError("training needs a batch with 'images' and 'targets'; for features call model.eval() first")
    return batched_inputs["targets"]


def _readable(targets: Tensor, batched_inputs: Mapping[str, Any]) -> Tensor:
    """Return the targets where they are read without a wait for their device, if the batch has them there."""
    if torch.compiler.is_compiling():  # a graph reads none
        return targets
    numbers = batched_inputs.get(TARGETS_ON_CPU)
    return targets.cpu() if numbers is None else torch.tensor(numbers)


@torch.no_grad()
def _log_accuracy(branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> None:
    logits = {name: outputs["logits"] for name, outputs in branches.items() if "logits" in outputs}
    # A classifier of several heads answers with the sum of their logits (B, H, K).
    answers = [x.sum(dim=1) if x.dim() == 3 else x for x in logits.values()]
    hits = torch.stack([(answer.argmax(dim=1) == targets).float().mean() for answer in answers])
    log_scalars([f"accuracy/{name}" for name in logits], hits)
