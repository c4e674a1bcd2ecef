"""What ``reproduce`` does for the figures of a paper: its options for pictures, and the drawing."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid_ext.errors import ConfigError

if TYPE_CHECKING:
    from fastreid_ext.reproduce.comparison import Comparison
    from fastreid_ext.reproduce.paper_tables import PaperTables, Table


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """Add what the figures that are pictures take."""
    group = parser.add_argument_group("figures that are pictures of trained models")
    group.add_argument(
        "--model",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "CONFIG", "WEIGHTS"),
        help="a trained model, instead of training it; NAME as in the plan; may be given several times",
    )
    group.add_argument(
        "--images", type=Path, metavar="FOLDER", help="images to show (default: queries of the test set)"
    )
    group.add_argument("--count", type=int, metavar="N", help="how many images or queries, spread evenly")


def picture_options(args: argparse.Namespace) -> dict[str, bool]:
    """Return option -> whether it was given."""
    return {
        "--model": bool(args.model),
        "--images": args.images is not None,
        "--count": args.count is not None,
    }


def draw_if_picture(args: argparse.Namespace, tables: "PaperTables", output: Path) -> bool:
    """Draw what ``args.table`` names if it is a picture, and return whether it is one.

    Raises:
        ConfigError: options of pictures with a table, or of tables with a picture.
    """
    picture = tables.pictures.get(" ".join(args.table.lower().split()))
    if picture is None:
        if given := [option for option, value in picture_options(args).items() if value]:
            raise ConfigError(f"{given[0]} is for a picture, and {args.table} is none: leave it out")
        return False
    from fastreid_ext.reproduce.figures.pictures import Call, draw_picture, plan

    of_tables = {"--data": args.data, "--only": args.only, "--gpus": args.gpus, "--jobs": args.jobs != 1}
    if given := [option for option, value in of_tables.items() if value]:
        raise ConfigError(f"{given[0]} is for a table, and {args.table} is a picture: leave it out")
    names = [name for name, _, _ in args.model]
    if len(set(names)) < len(names):
        raise ConfigError(f"--model names one model twice: {', '.join(names)}")
    call = Call(
        size=args.size,
        seed=args.seeds[0],
        output=output,
        opts=args.opts,
        given={name: (config, weights) for name, config, weights in args.model},
        images=args.images,
        count=args.count,
        num_gpus=args.num_gpus,
    )
    print(plan(tables, picture, call), flush=True)
    if not args.dry_run:
        print(f"the picture is {draw_picture(tables, picture, call)}")
    return True


def draw_if_figure(
    args: argparse.Namespace, tables: "PaperTables", table: "Table", comparison: "Comparison", output: Path
) -> None:
    """Draw a table that is a figure."""
    if table.drawn:
        from fastreid_ext.reproduce.figures.drawn_tables import draw_table

        print(f"the figure is {draw_table(tables, table, comparison, args.seeds, output, args.opts)}")
