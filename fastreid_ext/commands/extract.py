"""The command ``extract``: features of a folder, a list or a data set, on disk."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext.commands.common import (
    add_config_options,
    add_output_option,
    command_parser,
    merged_config,
    print_skipped,
    trained_model,
)
from fastreid_ext.commands.ranks import add_rank_options, run_in_ranks
from fastreid_ext.errors import ConfigError

if TYPE_CHECKING:
    from fastreid_ext.search.image_list import ImageList


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "extract",
        help="write the features of a folder, a list or a data set to disk",
        description="Write the test features of images into a folder: features.npy, images.csv and meta.json. Call it"
        " again after an interruption: it continues. Several processes, torchrun's too, share the images.",
        example="fastreid-ext extract --config-file demo/deepminer.yml --images people --output features/people"
        " MODEL.WEIGHTS logs/demo/deepminer/model_best.pth",
    )
    add_config_options(parser)
    add_output_option(parser, "folder of the feature store")
    group = parser.add_argument_group("images, one of")
    images = group.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", type=Path, metavar="FOLDER", help="folder of images, with its subfolders")
    images.add_argument(
        "--list", type=Path, metavar="FILE", help="text file with one path per line, or CSV with path[,person,camera]"
    )
    images.add_argument("--dataset", metavar="NAME", help="a registered data set")
    group.add_argument("--split", choices=("query", "gallery", "train"), help="split of --dataset")
    store = parser.add_argument_group("feature store")
    store.add_argument("--half", action="store_true", help="float16: half the disk space, three decimal digits")
    store.add_argument(
        "--skip-unreadable", action="store_true", help="leave unreadable images out and list them in meta.json"
    )
    store.add_argument(
        "--save-every",
        type=int,
        default=512,
        metavar="N",
        help="save progress after this many images (default: %(default)s)",
    )
    add_rank_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Extract the features, in as many processes as asked for, and print how many there are."""
    run_in_ranks(args, in_one_process, "with the same command")


def in_one_process(args: argparse.Namespace) -> None:
    """Extract this process's features; the main one prints how many there are."""
    from fastreid_ext.search.extract import extract
    from fastreid_ext.search.features import META

    cfg = merged_config(args.config_file, args.opts)
    if args.save_every < 1:
        raise ConfigError(f"--save-every is {args.save_every} and must be 1 or more")
    images = images_of(args)
    store, earlier = extract(
        cfg, trained_model(cfg), images, args.output, args.half, args.skip_unreadable, args.save_every
    )
    if store is None:
        return
    skipped = store.meta["skipped"]
    print_skipped(skipped)
    done = f", {earlier} of them by an earlier run" if earlier else ""
    left_out = f"; {len(skipped)} unreadable images are left out and listed in {META}" if skipped else ""
    print(
        f"{len(store)} features of length {store.meta['dim']} ({store.meta['dtype']}) of {store.meta['source']} in"
        f" {args.output}{done}{left_out}"
    )


def images_of(args: argparse.Namespace) -> "ImageList":
    """List the images that the options name.

    Raises:
        ConfigError, DataSetError: there are none, or --split is missing or has no meaning here.
    """
    from fastreid_ext.search.image_list import images_of_dataset, images_of_folder, images_of_list

    if (args.dataset is None) != (args.split is None):
        raise ConfigError("--dataset and --split go together: --dataset Market1501 --split gallery")
    if args.dataset is not None:
        return images_of_dataset(args.dataset, args.split)
    return images_of_folder(args.images) if args.images is not None else images_of_list(args.list)
