"""Compound batch erasing, CBE (section 3.2, occlusion-based data augmentation)."""

from collections.abc import Sequence

import torch
from fastreid.config import CfgNode

from fastreid_ext.data.batch_erasing import erase_rectangles
from fastreid_ext.data.erased_pixels import MEAN_PIXEL, Fill
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.augmentation_table import AUGMENTATIONS, AugmentationEntry, Batches


class CompoundBatchErasing:
    """X_full = [X_re; X_bce]: a batch twice, once with random erasing and once with one stripe erased throughout.

    The first copy loses a rectangle per image (Zhong et al., 2017), the second the same horizontal stripe in all
    images: one of s equal parts, s drawn from ``stripes`` and the part from 0 ... s - 1, once a call. Both are filled
    alike; the paper does not say with what. Everything is drawn and erased on the images' device, without a transfer.

    Args:
        stripes: choices of s.
        probability, area, ratio: of the random erasing, see :func:`erase_rectangles`.
        generator: of the images' device; None is torch's own, which our trainer seeds from (SEED, epoch, rank).
        fill: what erased pixels become; the mean pixel of normalised images if none is given.

    Raises:
        ConfigError: no stripe numbers, or one that is not a whole number of 1 or more.
    """

    def __init__(
        self,
        stripes: Sequence[int] = (6, 7, 8),
        probability: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: float = 0.3,
        generator: torch.Generator | None = None,
        fill: Fill = MEAN_PIXEL,
    ):
        if not stripes or not all(isinstance(s, int) and s >= 1 for s in stripes):
            raise ConfigError(f"CBE needs whole numbers of stripes of 1 or more, got {list(stripes)}")
        self.fill = fill
        self.stripes = tuple(stripes)
        self.rectangles = {"probability": probability, "area": area, "ratio": ratio}
        self.generator = generator

    def __call__(self, images: torch.Tensor, *labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return images (2B, C, H, W) and every label (targets, cameras, poses; (B, ...)) twice: (2B, ...).

        Raises:
            ValueError: images of fewer rows than stripes, labels of another length, or settings of the rectangles
                outside their range.
        """
        if images.dim() != 4 or any(len(label) != len(images) for label in labels):
            raise ValueError(
                f"expected images (B, C, H, W) and labels (B, ...), got {[tuple(x.shape) for x in (images, *labels)]}"
            )
        erased = erase_rectangles(images, **self.rectangles, generator=self.generator, fill=self.fill)
        striped = erase_stripe(images, self.stripes, self.generator, self.fill)
        return torch.cat([erased, striped]), *(torch.cat([label, label]) for label in labels)


def erase_stripe(
    images: torch.Tensor,
    stripes: Sequence[int] = (6, 7, 8),
    generator: torch.Generator | None = None,
    fill: Fill = MEAN_PIXEL,
) -> torch.Tensor:
    """Batch-constant erasing (BcE): erase one of s horizontal stripes, the same one in all images.

    Where s does not divide the height, stripe i is rows floor(i H / s) to floor((i + 1) H / s), so that every row
    belongs to one stripe.

    Args:
        images: (B, C, H, W); not written to.
        stripes: choices of s.
        generator: of the images' device; None is torch's own.
        fill: what erased pixels become; the mean pixel of normalised images if none is given.

    Raises:
        ConfigError: fewer rows than stripes.
    """
    height = images.shape[2]
    if height < max(stripes):
        raise ConfigError(
            f"images of {height} rows can't be cut into {max(stripes)} stripes: raise INPUT.SIZE_TRAIN or lower"
            " INPUT.BATCH_AUGMENT.CBE.STRIPES"
        )
    choice = torch.randint(len(stripes), (1,), generator=generator, device=images.device)
    count = sum((choice == index) * s for index, s in enumerate(stripes))  # stripes[choice], without a transfer
    place = torch.rand(1, generator=generator, device=images.device, dtype=torch.float64)
    stripe = (place * count).long()  # 0 ... s - 1, without asking the device for s
    rows = torch.arange(height, device=images.device)
    inside = (rows >= stripe * height // count) & (rows < (stripe + 1) * height // count)
    return fill(images, inside[:, None], generator)


def _from_node(node: CfgNode, batches: Batches) -> CompoundBatchErasing:
    settings = {"stripes": node.STRIPES, "probability": node.PROB, "area": tuple(node.AREA), "ratio": node.RATIO}
    settings["fill"] = batches.fill(node.FILL)
    probe = CompoundBatchErasing(**settings, generator=torch.Generator())  # the run's own numbers stay undrawn
    probe(torch.empty(1, len(batches.mean), *batches.size, device="cpu"))  # it refuses at start-up what it would refuse
    return CompoundBatchErasing(**settings)


AUGMENTATIONS["CompoundBatchErasing"] = AugmentationEntry(
    "CBE",
    {
        # s, the numbers of stripes that one is drawn from
        "STRIPES": [6, 7, 8],
        # Random erasing of the other copy, as in Zhong et al.
        "PROB": 0.5,
        "AREA": [0.02, 0.4],
        "RATIO": 0.3,
        # Of both copies: mean | random | normal, see REA
        "FILL": "mean",
        # False: SOLVER.IMS_PER_BATCH images are sampled and twice as many pass the network; True: half are sampled
        "TOTAL_BATCH": False,
    },
    _from_node,
    counted_copies=lambda node: 2 if node.TOTAL_BATCH else 1,
)
