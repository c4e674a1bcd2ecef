"""Evaluation of every test set: as it is and, on request, with rectangles erased."""

import copy
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastreid.config import CfgNode
from fastreid.evaluation import DatasetEvaluator, ReidEvaluator, inference_on_dataset, print_csv_format
from fastreid.utils import comm
from PIL import Image
from torch import Tensor, nn

from fastreid_ext.data.erased_images import ImageEraser, WithErased
from fastreid_ext.data.erased_pixels import Fill
from fastreid_ext.data.images import QueryGalleryImages, ReIDImages
from fastreid_ext.data.loader import DeviceLoader
from fastreid_ext.engine.training_subsets import evaluated_sets
from fastreid_ext.evaluation.evaluator import RankListEvaluator
from fastreid_ext.evaluation.memory import check_memory
from fastreid_ext.evaluation.report import stress_table, with_erased

logger = logging.getLogger(__name__)


def build_evaluator(
    cfg: CfgNode, dataset_name: str, dataset: ReIDImages, num_query: int, output_dir: str
) -> ReidEvaluator:
    """Return what TEST.EVALUATOR says.

    Args:
        cfg: the run's config.
        dataset_name: for file names and titles.
        dataset: the images that are evaluated.
        num_query: how many of them are queries; they come first.
        output_dir: where the evaluator writes.

    Raises:
        EvaluationError: TEST.EVAL_MEMORY_MB is too little for this set.
    """
    if cfg.TEST.EVALUATOR == "host":
        return ReidEvaluator(cfg, num_query, output_dir)
    settings: dict[str, Any] = {}
    if isinstance(dataset, QueryGalleryImages):
        settings = {
            "groups": dataset.groups,
            "gallery_again": dataset.gallery_again,
            "left_out": dataset.left_out,
        }
    check_memory(cfg, num_query, len(dataset) if settings.get("gallery_again") else len(dataset) - num_query)
    return RankListEvaluator(cfg, num_query, dataset_name, output_dir, **settings)


def evaluate_test_sets(
    cfg: CfgNode, model: nn.Module, evaluator_of: Callable[[str], tuple[DeviceLoader, ReidEvaluator]]
) -> OrderedDict[str, Any]:
    """Evaluate DATASETS.TESTS and what DATASETS.HOLD_OUT and DATASETS.VALIDATION keep out of training.

    With TEST.OCCLUSION every test set is evaluated with rectangles erased too, in the same pass; its numbers
    are added to those of the original images. Only the latter choose the best checkpoint.

    Args:
        cfg: the run's config.
        model: gives features; its training or eval mode is restored.
        evaluator_of: name of a test set -> loader and evaluator.

    Returns:
        Test set -> metrics; for a single test set, its metrics, as in FastReID. Only the main process gets
        metrics.
    """
    results: OrderedDict[str, Any] = OrderedDict()
    for name in evaluated_sets(cfg):
        loader, evaluator = evaluator_of(name)
        flip, erased = cfg.TEST.FLIP.ENABLED, None
        model = model if isinstance(model, ImagesStay) or not flip else ImagesStay(model)
        if cfg.TEST.OCCLUSION.ENABLED:
            eraser = _eraser(cfg, loader)
            both = AsIsAndErased(evaluator, partial(_erased_picture, loader.dataset, eraser))
            results[name], erased = inference_on_dataset(model, WithErased(loader, eraser), both, flip_test=flip)
        else:
            results[name] = inference_on_dataset(model, loader, evaluator, flip_test=flip)
        if comm.is_main_process():
            logger.info("Evaluation results for %s in csv format:", name)
            print_csv_format(OrderedDict(results[name], dataset=name))
            results[name] |= with_erased(results[name], erased) if erased else {}
    if cfg.TEST.OCCLUSION.ENABLED and comm.is_main_process():
        node = cfg.TEST.OCCLUSION
        logger.info(
            "with a rectangle of %g to %g of the image erased, with a probability of %g (TEST.OCCLUSION):\n%s",
            *(*node.AREA, node.PROB),
            stress_table(results),
        )
    return results if len(results) > 1 else next(iter(results.values()))


class ImagesStay(nn.Module):
    """A model that leaves its images as they are.

    FastReID's own models normalise them in place: it is the normalised images that its evaluation would mirror, and
    normalise again.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.training = model.training  # which FastReID's evaluation restores

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        return self.model({**batch, "images": batch["images"].clone()})


class AsIsAndErased(DatasetEvaluator):
    """Evaluates the batches of :class:`fastreid_ext.data.erased_images.WithErased`, original and erased separately.

    Args:
        evaluator: of the images as they are.
        picture: path -> picture of the erased image.
    """

    def __init__(self, evaluator: ReidEvaluator, picture: Callable[[str], Image.Image]):
        self.evaluators = {False: evaluator, True: copy.copy(evaluator)}
        self.evaluators[True].erased = picture
        for each in self.evaluators.values():
            each.alone = False

    def reset(self) -> None:
        for evaluator in self.evaluators.values():
            evaluator.reset()

    def process(self, inputs: Mapping[str, Any], outputs: Tensor) -> None:
        self.evaluators[inputs["erased"]].process(inputs, outputs)

    def evaluate(self) -> list[OrderedDict[str, float]]:
        """Return the metrics of the images as they are, and of the erased ones."""
        return [evaluator.evaluate() for evaluator in self.evaluators.values()]


def _eraser(cfg: CfgNode, loader: DeviceLoader) -> ImageEraser:
    node = cfg.TEST.OCCLUSION
    paths = [item[0] for item in loader.dataset.img_items]
    fill = Fill(node.FILL, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, normalised=False)
    return ImageEraser(paths, fill, node.PROB, tuple(node.AREA), node.RATIO, node.SEED)


def _erased_picture(images: ReIDImages, eraser: ImageEraser, path: str) -> Image.Image:
    (erased,) = eraser(images[eraser.indices[path]]["images"][None], [path])  # (3, H, W), from 0 to 255
    return Image.fromarray(erased.round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
