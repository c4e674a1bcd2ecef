"""The base class of our meta-architectures: images -> branch -> {feature, neck, logits} -> losses or one vector."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from fastreid.utils.events import get_event_storage
from torch import Tensor, nn

from fastreid_ext.modeling.augmentation_table import BatchAugmentation
from fastreid_ext.modeling.loss_table import Criterion

# Label of a batch -> the config keys that load it for training and for the test.
LABEL_KEYS = {"joints": "INPUT.JOINTS.ENABLED"}
TEST_LABEL_KEYS = {"joints": "INPUT.JOINTS.TEST"}


class BranchedReID(nn.Module):
    """A model with several branches and the same losses on each.

    A subclass gives :meth:`branches`, and :meth:`embed` where the test feature is not the concatenation of all
    branches after BNNeck. One that trains with more than images and identities names it in ``labels``. One whose test
    feature is weighted parts side by side has their weights in ``test_weights`` (part -> weight), the parts without
    them in ``test_parts(branches)`` (part -> (B, D)), and the config key of weights and its value in
    ``test_weights_option(weights)``: ``fastreid-ext test-weights`` searches them. The batch of the caller is never
    written to.

    Args:
        criterion: the losses, see :class:`fastreid_ext.modeling.loss_table.Criterion`.
        pixel_mean, pixel_std: three numbers each, on the 0-255 scale.
        test_branch_norm: divide each branch's test feature by its length before they are concatenated.
        augmentations: applied in turn to every normalised training batch.

    Raises:
        ValueError: losses of which none trains the classifiers; DDP would stop at the second step.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    # Modules that no test feature reads: an evaluation does without their weights.
    training_only: tuple[str, ...] = ("criterion",)
    # What branches() takes by name, out of the batch: "joints" (B, J, 3), shares of the image and confidence. A test
    # batch may be without, but for those of test_labels.
    labels: tuple[str, ...] = ()
    test_labels: tuple[str, ...] = ()

    def __init__(
        self,
        criterion: Criterion,
        pixel_mean: list[float],
        pixel_std: list[float],
        test_branch_norm: bool = False,
        augmentations: Sequence[BatchAugmentation] = (),
    ):
        super().__init__()
        sources = [source for _, source in criterion.sources.values()]
        if sources and "logits" not in sources:
            raise ValueError("no loss of MODEL.LOSSES.NAME trains the classifier: add SmoothedCrossEntropyLoss")
        self.criterion = criterion
        self.test_branch_norm = test_branch_norm
        self.augmentations = tuple(augmentations)
        # Not persistent, as in FastReID: they are settings, not weights.
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)

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

    def losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """Return the weighted losses of all branches: MODEL.LOSSES, unless a subclass has more."""
        return self.criterion(branches, targets)

    def forward(self, batched_inputs: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor] | Tensor:
        """Return the dict of losses in training mode, the test feature (B, D) in eval mode."""
        images = self.preprocess_image(batched_inputs)
        labels = self.labels_of(batched_inputs)
        if not self.training:
            return self.embed(self.branches(images, None, **labels))

        targets = _targets_of(batched_inputs).to(images.device, non_blocking=True)
        if bool((targets < 0).any()):
            # FastReID's PreciseBN only wants the batch norms to see the images and marks them with -1.
            self.branches(images, None, **labels)
            return {}
        extra = list(labels.values())
        for augment in self.augmentations:
            images, targets, *extra = augment(images, targets, *extra)
        branches = self.branches(images, targets, **dict(zip(labels, extra, strict=True)))
        losses = self.losses(branches, targets)
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
            raise ValueError(
                f"{type(self).__name__} {'trains' if self.training else 'tests'} with {', '.join(missing)}, which the"
                f" batch has not: set {', '.join(keys[name] for name in missing)} True"
            )
        return {name: batch[name].to(self.device, non_blocking=True) for name in self.labels if name in batch}


def _targets_of(batched_inputs: Mapping[str, Tensor] | Tensor) -> Tensor:
    if not isinstance(batched_inputs, Mapping) or "targets" not in batched_inputs:
        raise ValueError("training needs a batch with 'images' and 'targets'; for features call model.eval() first")
    return batched_inputs["targets"]


@torch.no_grad()
def _log_accuracy(branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> None:
    logits = {name: outputs["logits"] for name, outputs in branches.items() if "logits" in outputs}
    # A classifier of several heads answers with the sum of their logits (B, H, K).
    answers = [x.sum(dim=1) if x.dim() == 3 else x for x in logits.values()]
    hits = torch.stack([(answer.argmax(dim=1) == targets).float().mean() for answer in answers])
    storage = get_event_storage()
    for name, accuracy in zip(logits, hits.tolist(), strict=True):  # one transfer for all branches
        storage.put_scalar(f"accuracy/{name}", accuracy)
