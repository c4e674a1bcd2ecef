"""Images of any kind in, features out: by the pixels, and to the numbers, of the evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext import zoo
from fastreid_ext.data.loader_faults import dead_workers_named
from fastreid_ext.data.pixels.resized_images import first_resize
from fastreid_ext.errors import ConfigError, DivergedError
from fastreid_ext.inference import compression
from fastreid_ext.inference.frames import crops_of
from fastreid_ext.inference.input_loader import load_inputs, read_inputs
from fastreid_ext.inference.inputs import Source, files_of, pixels_of, sources_of
from fastreid_ext.inference.models import Model, TorchModel, open_model
from fastreid_ext.inference.record import ModelRecord
from fastreid_ext.inference.same_person_answers import check_same_features, identified, pair_answers, same_person_of
from fastreid_ext.layers import unit_length

if TYPE_CHECKING:
    from fastreid_ext.evaluation.same_person import Answer, SamePerson


class Extractor:
    """Gives the features of images by a trained model.

    Without ``normalise`` and ``dim``, and with the batches of the evaluation, they are those that ``--eval-only``
    compares and ``fastreid-ext extract`` writes, to the bit.

    Args:
        model: ``zoo`` or ``zoo:NAME``, a model that the package ships, which is what is used without any; a shipped
            config's name or a yaml file (with ``weights``), a run's folder, a ``.safetensors`` file of
            ``fastreid-ext export --format weights``, or an ``.onnx`` file of ``fastreid-ext export``.
        weights: file of a config; of a folder, instead of its model_best.pth.
        opts: KEY VALUE pairs for a config or a folder, as on the command line: ``["TEST.FLIP.ENABLED", True]``.
        device: "cpu" or "cuda"; None = the GPU if there is one (an ONNX file: the CPU).
        batch_size: images at once; None = TEST.IMS_PER_BATCH.
        workers: processes that read and resize files; 0 = this one.
        normalise: divide features by their length, so that their products are cosines.
        dim: numbers of a feature, by the PCA that ``fastreid-ext compress`` fitted; None = all.
        flip: take the mean with the mirrored image's feature; None = as the config says.

    Attributes:
        record: what the model is, and how its pixels are made.
        dim: D, numbers of a feature.

    Raises:
        UserError: no such model, weights that do not fit it, or options that can't be; the sentence says which.

    Example:
        >>> Extractor()(["a.jpg", "b.jpg"]).shape
        (2, 384)
        >>> extractor = Extractor("logs/demo/deepminer")  # doctest: +SKIP
        >>> extractor(["a.jpg", "b.jpg"]).shape  # doctest: +SKIP
        (2, 3584)
    """

    def __init__(
        self,
        model: str | Path = zoo.DEFAULT_NAME,
        weights: str | Path | None = None,
        *,
        opts: Sequence[Any] = (),
        device: str | None = None,
        batch_size: int | None = None,
        workers: int = 0,
        normalise: bool = True,
        dim: int | None = None,
        flip: bool | None = None,
    ):
        _check_options(batch_size, workers, dim, normalise, flip)
        self._start(open_model(model, weights, opts, device), batch_size, workers, normalise, dim, flip)

    @classmethod
    def of_model(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        *,
        batch_size: int | None = None,
        workers: int = 0,
        normalise: bool = True,
        dim: int | None = None,
        flip: bool | None = None,
    ) -> "Extractor":
        """Return the extractor of a model that is built, loaded and in eval mode; the options are the class's."""
        _check_options(batch_size, workers, dim, normalise, flip)
        extractor = cls.__new__(cls)
        extractor._start(TorchModel(cfg, model), batch_size, workers, normalise, dim, flip)
        return extractor

    def _start(
        self, model: Model, batch_size: int | None, workers: int, normalise: bool, dim: int | None, flip: bool | None
    ) -> None:
        self.model = model
        self.batch_size, self.workers = int(batch_size or model.batch_size), int(workers)
        self.normalise, self.flip = bool(normalise), bool(model.flip if flip is None else flip)
        self._compression: compression.Compression | None = None
        if model.normalised and (self.flip or not normalise):
            wish = "flip=False is all that it can" if self.flip else "normalise=False can't undo that"
            raise ConfigError(
                f"{model.weights} gives features of length 1 and {wish}: export it without --normalise, which the"
                " Extractor does itself"
            )
        self._dim = dim
        if dim is not None:
            self._compression = compression.find(model.weights, model.record)
            compression.check_fits(self._compression, dim)
            if model.normalised and not self._compression.normalised:
                raise ConfigError(
                    f"{model.weights} gives features of length 1, and the components are of others: export it without"
                    " --normalise"
                )

    @cached_property
    def record(self) -> ModelRecord:
        return replace(self.model.record, flip=self.flip)

    @cached_property
    def dim(self) -> int:
        return self._dim or self.model.dim

    def __call__(
        self, images: Any, *, order: str | None = None, range: float | None = None, as_torch: bool = False
    ) -> np.ndarray | Tensor:
        """Return the features (N, D) of images in their order, in float32, on the CPU.

        Args:
            images: one image or an iterable of images, which is read batch by batch: a path; a folder, whose images are
                sorted by path; a PIL image; an array (H, W, 3), also (H, W) grey, (H, W, 4) with transparency or
                (B, H, W, 3); a tensor (3, H, W) or (B, 3, H, W). They are resized as the test's transforms say, and
                never written into.
            order: of the channels of arrays, "RGB" or "BGR"; tensors are RGB unless it says otherwise.
            range: what white is in tensors, and in arrays that are not of uint8: 255 or 1.
            as_torch: return a tensor.

        Raises:
            InputError: an input that is no image, or does not say how its numbers are to be read.
            ImageError: a file that can't be read.
            DivergedError: a feature that is not finite.
        """
        resize = first_resize(self.model.transform)
        return self._gathered(sources_of(images, order, range, resize), as_torch)

    def files(self, paths: Sequence[str | Path], *, as_torch: bool = False) -> np.ndarray | Tensor:
        """Return the features (N, D) of image files, one for each path; unlike ``__call__``, it takes no folder.

        Raises:
            InputError, ImageError, DivergedError: as ``__call__``; a folder is a file that can't be read.
        """
        return self._gathered(files_of(paths), as_torch)

    def crops(
        self, frame: Any, boxes: Any, *, order: str | None = None, range: float | None = None, as_torch: bool = False
    ) -> np.ndarray | Tensor:
        """Return the features (N, D) of what is in the boxes of a frame, in their order.

        Args:
            frame: one image, as ``__call__`` takes it.
            boxes: (N, 4), x1, y1, x2, y2 in pixels; they are clipped to the frame, and every pixel that one touches
                belongs to it.
            order, range, as_torch: see ``__call__``.

        Raises:
            InputError: a box that is not finite, inverted, empty or outside of the frame; names it by its index. Also
                a frame that is no image.
            ImageError: a frame's file that can't be read.
        """
        return self._gathered(iter(crops_of(pixels_of(frame, order, range), boxes)), as_torch)

    def same_person(self, first: Any, second: Any, threshold: str | float = "balanced") -> "list[Answer]":
        """Return whether pairs of this extractor's features are of one person, and how likely that is.

        Args:
            first, second: features (N, D) of each side, or (D,) for one pair.
            threshold: from where on it is the same person: "balanced", "fpr_1e-2", "fpr_1e-3", "fpr_1e-4", or a
                probability.

        Returns:
            An answer for each pair, with ``verdict``, ``probability`` and ``similarity``.

        Raises:
            SamePersonError: that was not measured for this model, or not for features that are made like these; also
                features of another length than this model's.
            ConfigError: a threshold that was not measured.
            EvaluationError: a feature that is not finite.
        """
        return pair_answers(first, second, self.model.dim, self._same_person, threshold)

    def identify(self, queries: Any, gallery: Any, threshold: "str | float" = "fpr_1e-3") -> "list[tuple[int, Answer]]":
        """Return for each query the row of the nearest gallery feature, and "same person" or "unknown person".

        Args:
            queries, gallery: this extractor's features (Q, D) and (G, D), G > 0, or (D,) for one.
            threshold: see :meth:`same_person`; a query is compared with all of the gallery, so a strict one.

        Raises:
            SamePersonError, ConfigError, EvaluationError: as :meth:`same_person`; also a gallery without features.
        """
        return identified(queries, gallery, self.model.dim, self._same_person, threshold)

    @cached_property
    def _same_person(self) -> "SamePerson":
        found = same_person_of(self.model.record, self.model.weights)
        check_same_features(found, flip=self.flip == self.model.flip, whole=self._dim is None, normalise=self.normalise)
        return found

    def batches(self, sources: Iterator[Source], skip: bool = False) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Yield, batch by batch, features (B, D) and for each image why it could not be read, "" if it could.

        Args:
            sources: files, and pixels (H, W, 3) in RGB, uint8.
            skip: go on where a file can't be read; its feature is that of a black image.

        Raises:
            ImageError: a file can't be read and is not to be skipped.
            LoaderError: too little memory for the workers.
        """
        for batch in self.loaded(sources, skip):
            yield self.features(batch["images"]).cpu().numpy(), list(batch["unreadable"])

    def loaded(self, sources: Iterator[Source], skip: bool = False) -> Iterator[dict[str, Any]]:
        """Yield batches of ``images`` (B, 3, H, W) as the model is given them, 0 to 255, and ``unreadable``."""
        model = self.model
        with dead_workers_named():
            yield from load_inputs(sources, model.transform, self.batch_size, self.workers, model.device, skip)

    def read(self, sources: Sequence[str | Path]) -> Tensor:
        """Return the images (N, 3, H, W) of files as the model is given them, 0 to 255, on its device.

        Raises:
            ImageError: one can't be read.
        """
        return read_inputs([str(source) for source in sources], self.model.transform, self.model.device)[0]

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return features (B, D) of images (B, 3, H, W), 0 to 255, of the size of the test, on the model's device."""
        found = self.model.features(images)
        if self.flip:
            found = (found + self.model.features(images.flip(dims=[3]))) / 2
        if self._compression is not None:
            found = self._compression(found, self.dim)
        return unit_length(found) if self.normalise else found

    def _gathered(self, sources: Iterator[Source], as_torch: bool) -> np.ndarray | Tensor:
        found = [features for features, _ in self.batches(sources)]
        features = np.concatenate(found) if found else np.zeros((0, self.dim), np.float32)
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            raise DivergedError(
                f"the features of {len(bad)} of {len(features)} images are not finite, the first is image {bad[0]}: the"
                " weights are from a run that diverged"
            )
        return torch.from_numpy(features) if as_torch else features


def _check_options(batch_size: Any, workers: Any, dim: Any, normalise: Any, flip: Any) -> None:
    for name, value in (("normalise", normalise), ("flip", False if flip is None else flip)):
        if not isinstance(value, bool | np.bool_):
            raise ConfigError(f"{name} is {value!r} and must be True or False")
    for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("dim", dim, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least):
            raise ConfigError(f"{name} is {value!r} and must be a whole number of {least} or more")
