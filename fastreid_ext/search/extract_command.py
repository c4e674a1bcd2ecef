"""The command ``extract``: features of a folder, a list or a data set, on disk."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks import ConfigError
from fastreid_ext.engine.main import MISTAKES, config_file_of, load_trained
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.search.extract import extract
from fastreid_ext.search.features import META, StoreError
from fastreid_ext.search.image_list import ImageList, images_of_dataset, images_of_folder, images_of_list


def add_extract_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = commands.add_parser(
        "extract",
        help="write the features of a folder, a list or a data set to disk",
        description="Write the test features of images into a folder: features.npy, images.csv and meta.json. Killed"
        " and given again, it goes on where it was.",
    )
    parser.add_argument("--config-file", required=True, help="a file, or the name of a shipped config")
    parser.add_argument("--output", type=Path, required=True, help="folder of the feature store")
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", type=Path, help="folder of images, with the folders in it")
    images.add_argument("--list", type=Path, help="text file with a path a line, or CSV with path[,person,camera]")
    images.add_argument("--dataset", help="a registered data set")
    parser.add_argument("--part", choices=("query", "gallery", "train"), help="of --dataset")
    parser.add_argument("--half", action="store_true", help="float16: half the disk, three decimal digits")
    parser.add_argument(
        "--skip-unreadable", action="store_true", help=f"leave unreadable images out and list them in {META}"
    )
    parser.add_argument(
        "--save-every", type=int, default=512, help="images after which progress is saved (default: %(default)s)"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys; MODEL.WEIGHTS is one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the command out and return its exit status."""
    try:
        cfg = get_cfg()
        merge_config(cfg, config_file_of(args.config_file), args.opts)
        if args.save_every < 1:
            raise ConfigError(f"--save-every is {args.save_every} and must be 1 or more")
        images = images_of(args)
        model = load_trained(cfg).eval()
        store, earlier = extract(cfg, model, images, args.output, args.half, args.skip_unreadable, args.save_every)
    except (*MISTAKES, StoreError, OSError, ValueError) as error:
        print(f"fastreid-ext {args.command}: {error}", file=sys.stderr)
        return 1
    skipped = store.meta["skipped"]
    for entry in skipped[:10]:
        print(f"skipped: {entry['reason']}", file=sys.stderr)
    done = f", {earlier} of them by an earlier run" if earlier else ""
    left_out = f"; {len(skipped)} unreadable images are left out and listed in {META}" if skipped else ""
    print(
        f"{len(store)} features of length {store.meta['dim']} ({store.meta['dtype']}) of {store.meta['source']} in"
        f" {args.output}{done}{left_out}"
    )
    return 0


def images_of(args: argparse.Namespace) -> ImageList:
    """List the images that the options name.

    Raises:
        ConfigError, DataSetError: there are none, or --part is where it has no meaning, or missing.
    """
    if (args.dataset is None) != (args.part is None):
        raise ConfigError("--dataset and --part go together: --dataset Market1501 --part gallery")
    if args.dataset is not None:
        return images_of_dataset(args.dataset, args.part)
    return images_of_folder(args.images) if args.images is not None else images_of_list(args.list)
