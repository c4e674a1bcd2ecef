"""What a run's model looks at in its hardest queries: Grad-CAM, and masks and located regions where it has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.errors import UserError, first_line
from fastreid_ext.image_files import is_image
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.modeling.capabilities import HasSpatialMasks, LocatesRegions
from fastreid_ext.report.run_files import CONFIG, Run
from fastreid_ext.report.thumbnails import jpeg_uri
from fastreid_ext.visual.box_sheet import colours_of, draw_boxes
from fastreid_ext.visual.drawing import Row, draw_cam, draw_masks
from fastreid_ext.visual.grad_cam import last_layer
from fastreid_ext.visual.pictures import enlarge, pixels_of

WEIGHTS = ("model_best.pth", "model_final.pth", "model_latest.pth")  # in order of preference
HEIGHT = 224


@dataclass(frozen=True)
class ModelPictures:
    """Pictures of one kind.

    Attributes:
        kind: what is drawn.
        caption: how to read it.
        rows: of each image, its name and (name of a picture, data URI).
        legend: (region, colour as #rrggbb) of frames; () = none.
    """

    kind: str
    caption: str
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    legend: Sequence[tuple[str, str]] = ()


def draw_model_pictures(run: Run, count: int) -> tuple[list[ModelPictures], list[str]]:
    """Draw the hardest queries of a run's first test set by its own model.

    Args:
        run: its folder holds config.yaml and weights.
        count: images, at most.

    Returns:
        The pictures, and sentences on what could not be drawn.
    """
    weights = next((run.folder / name for name in WEIGHTS if (run.folder / name).is_file()), None)
    hardest = next((details["hardest"] for details in run.details.values() if details["hardest"]), [])
    files = [Path(one["path"]) for one in hardest if is_image(Path(one["path"])) and Path(one["path"]).is_file()]
    if weights is None or not (run.folder / CONFIG).is_file() or not files:
        lacks = "images of its hardest queries" if weights and (run.folder / CONFIG).is_file() else "weights and config"
        return [], [f"What the model looks at is not drawn: the folder has no {lacks}."]
    try:
        cfg = get_cfg()
        device = ["MODEL.DEVICE", cfg.MODEL.DEVICE]  # of this machine, whatever the run had
        merge_config(cfg, str(run.folder / CONFIG), [*device, "MODEL.WEIGHTS", str(weights)])
        model = load_trained(cfg).eval()
        images = Extractor.of_model(cfg, model).read(files[:count])
    except UserError as error:
        return [], [f"What the model looks at is not drawn: {first_line(error)}."]
    names = [file.name for file in files[:count]]
    drawn, notes = [], []

    def add(kind: str, caption: str, draw: Callable[[], list[Row]], legend: Sequence[tuple[str, str]] = ()) -> None:
        try:
            rows = [[(name, _uri(picture)) for name, picture in row.items()] for row in draw()]
        except UserError as error:
            notes.append(f"{kind} is not drawn: {first_line(error)}.")
            return
        drawn.append(ModelPictures(kind, caption, list(zip(names, rows, strict=True)), legend))

    layer = last_layer(model)
    text = f"Where the layer {layer} makes the test feature long, from blue (not at all) to red."
    add("Grad-CAM", text, lambda: draw_cam({layer: model}, images, layer, None))
    if isinstance(model, HasSpatialMasks):
        text = "The masks that the model puts on its maps, red where they keep the image, and what they leave of it."
        add("Masks", text, lambda: draw_masks(model, images))
    if isinstance(model, LocatesRegions):
        with torch.no_grad():
            regions = model.locate_regions(model.preprocess_image(images.clone()))
        colours = colours_of(list(regions))
        legend = [(name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in colours.items()]

        def frames() -> list[Row]:
            rows = []
            for n, pixels in enumerate(enlarge(one, HEIGHT) for one in pixels_of(images)):
                boxes = {name: found.predicted[n].tolist() for name, found in regions.items()}
                rows.append({"image": pixels, "regions": draw_boxes(pixels, boxes, colours)})
            return rows

        add("Regions", "The regions of the body that the model locates.", frames, legend)
    return drawn, notes


def _uri(picture: np.ndarray) -> str:
    return jpeg_uri(Image.fromarray(picture), HEIGHT, HEIGHT)
