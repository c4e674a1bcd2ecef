"""What each kind of picture shows of trained models and images, laid out as the paper's figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.reproduce.figures.figure_models import FigureModel
from fastreid_ext.reproduce.figures.rankings import rankings
from fastreid_ext.visual.branch_cam import branch_cams
from fastreid_ext.visual.drawing import draw_granularities, draw_masks
from fastreid_ext.visual.grad_cam import feature_length, grad_cam
from fastreid_ext.visual.labelled_grid import HEIGHT, Line, labelled_grid
from fastreid_ext.visual.pictures import enlarge, overlay, pixels_of
from fastreid_ext.visual.rank_grid import rank_grid

LOOKS = ("not at all", "most")  # what the colours stand for
PER_PICTURE = "Each picture is divided by its largest value: colours compare places within one picture."
QUERIES, TOPK = 4, 5
LAYER = "heads.separated.global_"  # of MSReID: what the global branch pools, under the mask where there is one
WITH, WITHOUT = ("ALM", "AL", "AM", "A"), ("LM", "L", "M", "none")


def branch_sheet(models: Mapping[str, FigureModel], files: Sequence[Path], title: str) -> Image.Image:
    """Draw an image a row, and where each branch of the model looks, a column each (figure 2 of Deep Miner)."""
    (one,) = models.values()
    images = read(one, files)
    heats = branch_cams(one.model, images)
    names = [name.upper() if name.startswith("ie") else name for name in heats]  # as the paper writes them
    columns = ["image", *(f"{name} branch" for name in names)]
    lines = [Line("", [picture, *rest]) for picture, *rest in zip(*overlaid(images, heats), strict=True)]
    notes = ["Where the last map of a branch makes the branch's own feature long, by Grad-CAM.", PER_PICTURE, one.made]
    return labelled_grid(lines, columns, title, notes, LOOKS)


def mask_sheet(models: Mapping[str, FigureModel], files: Sequence[Path], title: str) -> Image.Image:
    """Draw an image a row, and each mask of the model over it (figure 1 of MSReID)."""
    (one,) = models.values()
    rows = draw_masks(one.model, read(one, files))
    columns = [name for name in rows[0] if not name.endswith(", kept")]
    lines = [Line("", [row[name] for name in columns]) for row in rows]
    notes = ["The colours are the masks' own values. The local mask is 1 less the global one.", one.made]
    return labelled_grid(lines, columns, title, notes, ("0, hidden", "1, kept"))


def attention_sheet(models: Mapping[str, FigureModel], files: Sequence[Path], title: str) -> Image.Image:
    """Draw for each image a block of two rows, with and without attention, by four columns (figure 6 of MSReID)."""
    first = next(iter(models.values()))
    images = read(first, files)
    heats = {name: grad_cam(one.model, LAYER, images, feature_length) for name, one in models.items()}
    pictures = dict(zip(("image", *heats), overlaid(images, heats), strict=True))
    lines = []
    for number in range(len(files)):
        for names, label in ((WITH, "with A"), (WITHOUT, "without A")):
            shown = pictures["image"][number] if names is WITH else None
            lines.append(Line(label, [shown, *(pictures[name][number] for name in names)]))
    columns = ["image", "L and M", "L", "M", "neither"]
    notes = [
        f"A: soft attention, L: local branch, M: mask. Grad-CAM of {LAYER}, which the global branch pools: where it"
        " makes the test feature long.",
        PER_PICTURE,
        made_by(models),
    ]
    return labelled_grid(lines, columns, title, notes, LOOKS)


def granularity_sheet(models: Mapping[str, FigureModel], files: Sequence[Path], title: str) -> Image.Image:
    """Draw an image a row, each granularity of the first model, all together, and the others (figure 4 of MGRe)."""
    (_, first), *others = models.items()
    beside = {name: one.model for name, one in others}
    rows = draw_granularities(first.model, read(first, files), None, beside, None)
    lines = [Line("", list(row.values())) for row in rows]
    notes = [
        "Stages 1 to 3 in the regions that they locate, from fine to coarse: what makes their features long.",
        PER_PICTURE,
        made_by(models),
    ]
    return labelled_grid(lines, list(rows[0]), title, notes, LOOKS)


def rank_sheet(models: Mapping[str, FigureModel], data: str, title: str, count: int | None) -> Image.Image:
    """Draw queries with their nearest gallery images by each model, one above the other (figure 4 of MSReID).

    Args:
        models: name -> model.
        data: name of the test set.
        title: above them.
        count: queries; None = ``QUERIES``.
    """
    found = {
        name: rankings(one.cfg, one.model, data, QUERIES if count is None else count, TOPK)
        for name, one in models.items()
    }
    queries = [dict(zip(found, ranked, strict=True)) for ranked in zip(*found.values(), strict=True)]
    notes = [
        "Green and ticked: the query's person. Red and crossed: another one. Images of the person by the query's own"
        " camera are left out, as in the evaluation.",
        "The queries are evenly spread over the test set, not chosen.",
        made_by(models),
    ]
    return rank_grid(queries, title, notes)


def read(one: FigureModel, files: Sequence[Path]) -> Tensor:
    """Return images as a model's test sees them, (B, 3, H, W) on the 0-255 scale, on its device."""
    return Extractor.of_model(one.cfg, one.model).read(list(files))


def overlaid(images: Tensor, heats: Mapping[str, Tensor]) -> list[list[np.ndarray]]:
    """Return the images, enlarged, and for each heat (B, H, W) in [0, 1] the images under it."""
    pictures = [enlarge(pixels, HEIGHT) for pixels in pixels_of(images)]
    layers = []
    for heat in heats.values():
        large = [enlarge(one.float().cpu().numpy(), HEIGHT) for one in heat]
        layers.append([overlay(picture, one) for picture, one in zip(pictures, large, strict=True)])
    return [pictures, *layers]


def made_by(models: Mapping[str, FigureModel]) -> str:
    """Return what the models were made of, in words."""
    return "; ".join(f"{name}: {one.made}" for name, one in models.items())
