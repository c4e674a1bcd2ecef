"""Features for packages that track or compare people: deep-sort-realtime, supervision, and Roboflow's reid.

The first two are not needed here: they get plain lists, and an object of theirs that the caller has.
"""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError, MissingExtraError
from fastreid_ext.inference.extractor import Extractor

if TYPE_CHECKING:
    from reid import ReIDModel
    from supervision import Detections

FEATURE = "feature"  # name of the features in supervision's data

Found = TypeVar("Found", bound="Detections")


def deep_sort_inputs(
    extractor: Extractor,
    frame: Any,
    boxes: np.ndarray,
    scores: np.ndarray | None = None,
    *,
    order: str,
    label: str = "person",
) -> tuple[list[tuple[list[float], float, str]], list[np.ndarray]]:
    """Return detections and their features for ``DeepSort(embedder=None).update_tracks(detections, embeds=features)``.

    Args:
        extractor: of the features.
        frame: (H, W, 3), or any one image that the extractor takes.
        boxes: (N, 4), x1, y1, x2, y2 in pixels.
        scores: (N,), how sure the detector is, from 0 to 1; None = 1 for all.
        order: of the frame's channels, "BGR" as OpenCV reads it or "RGB".
        label: class of all detections.

    Returns:
        N times ([left, top, width, height], score, label), and N features (D,).

    Raises:
        InputError: a box that is empty or outside of the frame.
        ValueError: as many boxes as scores are needed.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    scores = np.ones(len(boxes)) if scores is None else np.asarray(scores, dtype=np.float64)
    features = extractor.crops(frame, boxes, order=order)
    places = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).tolist()
    return [(place, score, label) for place, score in zip(places, scores.tolist(), strict=True)], list(features)


def with_features(extractor: Extractor, frame: Any, detections: Found, *, order: str) -> Found:
    """Put the features (N, D) of supervision's ``Detections`` into ``detections.data["feature"]``, and return them.

    They stay with their detection wherever supervision filters, orders or joins detections.

    Args:
        extractor: of the features.
        frame: (H, W, 3), or any one image that the extractor takes.
        detections: with N boxes in ``xyxy``.
        order: of the frame's channels, "BGR" as OpenCV reads it or "RGB".

    Raises:
        InputError: a box that is empty or outside of the frame.
    """
    detections.data[FEATURE] = extractor.crops(frame, detections.xyxy, order=order)
    return detections


def reid_model(extractor: Extractor) -> "ReIDModel":
    """Return a model of Roboflow's reid whose embeddings are an extractor's features, for its evaluation and trackers.

    reid resizes by PIL, as we do, and cuts a box's corners to whole pixels, where :meth:`Extractor.crops` takes every
    pixel that the box touches.

    Args:
        extractor: whose model has one input size.

    Raises:
        ConfigError: the model crops its images, or takes them in any size.
        MissingExtraError: reid is not installed.
    """
    try:
        from reid.model import ReIDModel
        from reid.preprocessing import ReIDPreprocessing
    except ImportError as error:
        raise MissingExtraError(
            f"Roboflow's reid can't be imported ({error}): pip install reid, best in an environment of its own"
        ) from error
    size = extractor.record.size
    if len(size) != 2 or extractor.record.crop:
        raise ConfigError("reid resizes to one height and width, and this model's INPUT.SIZE_TEST or INPUT.CROP do not")
    levels = ReIDPreprocessing(input_size=size, mean=(0, 0, 0), std=(1 / 255,) * 3, interpolation="bicubic")
    return ReIDModel(_Backbone(extractor), torch.device("cpu"), levels)


class _Backbone(nn.Module):
    """An extractor as a module: images (B, 3, H, W) in RGB, 0 to 255 -> features (B, D)."""

    def __init__(self, extractor: Extractor):
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        return self.extractor(images.round(), range=255, as_torch=True)
