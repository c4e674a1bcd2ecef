"""The commands ``masks`` and ``cam``: pictures of what a trained model looks at."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.data.transforms import build_transforms
from torch import Tensor, nn

from fastreid_ext.config import get_cfg
from fastreid_ext.data.images import ImageError, ReIDImages
from fastreid_ext.engine.checkpoint import CheckpointError
from fastreid_ext.engine.checks import ConfigError
from fastreid_ext.engine.main import config_file_of, load_trained
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.repeat import RepeatError, names_of
from fastreid_ext.modeling.located import architectures_with
from fastreid_ext.visual.grad_cam import Score, feature_length, grad_cam, similarity_to
from fastreid_ext.visual.granularity_cam import branch_lengths, granularity_cams
from fastreid_ext.visual.image_sources import batches, files_below
from fastreid_ext.visual.pictures import darken, enlarge, overlay, pixels_of, sheet

ON_SHEET = 12  # images of the overview
HEIGHT = 256  # pixels of a picture, at least: small maps beside each other are hard to read

Row = dict[str, np.ndarray]  # name of a column -> picture


def add_visual_parsers(commands: Any) -> None:
    """Add both commands to an argparse ``subparsers``."""
    masks = commands.add_parser(
        "masks",
        help="draw a model's spatial masks on images (MSReID, Deep Miner)",
        description="Draw the spatial masks of a trained model on the images of a folder.",
    )
    masks.set_defaults(run=lambda args: _run(args, draw_masks))
    cam = commands.add_parser(
        "cam",
        help="draw Grad-CAM of any layer of any model on images",
        description="Draw Grad-CAM of a layer: by default where it makes the test feature long, with --query where it"
        " makes an image look like that one.",
    )
    cam.add_argument("--layer", default="backbone.layer4", help="dotted name of a module (default: %(default)s)")
    cam.add_argument("--query", type=Path, help="explain the similarity to this image")
    cam.add_argument(
        "--granularities",
        action="store_true",
        help="draw each granularity of the model, its regions where they were located, and all together (MGRe,"
        " figure 4)",
    )
    cam.add_argument(
        "--beside",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "WEIGHTS"),
        help="draw --layer of this model too, a baseline for example; may be given several times",
    )
    cam.set_defaults(run=lambda args: _run(args, draw_granularities if args.granularities else draw_cam))
    for parser in (masks, cam):
        parser.add_argument("--config-file", required=True, help="a file, or the name of a shipped config")
        parser.add_argument("--images", type=Path, required=True, help="folder of images")
        parser.add_argument("--output", type=Path, required=True, help="folder for one PNG an image and an overview")
        parser.add_argument("--limit", type=int, default=0, help="draw the first so many images only")
        parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys; MODEL.WEIGHTS is one")
        parser.set_defaults(others={}, **({} if parser is cam else {"beside": []}))


def draw_masks(model: nn.Module, images: Tensor, args: argparse.Namespace, read: Callable[[Path], Tensor]) -> list[Row]:
    """Return the masks that the model puts on images (B, 3, H, W), each beside what it leaves of the image."""
    if not hasattr(model, "spatial_masks"):
        raise ConfigError(f"{type(model).__name__} has no spatial masks; fastreid-ext cam draws any layer of it")
    with torch.no_grad():
        masks = model.spatial_masks(model.preprocess_image(images))
    columns: dict[str, list[np.ndarray]] = {"image": [enlarge(pixels, HEIGHT) for pixels in pixels_of(images)]}
    for name, mask in masks.items():
        large = F.interpolate(mask.float(), size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        heat = [enlarge(h, HEIGHT) for h in large.cpu().numpy()]
        columns[name] = [overlay(pixels, h) for pixels, h in zip(columns["image"], heat, strict=True)]
        columns[f"{name}, kept"] = [darken(pixels, h) for pixels, h in zip(columns["image"], heat, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def draw_cam(model: nn.Module, images: Tensor, args: argparse.Namespace, read: Callable[[Path], Tensor]) -> list[Row]:
    """Return Grad-CAM of --layer over images (B, 3, H, W), with the query beside it if there is one.

    With models --beside a column for each of them (figure 6 of MSReID).
    """
    picture = None if args.query is None else read(args.query)[None].to(images.device)
    models = {args.layer: model}
    if args.others:
        models = {f"{args.name}, {args.layer}": model} | _named(args)
    return _rows(images, _cams(models, images, args.layer, picture), picture)


def draw_granularities(
    model: nn.Module, images: Tensor, args: argparse.Namespace, read: Callable[[Path], Tensor]
) -> list[Row]:
    """Return the activation map of each granularity over images (B, 3, H, W), enlarged, and of all of them together.

    Explained is the similarity to --query, else what makes the feature of each granularity long; of a model --beside,
    the same of its whole feature.
    """
    if not hasattr(model, "granularities"):
        others = ", ".join(architectures_with("granularities"))
        raise ConfigError(f"{type(model).__name__} has no granularities; those that do: {others}")
    picture = None if args.query is None else read(args.query)[None].to(images.device)
    heats = granularity_cams(model, images, _score(model, picture), model.granularities())
    return _rows(images, heats | _cams(_named(args), images, args.layer, picture), picture)


def _named(args: argparse.Namespace) -> dict[str, nn.Module]:
    """Return column -> model that is drawn beside the first one; they are loaded once for all batches."""
    return {f"{name}, {args.layer}": other for name, other in args.others.items()}


def _cams(models: Mapping[str, nn.Module], images: Tensor, layer: str, picture: Tensor | None) -> dict[str, Tensor]:
    return {name: grad_cam(model, layer, images, _score(model, picture)) for name, model in models.items()}


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
    """Return what makes the test feature long; of a model that brings parts of it to a length, those before that."""
    return branch_lengths(model.granularities()) if hasattr(model, "granularities") else feature_length


def _similarity(model: nn.Module, picture: Tensor) -> Score:
    with torch.no_grad():
        return similarity_to(model(picture.clone())[0])  # FastReID's models write into what they are given


def _model_beside(config: str, weights: str, device: str) -> nn.Module:
    cfg = get_cfg()
    merge_config(cfg, config_file_of(config), ["MODEL.WEIGHTS", weights, "MODEL.DEVICE", device])
    return load_trained(cfg).eval()


def _short_names(models: Sequence[tuple[str, str]]) -> list[str]:
    """Name models by their configs, or by their weights where a config is there twice.

    Raises:
        ConfigError: one model twice.
    """
    configs, weights = zip(*models, strict=True)
    try:
        return list(names_of(configs if len(set(configs)) == len(configs) else weights))
    except RepeatError as error:
        raise ConfigError(f"one model is drawn twice: {' '.join(weights)}") from error


def _run(args: argparse.Namespace, draw: Callable[..., list[Row]]) -> int:
    try:
        cfg = get_cfg()
        merge_config(cfg, config_file_of(args.config_file), args.opts)
        files = files_below(args.images, args.limit, without=args.output)
        model = load_trained(cfg).eval()
        if labels := getattr(model, "test_labels", ()):
            raise ConfigError(f"the images come without the {', '.join(labels)} that this model's test reads")
        if args.beside:
            args.name, *names = _short_names([(args.config_file, cfg.MODEL.WEIGHTS), *map(tuple, args.beside)])
            others = (_model_beside(*beside, cfg.MODEL.DEVICE) for beside in args.beside)
            args.others = dict(zip(names, others, strict=True))
        transform = build_transforms(cfg, is_train=False)
        args.output.mkdir(parents=True, exist_ok=True)
        rows = []
        for batch in batches(files, 32):
            data = ReIDImages([(str(path), 0, 0) for path in batch], transform, relabel=False)
            images = torch.stack([torch.as_tensor(data[i]["images"]).float() for i in range(len(batch))])
            read = lambda path: ReIDImages([(str(path), 0, 0)], transform, relabel=False)[0]["images"].float()  # noqa: E731
            for path, row in zip(batch, draw(model, images.to(cfg.MODEL.DEVICE), args, read), strict=True):
                title = path.relative_to(args.images).as_posix()
                target = args.output / f"{title}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                sheet([row], title).save(target)
                rows += [row] if len(rows) < ON_SHEET else []
        overview = args.output / "overview.png"
        sheet(rows, f"{cfg.MODEL.META_ARCHITECTURE}, {cfg.MODEL.WEIGHTS}").save(overview)
    except (CheckpointError, ConfigError, ImageError, OSError, ValueError) as error:
        print(f"fastreid-ext {args.command}: {error}", file=sys.stderr)
        return 1
    print(f"{len(files)} pictures and {overview}")
    return 0
