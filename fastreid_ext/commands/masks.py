"""The command ``masks``: the spatial masks of a trained model on images."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import (
    add_config_options,
    add_output_option,
    command_parser,
    merged_config,
    trained_model,
)


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "masks",
        help="draw a model's spatial masks on images (MSReID, Deep Miner)",
        description="Draw the spatial masks of a trained model on the images of a folder.",
        example="fastreid-ext masks --config-file demo/msreid.yml --images people --output logs/masks MODEL.WEIGHTS"
        " logs/demo/msreid/model_final.pth",
    )
    add_folder_options(parser)
    parser.set_defaults(run=run)


def add_folder_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``masks`` and ``cam`` share: the model, a folder of images, and where the pictures go."""
    add_config_options(parser)
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="folder of images")
    add_output_option(parser, "folder for one PNG per image and an overview")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="draw the first N images only")


def run(args: argparse.Namespace) -> None:
    """Draw the masks and print where they are."""
    from fastreid_ext.inference.extractor import Extractor
    from fastreid_ext.visual.drawing import draw_files, draw_masks
    from fastreid_ext.visual.image_sources import files_below

    cfg = merged_config(args.config_file, args.opts)
    files = files_below(args.images, args.limit, without=args.output)
    model = trained_model(cfg)
    images = Extractor.of_model(cfg, model)
    title = f"{cfg.MODEL.META_ARCHITECTURE}, {cfg.MODEL.WEIGHTS}"
    overview = draw_files(files, args.images, args.output, images, lambda batch: draw_masks(model, batch), title)
    print(f"{len(files)} pictures and {overview}")
