"""Regions of the body that a model locates, compared with those of the joints: pictures and measurements."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms
from torch import Tensor, nn

from fastreid_ext.engine.devices import device_of
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.box_overlap import Overlap, box_iou, overlap_record, overlap_table, overlaps
from fastreid_ext.files import write_picture, write_text
from fastreid_ext.inference.input_loader import read_inputs
from fastreid_ext.modeling.capabilities import LocatesRegions, architectures_with
from fastreid_ext.modeling.regions import RegionBoxes
from fastreid_ext.visual.box_sheet import BoxPicture, box_sheet
from fastreid_ext.visual.image_sources import JointImages, batches, spread
from fastreid_ext.visual.pictures import pixels_of

BATCH = 64
PREDICTED, PSEUDO, PRIOR = "predicted", "from joints", "untrained"


def check_locates(model: nn.Module) -> None:
    """Check that a model locates regions.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(model, LocatesRegions):
        raise ConfigError(
            f"{type(model).__name__} locates no regions, so it has no boxes; those that do:"
            f" {', '.join(architectures_with(LocatesRegions))}"
        )


def measure_boxes(
    model: nn.Module, cfg: CfgNode, images: JointImages, output: Path, on_sheet: int, with_prior: bool
) -> str:
    """Locate the regions in all images, write sheet and tables and return the report.

    Raises:
        ImageError: an image that can't be read.
        ConfigError: a model without regions, or joints that are not those of its regions.
    """
    shown = set(spread(len(images.paths), max(1, on_sheet)))
    pictures, pieces, start = [], [], 0
    for pixels, regions in boxes_of_images(model, cfg, images):
        pieces.append(regions)
        for n in range(len(pixels)):
            if start + n in shown:
                path = Path(images.paths[start + n])
                pictures.append(_picture(pixels_of(pixels[n : n + 1])[0], path.name, regions, n, with_prior))
        start += len(pixels)
    rows = overlaps({name: _joined([piece[name] for piece in pieces]) for name in pieces[0]})
    table = _with_notes(rows, images)
    write_text(output / "boxes.md", table + "\n")
    about = {"weights": cfg.MODEL.WEIGHTS, "images": len(images.paths), "joints": images.source or None}
    write_text(output / "boxes.json", overlap_record(rows, **about))
    notes = [
        f"{PREDICTED}: the model; {PSEUDO}: around the visible joints, the aim of training; a region without frame"
        " there is not known",
        "left and right are the person's own; frames are cut at the image's edge, IoU (shared area / joint area) is of"
        " whole boxes",
    ]
    sheet = box_sheet(pictures, f"{type(model).__name__}, {cfg.MODEL.WEIGHTS}", notes)
    write_picture(output / "boxes.png", sheet)
    return f"{table}\n{len(pictures)} of {len(images.paths)} images drawn: {output / 'boxes.png'}"


@torch.no_grad()
def boxes_of_images(
    model: nn.Module, cfg: CfgNode, images: JointImages
) -> Iterator[tuple[Tensor, dict[str, RegionBoxes]]]:
    """Yield batches of images (B, 3, H, W) on the 0-255 scale, as the test transforms make them, and the boxes in them.

    Joints follow the transforms; everything is on the CPU.
    """
    transform = build_transforms(cfg, is_train=False)
    for numbers in batches(range(len(images.paths)), BATCH):
        joints = None if images.joints is None else images.joints[numbers]
        pixels, joints = read_inputs([images.paths[n] for n in numbers], transform, device_of(cfg), joints)
        regions = model.locate_regions(model.preprocess_image(pixels), joints)
        yield pixels.cpu(), {name: _on_cpu(boxes) for name, boxes in regions.items()}


def _on_cpu(boxes: RegionBoxes) -> RegionBoxes:
    tensors = (boxes.predicted, boxes.prior, boxes.pseudo, boxes.known)
    return RegionBoxes(*(None if tensor is None else tensor.cpu() for tensor in tensors))


def _joined(pieces: list[RegionBoxes]) -> RegionBoxes:
    """Concatenate the batches of one region."""
    predicted = torch.cat([piece.predicted for piece in pieces])
    if pieces[0].pseudo is None:
        return RegionBoxes(predicted, pieces[0].prior)
    pseudo, known = (torch.cat([getattr(piece, name) for piece in pieces]) for name in ("pseudo", "known"))
    return RegionBoxes(predicted, pieces[0].prior, pseudo, known)


def _picture(pixels: Any, name: str, regions: dict[str, RegionBoxes], n: int, with_prior: bool) -> BoxPicture:
    columns: dict[str, dict[str, list[float]] | None] = {
        PREDICTED: {region: boxes.predicted[n].tolist() for region, boxes in regions.items()}
    }
    known = {region: boxes for region, boxes in regions.items() if boxes.known is not None and boxes.known[n]}
    columns[PSEUDO] = {region: boxes.pseudo[n].tolist() for region, boxes in known.items()} or None
    if with_prior:
        columns[PRIOR] = {region: boxes.prior.tolist() for region, boxes in regions.items()}
    ious = [box_iou(boxes.predicted[n], boxes.pseudo[n]).item() for boxes in known.values()]
    mean = f", mean IoU {sum(ious) / len(ious):.2f}" if ious else ""
    return BoxPicture(pixels, f"{name}{mean}", columns)


def _with_notes(rows: list[Overlap], images: JointImages) -> str:
    """Return the table and notes on it."""
    lines = [overlap_table(rows), ""]
    if images.joints is None:
        lines.append("IoU is unknown: there are no joints of these images; name a pose file with --poses")
    else:
        lines.append(f"IoU with the boxes around the visible joints of {images.source}; mean over the known ones")
    if images.missing:
        lines.append(f"{images.missing} of {len(images.paths)} images have no row of joints and count as unknown")
    return "\n".join(lines)
