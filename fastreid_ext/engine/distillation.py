"""Distillation: a student learns the relations that a trained teacher sees between the images of a batch (KD)."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from fastreid_ext.engine.checks.listing import raise_together
from fastreid_ext.engine.checks.paths import teacher_mistakes
from fastreid_ext.engine.checks.trial import left_as_it_was
from fastreid_ext.engine.devices import device_of
from fastreid_ext.errors import ConfigError, UserError
from fastreid_ext.modeling.capabilities import ReadsLabels
from fastreid_ext.modeling.distillation_table import distillation_terms
from fastreid_ext.modeling.student_features import StudentFeatures

Terms = Mapping[str, tuple[float, Callable[[Tensor, Tensor], Tensor]]]

logger = logging.getLogger(__name__)


class Teacher(Protocol):
    """A trained model, as :class:`fastreid_ext.Extractor` opens it.

    Attributes:
        record: its ``size`` and ``crop``, see :class:`fastreid_ext.inference.record.ModelRecord`.
    """

    record: Any

    def features(self, images: Tensor) -> Tensor:
        """Return test features (B, E) of images (B, 3, H, W), 0 to 255, of the size of its test; without gradient."""
        ...


class Distillation:
    """Adds the losses between the test features of a student and a teacher to those of a training step.

    The teacher sees the very images of the student's trunk, augmented and all, on the 0-255 scale, and normalises them
    itself; if its test has another size, they are resized. Both features are what an evaluation compares. The teacher
    is in eval mode and in no module of the student's: neither optimiser, checkpoints nor exports know of it.

    Args:
        student: without a wrapper for several processes.
        teacher: the trained model.
        terms: key of the loss -> its weight and function of the features (B, D) and (B, E).

    Raises:
        ConfigError: a student whose test feature can't be told from its training.
    """

    def __init__(self, student: nn.Module, teacher: Teacher, terms: Terms):
        self.student, self.teacher, self.terms = StudentFeatures(student), teacher, dict(terms)
        self.length: int | None = None  # D in the test, if it was tried

    def losses(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the losses of a training batch, the student's own and those of the distillation.

        Args:
            model: the student, with its wrapper if it has one.
            batch: as the student takes it.

        Raises:
            ConfigError: its training makes a feature of another length than its test, or none.
        """
        with self.student.watching(batch) as watched:
            losses = model(batch)
        found = watched.feature
        if found is None or self.length not in (None, found.shape[1]):
            raise self._refusal(self.length, found)
        target = self.target(watched.images)
        return losses | {key: weight * loss(found, target) for key, (weight, loss) in self.terms.items()}

    def target(self, images: Tensor) -> Tensor:
        """Return the teacher's features (B, E) of the student's images (B, 3, H, W), 0 to 255, on their device."""
        size, crop = self.teacher.record.size, self.teacher.record.crop
        if size and size != tuple(images.shape[2:]):
            # As its test resizes; the sharp edges of the bicubic filter leave the range of pixels.
            images = F.resize(images, list(size), InterpolationMode.BICUBIC, antialias=True).clamp(0, 255)
        if crop:
            images = F.center_crop(images, list(crop))
        return self.teacher.features(images).to(images.device)

    @torch.no_grad()
    def try_on(self, size: tuple[int, int]) -> tuple[int, int]:
        """Compare what is watched with the student's test on two images, and return the lengths of both features.

        Args:
            size: (height, width) of the images.

        Raises:
            ConfigError: the student's test feature is another one, or the teacher's is not finite.
        """
        model = self.student.model
        device = next(model.parameters()).device
        images = torch.linspace(0, 255, 6 * size[0] * size[1], device=device).view(2, 3, *size)
        target = self.target(images)
        if not torch.isfinite(target).all():
            raise ConfigError("its features are not finite: the weights are from a run that diverged")
        if isinstance(model, ReadsLabels) and model.test_labels:
            return 0, target.shape[1]  # its test can't be run on images alone
        with left_as_it_was(model, device):
            model.eval()
            batch = {"images": images.clone()}
            with self.student.watching(batch) as watched:
                expected = model(batch).float()
        found, self.length = watched.feature, expected.shape[1]
        if found is None or found.shape != expected.shape or not _same_relations(found, expected):
            raise self._refusal(self.length, found)
        return self.length, target.shape[1]

    def _refusal(self, length: int | None, found: Tensor | None) -> ConfigError:
        given = "nothing" if found is None else f"{found.shape[1]} numbers"
        return ConfigError(
            f"the test feature of {type(self.student.model).__name__}, {length} numbers, is not what its heads give in"
            f" training, {given}, so it can't be compared with a teacher's"
        )


def _same_relations(first: Tensor, second: Tensor) -> bool:
    """Whether two sets of features have the same products, as they do if the parts stand in another order."""
    products = [features @ features.T for features in (first, second)]
    return torch.allclose(*products, rtol=1e-3, atol=1e-3 * float(products[1].max()))


def distillation_of(cfg: CfgNode, student: nn.Module) -> Distillation | None:
    """Return the distillation from KD.TEACHER, None if no teacher is named.

    Raises:
        ConfigError: no such teacher, or one that can't teach this student; the sentence names it.
    """
    if not cfg.KD.TEACHER:
        return None
    raise_together(teacher_mistakes(cfg))
    terms = distillation_terms(cfg)
    try:
        teacher = _opened(cfg)
        distillation = Distillation(student, teacher, terms)
        size = cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else cfg.INPUT.SIZE_TRAIN
        own, other = distillation.try_on((size[0], size[-1]))
    except UserError as error:
        raise ConfigError(f"KD.TEACHER {cfg.KD.TEACHER} can't teach: {error}") from error
    logger.info(
        "the teacher is %s, %s, with features of %d numbers%s; losses: %s",
        cfg.KD.TEACHER,
        teacher.record.architecture,
        other,
        f", and the student's have {own}" if own else "",
        ", ".join(f"{weight:g} x {key}" for key, (weight, _) in terms.items()),
    )
    return distillation


def _opened(cfg: CfgNode) -> Teacher:
    """Open the teacher as any program opens a trained model: by the package's public name, since engine knows none."""
    from fastreid_ext import Extractor

    return Extractor(cfg.KD.TEACHER, cfg.KD.TEACHER_WEIGHTS or None, device=str(device_of(cfg)))
