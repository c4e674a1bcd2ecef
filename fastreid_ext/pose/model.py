"""A top-down pose model in an ONNX file, run by onnxruntime."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.data.poses import PoseError
from fastreid_ext.errors import UserError
from fastreid_ext.foreign_files import shown
from fastreid_ext.onnx_files import open_session, reason_of
from fastreid_ext.pose.decoding import decode_heat_maps, decode_offsets, decode_simcc
from fastreid_ext.pose.options import BATCH_SIZE, COLORS, NOTE

HEAT_MAPS, OFFSETS, SIMCC = "heat maps", "heat maps with offsets", "SimCC"
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class PoseModel:
    """A model that gives the joints of a person from an image of the person.

    Attributes:
        input_size: width and height of what it takes.
        batch_size: most images at once; exactly so many if the file fixes it.
        joints: number of joints it gives.
        kind: "heat maps", "heat maps with offsets" or "SimCC".
        takes: mean, std and color of the images that it takes, as far as the file has a note of them.

    Args:
        path: the .onnx file.
        size: height and width, for a file that leaves them open.
        batch_size: images at once; None for the file's own or, where it leaves that open, ``BATCH_SIZE``.
        device: "cpu" or "cuda".
        threads: of the CPU; 0 leaves it to onnxruntime.
        udp: see :func:`decode_heat_maps`.

    Raises:
        PoseError: onnxruntime, the file or the device is not there, or the file is not such a pose model.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int] | None = None,
        batch_size: int | None = None,
        device: str = "cpu",
        threads: int = 0,
        udp: bool = False,
    ):
        self.path, self.udp = path, udp
        self._session = _open(path, device, threads)
        given = self._session.get_inputs()
        if len(given) != 1 or len(given[0].shape) != 4 or given[0].type not in TYPES:
            listed = ", ".join(f"{one.name} {one.type} {one.shape}" for one in given) or "nothing"
            raise PoseError(f"{path} should take one float tensor of images (B, 3, H, W), but takes {listed}")
        self._name, self._type = given[0].name, TYPES[given[0].type]
        # an open dimension is a name, None or, from some exporters, a number below 1
        batch, channels, height, width = (
            side if isinstance(side, int) and side > 0 else None for side in given[0].shape
        )
        if channels not in (3, None):
            raise PoseError(f"{path} takes {given[0].shape}, which are not RGB images (B, 3, H, W)")
        self.input_size = self._size_of(height, width, size)
        if batch and batch_size not in (None, batch):
            raise PoseError(f"{path} takes {batch} images at once and no other number: remove --batch-size")
        self.batch_size, self._fixed = batch or batch_size or BATCH_SIZE, batch is not None
        self._names, self.kind, self.joints = self._look_at_outputs()
        self.takes = _takes(path, self._session.get_modelmeta().custom_metadata_map.get(NOTE))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return joints (B, J, 3), x and y in the model's pixels and confidence, of normalised images (B, 3, H, W).

        Raises:
            PoseError: the model fails, or returns values that are not finite.
        """
        count = len(images)
        if self._fixed and count < self.batch_size:
            images = np.concatenate([images, np.zeros((self.batch_size - count, *images.shape[1:]), images.dtype)])
        outputs = self._run(images, self._names)
        if any(len(output) != len(images) for output in outputs):
            raise PoseError(f"{self.path} gave {len(outputs[0])} results for {len(images)} images: try --batch-size 1")
        outputs = [output[:count].astype(np.float32) for output in outputs]
        if not all(np.isfinite(output).all() for output in outputs):
            raise PoseError(f"{self.path} gave values that are not finite: check --mean and --std")
        if self.kind == SIMCC:
            return decode_simcc(*outputs, self.input_size)
        if self.kind == OFFSETS:
            maps, offsets, *weights = outputs
            return decode_offsets(maps, offsets, weights[0] if weights else None, self.input_size)
        return decode_heat_maps(*outputs, self.input_size, self.udp)

    def _size_of(self, height: int | None, width: int | None, wanted: tuple[int, int] | None) -> tuple[int, int]:
        """Return width and height of the input, of what the file says and what is asked for."""
        if wanted is None and None in (height, width):
            raise PoseError(
                f"{self.path} takes images of any size: say with --size HEIGHT WIDTH which one it was trained with,"
                " for instance --size 256 192"
            )
        for own, asked in zip((height, width), wanted or (), strict=False):
            if own not in (None, asked):
                raise PoseError(
                    f"{self.path} takes images of {height or 'any'} x {width or 'any'}, not --size {wanted}"
                )
        return (wanted[1], wanted[0]) if wanted else (width, height)

    def _look_at_outputs(self) -> tuple[list[str], str, int]:
        """Run the model on black images and return the outputs to ask for, their kind and the number of joints.

        The file itself may leave the outputs' shapes open, and a batch too large for the memory shows here, not later.
        """
        width, height = self.input_size
        names = [output.name for output in self._session.get_outputs()]
        outputs = self._run(np.zeros((self.batch_size, 3, height, width), dtype=np.float32), names)
        tensors = all(isinstance(output, np.ndarray) and output.dtype.kind == "f" for output in outputs)
        shapes = [output.shape if tensors else () for output in outputs]
        listed = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
        with_offsets = _are_offsets(shapes)
        if (len(shapes) == 1 or with_offsets) and len(shapes[0]) == 4 and min(shapes[0]) > 0:
            joints, h, w = shapes[0][1:]
            if width * h != height * w:
                raise PoseError(
                    f"{self.path} gives {listed}, which are not heat maps (B, J, h, w) of its input, {height} high and"
                    f" {width} wide"
                )
            if with_offsets and self.udp:
                raise PoseError(f"{self.path} gives offsets, which say where a joint is in its cell: remove --udp")
            return names, OFFSETS if with_offsets else HEAT_MAPS, joints
        if len(shapes) == 2 and all(len(shape) == 3 for shape in shapes) and shapes[0][:2] == shapes[1][:2]:
            if self.udp:
                raise PoseError(f"{self.path} gives SimCC, which has no cells: remove --udp")
            lengths = shapes[0][2], shapes[1][2]
            # x comes first, unless only the other order fits the input
            for (across, down), order in ((lengths, names), (lengths[::-1], names[::-1])):
                if across >= width and across * height == down * width:
                    return order, SIMCC, shapes[0][1]
        raise PoseError(
            f"{self.path} gives {listed}: a pose model gives one output of heat maps (B, J, h, w), perhaps with offsets"
            f" (B, J, 2, h, w) and weights (B, J, h, w), or two of SimCC, (B, J, k {width}) and (B, J, k {height})"
        )

    def _run(self, images: np.ndarray, names: list[str]) -> list[np.ndarray]:
        try:
            return self._session.run(names, {self._name: images.astype(self._type, copy=False)})
        except Exception as error:  # onnxruntime has a type of its own for each status, without a common one
            raise PoseError(f"{self.path} can't be run on {len(images)} images: {reason_of(error)}") from error


def _are_offsets(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether outputs are heat maps (B, J, h, w) with offsets (B, J, 2, h, w) and, perhaps, weights (B, J, h, w)."""
    if len(shapes) not in (2, 3) or len(shapes[0]) != 4:
        return False
    maps, offsets, *weights = shapes
    return offsets == (*maps[:2], 2, *maps[2:]) and weights in ([], [maps])


def _takes(path: Path, note: str | None) -> dict[str, Any]:
    """Return mean, std and color of the note that the maker of a file wrote into it."""
    if note is None:
        return {}
    try:
        content = json.loads(note)
        takes = {key: tuple(float(value) for value in content[key]) for key in ("mean", "std")}
        color = content["color"]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        takes, color = {"mean": (), "std": ()}, None
    numbers = [*takes["mean"], *takes["std"]]
    fits = len(takes["mean"]) == len(takes["std"]) == 3 and all(map(math.isfinite, numbers)) and min(takes["std"]) > 0
    if not fits or color not in COLORS:
        raise PoseError(f"{path} has a note {NOTE}, {shown(note)}, that is not mean, std and color: write it again")
    return {**takes, "color": color}


def _open(path: Path, device: str, threads: int) -> Any:
    """Return an onnxruntime session of a file."""
    if not path.is_file():
        raise PoseError(f"there is no file {path}: --model is a pose model in ONNX format")
    try:
        return open_session(path, device, threads, extra="pose")
    except UserError as error:
        raise PoseError(str(error)) from error
