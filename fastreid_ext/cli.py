"""The ``fastreid-ext`` command."""

import argparse
import sys
from collections.abc import Sequence

from fastreid_ext.commands.doctor import add_parser as add_doctor_parser
from fastreid_ext.convert import add_convert_parser
from fastreid_ext.data.datasets.command import add_derive_occluded_duke_parser
from fastreid_ext.data.synthetic.command import add_synth_parser
from fastreid_ext.engine.repeat import add_repeat_parser
from fastreid_ext.engine.verify import add_verify_parser
from fastreid_ext.engine.weight_search import add_weight_search_parser
from fastreid_ext.pose.command import add_pose_parser
from fastreid_ext.search.extract_command import add_extract_parser
from fastreid_ext.search.search_command import add_search_parser
from fastreid_ext.search.shards_command import add_shards_parser
from fastreid_ext.visual.box_command import add_boxes_parser
from fastreid_ext.visual.command import add_visual_parsers

COMMANDS = (
    add_repeat_parser,
    add_visual_parsers,
    add_boxes_parser,
    add_convert_parser,
    add_synth_parser,
    add_derive_occluded_duke_parser,
    add_pose_parser,
    add_weight_search_parser,
    add_verify_parser,
    add_extract_parser,
    add_search_parser,
    add_shards_parser,
    add_doctor_parser,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fastreid-ext <command>``; see ``fastreid-ext --help``."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:  # the rest belongs to FastReID's parser, with its KEY VALUE pairs
        from fastreid_ext.engine.main import main as train

        train(argv[1:])
        return 0
    parser = argparse.ArgumentParser(prog="fastreid-ext", description="Tools around FastReID and fastreid-ext.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("train", help="train or evaluate; arguments as projects/*/train_net.py", add_help=False)
    for add_command in COMMANDS:
        add_command(commands)
    args = parser.parse_args(argv)
    return args.run(args) or 0
