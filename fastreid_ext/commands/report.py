"""The command ``report``: one HTML file on one run or several."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import command_parser
from fastreid_ext.errors import ConfigError

QUERIES, PICTURES = 20, 6


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "report",
        help="write one HTML file on runs: curves, metrics over seeds, hardest queries, cost",
        description="Write a report on one run or several beside each other as one HTML file that needs no network:"
        " losses, metrics over seeds, CMC and ROC, groups of queries, the hardest queries with their rank lists, what"
        " the model looks at, cost, config differences and environment. Needs the extra report.",
        example="fastreid-ext report logs/demo/tiny logs/demo/baseline --output report.html",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="OUTPUT_DIR of a run")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.html", help="the file to write")
    parser.add_argument("--title", default="", metavar="TEXT", help="title of the page")
    parser.add_argument(
        "--queries",
        type=int,
        default=QUERIES,
        metavar="N",
        help="hardest queries of each run and test set, up to the 50 that are recorded (default: %(default)s)",
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=PICTURES,
        metavar="N",
        help="hardest queries that each run's model draws Grad-CAM, masks and regions of; 0 loads no model (default:"
        " %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the report and print where it is."""
    if args.output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--output is {args.output} and must be named like an HTML file: report.html")
    from fastreid_ext.report.page import write_report

    print(write_report(args.runs, args.output, args.title, args.queries, args.pictures))
