"""Labels of the base class: named by the model, moved and augmented with the images, and asked for when missing."""

import pytest
import torch
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.losses.bounded_exponential_distance import demand_both_pairs
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.head_plugins import BranchHead
from fastreid_ext.modeling.loss_table import Term
from fastreid_ext.occluded.erasing import CompoundBatchErasing


class Colours(BranchHead):
    """A linear classifier of the mean colour; remembers what it was given."""

    takes = "map"
    dims = {"global": 3}

    def __init__(self, labels):
        super().__init__()
        self.labels = labels
        self.classifier = nn.Linear(3, 2)
        self.given = []

    def branches(self, images, targets=None, **labels):
        self.given.append((images, targets, labels))
        feature = images.mean(dim=(2, 3))
        return {"global": {"neck": feature, "logits": self.classifier(feature)}}


class Toy(BranchedReID):
    """A model whose trunk is nothing and whose head has labels."""

    needs = ()

    def __init__(self, augmentations=()):
        term = Term("CE", "ce", "logits", 1.0, lambda classes, dim: nn.CrossEntropyLoss())
        shared = {"pixel_mean": [0.0] * 3, "pixel_std": [1.0] * 3, "augmentations": augmentations}
        head = Colours(self.needs)
        super().__init__(head, num_classes=2, loss_terms=[term], **shared)
        self.heads = head
        self.given = head.given

    def branches(self, images, targets, **labels):
        return self.heads(images, targets, **labels)


class WithJoints(Toy):
    needs = ("joints",)


class WithTwo(Toy):
    needs = ("joints", "height")


@pytest.fixture
def batch():
    return {
        "images": torch.rand(4, 3, 8, 4),
        "targets": torch.tensor([0, 1, 1, 0]),
        "joints": torch.rand(4, 5, 3),
        "height": torch.arange(4.0),
    }


def test_a_model_without_labels_is_given_none(batch, storage):
    model = Toy()
    model(batch)
    assert model.given[0][2] == {}


def test_labels_reach_the_branches_by_name(batch, storage):
    model = WithTwo()
    model(batch)
    labels = model.given[0][2]
    assert list(labels) == ["joints", "height"]
    assert torch.equal(labels["joints"], batch["joints"]) and torch.equal(labels["height"], batch["height"])


def test_labels_pass_the_augmentations_in_turn(batch, storage):
    """Twice doubled: everything four times, in the order of the images; the batch of the caller stays as it was."""
    before = {key: value.clone() for key, value in batch.items()}
    model = WithTwo([CompoundBatchErasing(stripes=[2]), CompoundBatchErasing(stripes=[2])])
    model(batch)
    images, targets, labels = model.given[0]
    assert len(images) == 16 and torch.equal(targets, before["targets"].repeat(4))
    assert torch.equal(labels["joints"], before["joints"].repeat(4, 1, 1))
    assert torch.equal(labels["height"], before["height"].repeat(4))
    assert all(torch.equal(batch[key], before[key]) for key in batch)


def test_a_training_batch_without_its_label(batch, storage):
    del batch["joints"]
    with pytest.raises(ValueError, match=r"WithJoints trains with joints, .* set INPUT.JOINTS.ENABLED True"):
        WithJoints()(batch)


def test_precise_batch_norms_see_the_labels_unaugmented(batch, storage):
    batch["targets"] = torch.full((4,), -1)
    model = WithJoints([CompoundBatchErasing(stripes=[2])])
    assert model(batch) == {}
    images, targets, labels = model.given[0]
    assert len(images) == 4 and targets is None and torch.equal(labels["joints"], batch["joints"])


def test_at_the_test_labels_are_given_where_they_are(batch):
    model = WithTwo().eval()
    model(batch)
    model({"images": batch["images"], "height": batch["height"]})
    model(batch["images"])
    assert [list(labels) for _, _, labels in model.given] == [["joints", "height"], ["height"], []]


@pytest.mark.parametrize("target", [2, 7])
def test_targets_that_no_classifier_knows(target, batch, storage):
    batch["targets"][1] = target
    with pytest.raises(ConfigError, match="targets outside 0 to 1, .* set MODEL.HEADS.NUM_CLASSES"):
        Toy()(batch)


def test_losses_look_at_targets_once_a_batch(batch, storage):
    """And at others that they are given beside a forward of the model."""
    model, looked = Toy(), []
    model.criterion.needs = (lambda targets: looked.append(targets.tolist()),)
    model(batch)
    model.losses(model.branches(batch["images"], batch["targets"]), batch["targets"])
    assert looked == [[0, 1, 1, 0]] * 2


def test_what_an_augmentation_adds_counts(batch, storage):
    """No two images of one identity, until the batch is doubled."""
    model = Toy([CompoundBatchErasing(stripes=[2])])
    batch = {key: value[:2] for key, value in batch.items()}
    model.criterion.needs = (demand_both_pairs,)
    model(batch)
    model.augmentations = ()
    with pytest.raises(ConfigError, match="no two images of one identity in this batch of 2"):
        model(batch)
