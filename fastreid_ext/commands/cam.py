"""The command ``cam``: Grad-CAM of any layer of trained models on images."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext.commands.common import command_parser, merged_config, trained_model
from fastreid_ext.commands.masks import add_folder_options
from fastreid_ext.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "cam",
        help="draw Grad-CAM of any layer of any model on images",
        description="Draw Grad-CAM of a layer: by default where it makes the test feature long, with --query where it"
        " makes an image look like that one.",
        example="fastreid-ext cam --config-file demo/deepminer.yml --images people --output logs/cam MODEL.WEIGHTS"
        " logs/demo/deepminer/model_best.pth",
    )
    add_folder_options(parser)
    parser.add_argument(
        "--layer",
        metavar="MODULE",
        help="dotted name of a module (default: what gives the last map, such as backbone.layer4 of a ResNet)",
    )
    parser.add_argument("--query", type=Path, metavar="FILE", help="explain the similarity to this image")
    parser.add_argument(
        "--granularities",
        action="store_true",
        help="draw each granularity of the model, its regions where they were located, and all together (MGRe,"
        " figure 4)",
    )
    parser.add_argument(
        "--beside",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "WEIGHTS"),
        help="also draw --layer of this model, for example a baseline; may be given several times",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draw the maps and print where they are."""
    from fastreid_ext.inference.extractor import Extractor
    from fastreid_ext.visual.drawing import draw_cam, draw_files, draw_granularities
    from fastreid_ext.visual.grad_cam import last_layer
    from fastreid_ext.visual.image_sources import files_below

    cfg = merged_config(args.config_file, args.opts)
    files = files_below(args.images, args.limit, without=args.output)
    model = trained_model(cfg)
    images = Extractor.of_model(cfg, model)
    query = None if args.query is None else images.read([args.query])
    layer_of = lambda each: last_layer(each) if args.layer is None else args.layer  # noqa: E731
    models = {layer_of(model): model}
    if args.beside:
        names = short_names([(args.config_file, cfg.MODEL.WEIGHTS), *map(tuple, args.beside)])
        loaded = [model, *(model_beside(*beside, cfg.MODEL.DEVICE) for beside in args.beside)]
        models = {f"{name}, {layer_of(each)}": each for name, each in zip(names, loaded, strict=True)}
    if args.granularities:
        others = {name: other for name, other in models.items() if other is not model}
        draw = lambda batch: draw_granularities(model, batch, query, others, args.layer)  # noqa: E731
    else:
        draw = lambda batch: draw_cam(models, batch, args.layer, query)  # noqa: E731
    title = f"{cfg.MODEL.META_ARCHITECTURE}, {cfg.MODEL.WEIGHTS}"
    overview = draw_files(files, args.images, args.output, images, draw, title)
    print(f"{len(files)} pictures and {overview}")


def model_beside(config: str, weights: str, device: str) -> "nn.Module":
    """Return another trained model on the same device."""
    return trained_model(merged_config(config, ["MODEL.WEIGHTS", weights, "MODEL.DEVICE", device]))


def short_names(models: Sequence[tuple[str, str]]) -> list[str]:
    """Name models by their configs, or by their weights if a config occurs twice.

    Raises:
        ConfigError: a model is given twice.
    """
    from fastreid_ext.engine.repeat import RepeatError, names_of

    configs, weights = zip(*models, strict=True)
    try:
        return list(names_of(configs if len(set(configs)) == len(configs) else weights))
    except RepeatError as error:
        raise ConfigError(f"one model is drawn twice: {' '.join(weights)}") from error
