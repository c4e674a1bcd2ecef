"""The command ``export``: a trained model in a file for other programs, compared with the model."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext.commands.common import FAILED, add_config_options, command_parser, merged_config, trained_model
from fastreid_ext.export.options import IMAGES, OPSET, PIXELS, QUANTISED, SUFFIXES, Options, check_options

if TYPE_CHECKING:
    from fastreid_ext.export.latency import Latency


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "export",
        help="write a trained model as ONNX, torch.export, OpenVINO or weights, and compare the file with it",
        description="Write a trained model into a file that takes images and gives test features, for batches of any"
        " size. The file is read again and compared with the model on images of the test set; if a feature is further"
        " away than the tolerance, the command fails. What the pixels must be stands in the file and in FILE.json.",
        example="fastreid-ext export --config-file demo/deepminer.yml --format onnx --output deepminer.onnx"
        " MODEL.WEIGHTS logs/demo/deepminer/model_best.pth",
    )
    add_config_options(parser)
    parser.add_argument("--format", required=True, choices=tuple(SUFFIXES), help="of the file")
    ends = ", ".join(SUFFIXES.values())
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=f"the file; it ends with {ends}")
    graph = parser.add_argument_group("graph")
    graph.add_argument(
        "--input",
        choices=PIXELS,
        help="pixels of the images, RGB: raw, from 0 to 255; imagenet, (raw - mean) / std (default: raw)",
    )
    graph.add_argument("--normalise", action="store_true", help="divide features by their length")
    graph.add_argument("--half", action="store_true", help="weights and features in float16: half the size")
    graph.add_argument(
        "--quantise",
        choices=QUANTISED,
        default="",
        help="whole numbers of 8 bits, calibrated on training images (ONNX)",
    )
    graph.add_argument("--opset", type=int, metavar="N", help=f"version of ONNX's operators (default: {OPSET})")
    check = parser.add_argument_group("comparison with the model")
    check.add_argument(
        "--images", type=int, default=IMAGES, metavar="N", help="of the first test set (default: %(default)s)"
    )
    check.add_argument(
        "--tolerance",
        type=float,
        metavar="SHARE",
        help="largest distance of a feature from the model's own, as a share of its length (default: 0.001, with --half"
        " 0.3, with --quantise 0.5)",
    )
    check.add_argument("--latency", action="store_true", help="time both on this machine, for 1 and 32 images")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, print how far the file is from the model, and return 1 if that is too far."""
    options = Options(
        format=args.format,
        output=args.output,
        pixels=args.input,
        normalised=args.normalise,
        half=args.half,
        opset=args.opset,
        quantise=args.quantise,
        images=args.images,
        tolerance=args.tolerance,
        latency=args.latency,
    )
    check_options(options)
    from fastreid_ext.engine.checks.listing import raise_together
    from fastreid_ext.engine.checks.machine import unknown_device
    from fastreid_ext.export.exporting import check_installed, export

    check_installed(options)
    cfg = merged_config(args.config_file, args.opts)
    raise_together(unknown_device(cfg))  # a run's own may be a GPU that this machine lacks
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"  # where the graph is traced and the file run
    exported = export(cfg, trained_model(cfg), options)
    parity = exported.parity
    print(parity.table())
    if exported.latencies:
        print(f"\n{latency_table(exported.latencies)}")
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e6:.2f} MB" for file in options.files if file.exists())
    print(f"\n{sizes} in {options.output.parent}")
    if parity.faults:
        print(
            f"{args.prog} export: {options.output} is not the model and is not written: {'; '.join(parity.faults)}",
            file=sys.stderr,
        )
        return FAILED
    return 0


def latency_table(latencies: "list[Latency]") -> str:
    """Return a table in markdown: a row per batch, in milliseconds."""
    from tabulate import tabulate

    rows = [[one.batch, f"{one.original_ms:.1f}", f"{one.exported_ms:.1f}"] for one in latencies]
    headers = ["images", "PyTorch (ms)", "exported (ms)"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True, colalign=["right"] * 3)
