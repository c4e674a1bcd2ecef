"""What a model may be able to do beyond losses and one test feature, each ability with the command that needs it.

An ability is a Protocol, so a model has it by defining its members, whatever it inherits from, and
``isinstance(model, LocatesRegions)`` finds out. FastReID's own models have none of them.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import plain_names
from fastreid_ext.modeling.regions import Granularity, RegionBoxes

Batch = Mapping[str, Any] | Tensor


@runtime_checkable
class HasBranches(Protocol):
    """Describes images by several branches, which the abilities below go into; every BranchedReID does."""

    def preprocess_image(self, batched_inputs: Batch) -> Tensor:
        """Return normalised images (B, 3, H, W) of a batch, or of images, on the 0-255 scale; on the model's device."""
        ...

    def labels_of(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """Return the labels of a batch that :meth:`branches` takes by name, on the model's device."""
        ...

    def branches(self, images: Tensor, targets: Tensor | None, **labels: Tensor) -> dict[str, dict[str, Tensor]]:
        """Return branch -> outputs of its head for normalised images; the test feature reads "neck" (B, D_i)."""
        ...


@runtime_checkable
class LocatesRegions(Protocol):
    """Locates regions of the body: ``fastreid-ext boxes`` draws and measures them."""

    def locate_regions(self, images: Tensor, joints: Tensor | None = None) -> dict[str, RegionBoxes]:
        """Return region -> its boxes in normalised images (B, 3, H, W).

        Args:
            images: normalised.
            joints: (B, J, 3) x and y as shares of the image, and confidence; None where they are not known.
        """
        ...


@runtime_checkable
class HasGranularities(HasBranches, Protocol):
    """Pools maps of several granularities: ``fastreid-ext cam --granularities`` draws each of them."""

    def granularities(self) -> dict[str, Granularity]:
        """Return name -> branch, weight and the modules that make the maps."""
        ...


@runtime_checkable
class HasBranchMaps(HasBranches, Protocol):
    """Has a last map for each of its branches: ``fastreid-ext reproduce DeepMiner "figure 2"`` draws each of them."""

    def branch_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return branch -> its last map (B, C, h, w) of normalised images (B, 3, H, W)."""
        ...

    def describe(self, maps: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return branch -> outputs of the head for these maps, as :meth:`branches` does for images."""
        ...

    def branch_stripes(self) -> dict[str, int]:
        """Return branch -> the horizontal stripes that its map is pooled in; 1 = the whole map."""
        ...


@runtime_checkable
class HasSpatialMasks(Protocol):
    """Puts masks on its maps: ``fastreid-ext masks`` draws them."""

    def preprocess_image(self, batched_inputs: Batch) -> Tensor:
        """See :class:`HasBranches`."""
        ...

    def spatial_masks(self, images: Tensor) -> dict[str, Tensor]:
        """Return name -> mask (B, 1, h, w) in [0, 1] of normalised images (B, 3, H, W); 1 is kept."""
        ...


@runtime_checkable
class HasTestParts(HasBranches, Protocol):
    """Has a test feature of weighted parts side by side: ``fastreid-ext test-weights`` searches the weights.

    Attributes:
        test_weights: part -> its weight, in the order of the feature.
    """

    test_weights: Mapping[str, float]

    def test_parts(self, branches: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return part -> (B, D_i) without its weight, of what :meth:`branches` returned."""
        ...

    def test_weights_option(self, weights: Mapping[str, float]) -> tuple[str, list[float]]:
        """Return the config key of the weights, and its value for these."""
        ...


class ComparesPairs(Protocol):
    """Tells for two test features whether they are of one person."""

    def log_odds(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """Return the log odds of the same person (Q, G) for test features (Q, D) and (G, D)."""
        ...

    def probability(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the probability of the same person (P,) for P pairs of test features (P, D) and (P, D)."""
        ...


@runtime_checkable
class VerifiesPairs(Protocol):
    """Learned whether two images show one person: ``fastreid-ext verify`` asks it."""

    def pair_verification(self) -> ComparesPairs:
        """Return what compares two test features.

        Raises:
            ConfigError: this model was built without it.
        """
        ...


@runtime_checkable
class ReadsLabels(Protocol):
    """Reads more of a batch than images and identities: ``train`` loads it; commands on plain images refuse it.

    Attributes:
        labels: what it trains with, such as "joints" (B, J, 3).
        test_labels: what its test feature needs.
    """

    labels: tuple[str, ...]
    test_labels: tuple[str, ...]


@runtime_checkable
class HasTrainingOnly(Protocol):
    """A model, or a module such as its head, with modules that no test feature reads.

    Every command that loads weights for a test does without theirs.

    Attributes:
        training_only: dotted names of these modules, below this one.
    """

    training_only: tuple[str, ...]


@runtime_checkable
class TakesMaps(Protocol):
    """A head, or a meta-architecture of ours, that says what maps pass between the two; asked of its class too.

    Attributes:
        takes: a key of :data:`fastreid_ext.modeling.head_plugins.TAKES`.
    """

    takes: str


@runtime_checkable
class RenamesWeights(Protocol):
    """A model whose modules had other names before: ``load_weights`` takes weights written then.

    Attributes:
        renamed: pairs of a pattern of a weight's name and what it is now, see
            :func:`fastreid_ext.modeling.renamed.renamed_state`.
    """

    renamed: tuple[tuple[str, str], ...]


@runtime_checkable
class ContinuesStage(Protocol):
    """A residual block that can make the one behind it in its stage; MGRe's feature extraction asks it."""

    def following(self, norm: str) -> nn.Module:
        """Return a new block with this one's output channels and kind, and its own weights."""
        ...


@runtime_checkable
class ContinuesBlocks(Protocol):
    """A trunk that can make the block behind each of its blocks, whose classes are not ours; MGRe asks it."""

    def following_block(self, name: str, channels: int) -> nn.Module:
        """Return a new block of the kind of the trunk's block ``name``, from ``channels`` to ``channels``."""
        ...


@runtime_checkable
class MovesAfterStep(Protocol):
    """A module whose state follows training but not the optimiser, such as a running mean: ``train`` calls it."""

    def after_step(self) -> None:
        """Move the state, once after every step of the optimiser."""
        ...


@runtime_checkable
class MovesInForward(Protocol):
    """A module whose state moves in a training forward, such as the centers of a loss.

    Attributes:
        step_share: the share of a step that a forward pass is; the trainer sets it where several make one step.
    """

    step_share: float


def architectures_with(ability: type) -> list[str]:
    """Return the registered meta-architectures with an ability, for sentences that name them.

    Args:
        ability: one of the Protocols above. Its methods decide: attributes are set only as a model is built.
    """
    methods = [name for name, _ in inspect.getmembers(ability, inspect.isfunction) if not name.startswith("_")]
    kinds = {name: META_ARCH_REGISTRY.get(name) for name in plain_names(META_ARCH_REGISTRY)}
    return sorted(name for name, kind in kinds.items() if all(hasattr(kind, method) for method in methods))
