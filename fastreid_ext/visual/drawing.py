"""Pictures of what a trained model looks at: masks, Grad-CAM, granularities."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.files import write_picture
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.modeling.capabilities import HasGranularities, HasSpatialMasks, architectures_with
from fastreid_ext.visual.grad_cam import Score, feature_length, grad_cam, last_layer, similarity_to
from fastreid_ext.visual.granularity_cam import branch_lengths, granularity_cams
from fastreid_ext.visual.image_sources import batches
from fastreid_ext.visual.pictures import darken, enlarge, overlay, pixels_of, sheet

BATCH = 32
ON_SHEET = 12  # images of the overview
HEIGHT = 256  # pixels of a picture, at least: small maps beside each other are hard to read

Row = dict[str, np.ndarray]  # name of a column -> picture


def draw_masks(model: nn.Module, images: Tensor) -> list[Row]:
    """Return the model's masks of images (B, 3, H, W), each next to the masked image.

    Raises:
        ConfigError: a model without masks.
    """
    if not isinstance(model, HasSpatialMasks):
        names = ", ".join(architectures_with(HasSpatialMasks))
        raise ConfigError(
            f"{type(model).__name__} has no spatial masks; those that do: {names}; fastreid-ext cam draws any layer of"
            " any model"
        )
    with torch.no_grad():
        masks = model.spatial_masks(model.preprocess_image(images))
    columns: dict[str, list[np.ndarray]] = {"image": [enlarge(pixels, HEIGHT) for pixels in pixels_of(images)]}
    for name, mask in masks.items():
        large = F.interpolate(mask.float(), size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        heat = [enlarge(h, HEIGHT) for h in large.cpu().numpy()]
        columns[name] = [overlay(pixels, h) for pixels, h in zip(columns["image"], heat, strict=True)]
        columns[f"{name}, kept"] = [darken(pixels, h) for pixels, h in zip(columns["image"], heat, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def draw_cam(models: Mapping[str, nn.Module], images: Tensor, layer: str | None, query: Tensor | None) -> list[Row]:
    """Return Grad-CAM of a layer over images (B, 3, H, W), a column for each model (figure 6 of MSReID).

    Args:
        models: column -> model.
        images: on the 0-255 scale.
        layer: dotted name of a module; None is what gives the last map of each model's backbone.
        query: (1, 3, H, W) whose similarity is explained, drawn beside it; None explains the feature's length.
    """
    return _rows(images, _cams(models, images, layer, query), query)


def draw_granularities(
    model: nn.Module, images: Tensor, query: Tensor | None, others: Mapping[str, nn.Module], layer: str | None
) -> list[Row]:
    """Return the activation map of each granularity over images (B, 3, H, W), enlarged, and of all of them together.

    Explained is the similarity to the query, else what makes the feature of each granularity long; of another model,
    the same of its whole feature at a layer.

    Raises:
        ConfigError: a model without granularities.
    """
    if not isinstance(model, HasGranularities):
        names = ", ".join(architectures_with(HasGranularities))
        raise ConfigError(f"{type(model).__name__} has no granularities; those that do: {names}")
    heats = granularity_cams(model, images, _score(model, query), model.granularities())
    return _rows(images, heats | _cams(others, images, layer, query), query)


def _cams(
    models: Mapping[str, nn.Module], images: Tensor, layer: str | None, picture: Tensor | None
) -> dict[str, Tensor]:
    return {
        name: grad_cam(model, layer or last_layer(model), images, _score(model, picture))
        for name, model in models.items()
    }


def _rows(images: Tensor, heats: Mapping[str, Tensor], picture: Tensor | None) -> list[Row]:
    """Lay heats (B, H, W) over images, enlarged; with the query first, if there is one."""
    query = {} if picture is None else {"query": enlarge(pixels_of(picture)[0], HEIGHT)}
    rows = []
    for n, pixels in enumerate(enlarge(pixels, HEIGHT) for pixels in pixels_of(images)):
        maps = {name: enlarge(heat[n].cpu().numpy(), HEIGHT) for name, heat in heats.items()}
        rows.append(query | {"image": pixels} | {name: overlay(pixels, heat) for name, heat in maps.items()})
    return rows


def _score(model: nn.Module, picture: Tensor | None) -> Score:
    return _length(model) if picture is None else _similarity(model, picture)


def _length(model: nn.Module) -> Score:
    """Return the score to explain: the length of the feature, or of its parts before a model normalises them."""
    return branch_lengths(model.granularities()) if isinstance(model, HasGranularities) else feature_length


def _similarity(model: nn.Module, picture: Tensor) -> Score:
    with torch.no_grad():
        return similarity_to(model(picture.clone())[0])  # FastReID's models change their input in place


def draw_files(
    files: Sequence[Path], root: Path, output: Path, images: Extractor, draw: Callable[[Tensor], list[Row]], title: str
) -> Path:
    """Draw image files into a folder, one PNG each, and an overview, whose path is returned.

    Args:
        files: images below root.
        root: folder whose structure the pictures take over.
        output: folder of the pictures.
        images: reads the files.
        draw: images (B, 3, H, W) -> a row of pictures for each.
        title: of the overview.
    """
    rows, names = [], []
    for batch in batches(files, BATCH):
        for path, row in zip(batch, draw(images.read(batch)), strict=True):
            name = path.relative_to(root).as_posix()
            write_picture(output / f"{name}.png", sheet([row], name))
            if len(rows) < ON_SHEET:
                rows, names = [*rows, row], [*names, name]
    overview = output / "overview.png"
    write_picture(overview, sheet(rows, title, names))
    return overview
