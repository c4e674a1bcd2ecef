"""The command ``reproduce``: what the project publishes, and the tables of the papers, made again."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import PAPERS, command_parser
from fastreid_ext.commands.figures import add_picture_options, draw_if_figure, draw_if_picture, picture_options
from fastreid_ext.errors import ConfigError

ZOO = "zoo"
SIZES = ("paper", "synthreid")


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "reproduce",
        help="train a table or figure of a paper and set it beside the paper's; or the shipped model again",
        description="Train the rows of a paper's table, and write them beside the paper's figures as Markdown, JSON and"
        " HTML, and draw it if it is a figure; without a table, list what there is. Or make the model that the package"
        " ships again. Call it again after an interruption: finished runs are kept, an unfinished one is resumed.",
        example='fastreid-ext reproduce DeepMiner "table 2" --data Market1501 --seeds 0 1 2',
    )
    parser.add_argument("subject", choices=(ZOO, *PAPERS), help="a paper, or zoo: the model of fastreid_ext/zoo")
    parser.add_argument("table", nargs="?", metavar="TABLE", help='of the paper, such as "table 2" or "figure 7"')
    parser.add_argument("--data", nargs="+", default=[], metavar="SET", help="of the paper's data sets (default: all)")
    parser.add_argument(
        "--size", choices=SIZES, default=SIZES[0], help="synthreid: the same rows on SynthReID, in a CPU size"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows of the table (default: all)")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="of runs and results (default: logs/reproduce/SUBJECT)"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="one run for each (default: 0 1 2)"
    )
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="processes of each run (default: 1)")
    parser.add_argument(
        "--gpus",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="numbers of GPUs for runs side by side, --num-gpus for each run (default: one run after another)",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs side by side on one device (default: 1)")
    add_picture_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and what is missing")
    parser.add_argument(
        "--no-estimate", action="store_true", help="do not time steps of each run for an estimate of hours and memory"
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config keys of every run; last"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the plan, and carry it out."""
    output = args.output or Path("logs/reproduce") / args.subject
    if args.subject == ZOO:
        of_papers = {"a table": args.table, "--data": args.data, "--only": args.only, "--size": args.size != SIZES[0]}
        of_papers |= picture_options(args)
        if given := [option for option, value in of_papers.items() if value]:
            raise ConfigError(f"{given[0]} is for a paper, and zoo is the shipped model: leave it out")
        zoo(args, output)
    else:
        paper(args, output)


def zoo(args: argparse.Namespace, output: Path) -> None:
    """Make the shipped model."""
    from fastreid_ext.reproduce.zoo import MODEL, plan, reproduce_zoo

    if args.num_gpus != 1 or args.gpus or args.jobs != 1:
        raise ConfigError("--num-gpus, --gpus and --jobs are for a paper: the shipped model is trained by one process")
    print(plan(MODEL, args.seeds, output, args.opts))
    if not args.dry_run:
        print(f"\n{reproduce_zoo(MODEL, args.seeds, output, args.opts)}")
        print(f"weights, card and numbers are in {output}")


def paper(args: argparse.Namespace, output: Path) -> None:
    """Make a table, or list the tables of a paper."""
    from fastreid_ext.reproduce.paper import ReproduceError, estimate, plan, reproduce_table
    from fastreid_ext.reproduce.paper_tables import tables_of
    from fastreid_ext.reproduce.side_by_side import places_of
    from fastreid_ext.reproduce.table_runs import rows_of, table_named

    tables = tables_of(args.subject)
    if args.table is None:
        print("\n".join(f"{table.name}: {table.what}; {len(table.rows)} rows" for table in tables.tables.values()))
        print("\n".join(f"{picture.name}: {picture.what}; a picture" for picture in tables.pictures.values()))
        return
    if draw_if_picture(args, tables, output):
        return
    table = table_named(tables, args.table)
    rows = rows_of(tables, table, args.data, args.size, args.only)
    places = places_of(args.gpus, args.jobs, args.num_gpus)
    say = partial(print, flush=True)
    say(plan(tables, table, rows, args.seeds, output, args.opts))
    if not args.no_estimate:
        for line in estimate(rows, args.seeds, output, args.opts, places, args.num_gpus, render=not args.dry_run):
            say(line)
    if args.dry_run:
        return
    comparison = reproduce_table(tables, table, rows, args.seeds, output, args.opts, args.num_gpus, places, say)
    print(f"\n{comparison.markdown()}\nthe same as a page and as numbers, and all runs, are in {output}")
    draw_if_figure(args, tables, table, comparison, output)
    if comparison.lacks:
        several = len(comparison.lacks) > 1
        runs = f"{len(comparison.lacks)} runs have" if several else "1 run has"
        raise ReproduceError(f"{runs} no results, see above: run this command again")
