"""What an export is asked for, and which of it goes together."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.errors import ConfigError, FileError

# Format -> the end of its file's name.
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2", "weights": ".safetensors", "openvino": ".xml"}
PIXELS = ("raw", "imagenet")
QUANTISED = ("int8",)
OPSETS, OPSET = range(18, 24), 18  # what torch's exporter writes, or converts to
IMAGES = 300


@dataclass(frozen=True)
class Options:
    """What is exported, and how it is checked.

    Attributes:
        format: a key of SUFFIXES.
        output: the file.
        pixels: what the input holds, see :class:`fastreid_ext.inference.record.ModelRecord`; None = "raw".
        normalised: divide a feature by its length.
        half: weights and features in float16.
        opset: version of ONNX's operators; None = OPSET.
        quantise: "int8", or "" for floats.
        images: how many a model and its export are compared on.
        tolerance: of the distance of two features, as a share of their length; None = that of the type.
        latency: time both.
    """

    format: str
    output: Path
    pixels: str | None = None
    normalised: bool = False
    half: bool = False
    opset: int | None = None
    quantise: str = ""
    images: int = IMAGES
    tolerance: float | None = None
    latency: bool = False

    @property
    def dtype(self) -> str:
        """The key of the tolerances."""
        return self.quantise or ("float16" if self.half else "float32")

    @property
    def files(self) -> list[Path]:
        """All files that are written, the export first."""
        weights = [self.output.with_suffix(".bin")] if self.format == "openvino" else []
        return [self.output, *weights, self.record_file, self.parity_file]

    @property
    def record_file(self) -> Path:
        """What the model is, as JSON."""
        return self.output.with_name(f"{self.output.name}.json")

    @property
    def parity_file(self) -> Path:
        """How far the export is from the model, as JSON."""
        return self.output.with_name(f"{self.output.name}.parity.json")


def check_options(options: Options) -> None:
    """Check what goes together, before anything is loaded.

    Raises:
        ConfigError: options that don't.
        FileError: a file that can't be written, or that is there already.
    """
    for sentence in _mistakes(options):
        raise ConfigError(sentence)
    folder = options.output.parent
    if not folder.is_dir():
        raise FileError(f"{options.output} can't be written: there is no folder {folder}, make it first")
    if not os.access(folder, os.W_OK):
        raise FileError(f"{options.output} can't be written: the folder {folder} can only be read")
    check_absent(options)


def check_absent(options: Options) -> None:
    """Check that no file is there that an export would replace, but the comparison of one that was refused.

    Raises:
        FileError: there is one.
    """
    there = [file for file in options.files if file.exists() or file.is_symlink()]
    if there and not (there == [options.parity_file] and _is_of_refused(options.parity_file)):
        raise FileError(f"{there[0]} exists: remove it, or name another --output")


def _is_of_refused(parity_file: Path) -> bool:
    from fastreid_ext.foreign_files import read_json  # not above: --help loads no NumPy

    try:
        found = read_json(parity_file)
    except FileError:
        return False
    return isinstance(found, dict) and found.get("within_tolerance") is False


def _mistakes(options: Options) -> Iterator[str]:
    suffix = SUFFIXES[options.format]
    if options.output.suffix != suffix:
        yield f"--output is {options.output}, and a file of --format {options.format} ends with {suffix}"
    if options.format == "weights":
        switches = {
            "--input": options.pixels is not None,
            "--normalise": options.normalised,
            "--half": options.half,
        }
        for name in (name for name, given in switches.items() if given):
            yield f"{name} changes what a graph does, and --format weights holds none: remove it"
    if options.quantise and options.format != "onnx":
        yield f"--quantise makes an ONNX file: set --format onnx, or remove it for {options.format}"
    if options.quantise and options.half:
        yield "--half and --quantise both choose the type of the weights: remove one"
    if options.opset is not None and options.format != "onnx":
        yield f"--opset is of ONNX's operators: remove it for --format {options.format}"
    if options.opset is not None and options.opset not in OPSETS:
        yield f"--opset is {options.opset} and must be from {OPSETS[0]} to {OPSETS[-1]}"
    if options.images < 2:
        yield f"--images is {options.images} and must be 2 or more"
    if options.tolerance is not None and not 0 <= options.tolerance < float("inf"):
        yield f"--tolerance is {options.tolerance} and must be a share of a feature's length, 0 or more"
