"""OpenVINO's files: the graph (.xml) and, beside it, its weights (.bin)."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.errors import FileError, MissingExtraError
from fastreid_ext.files import no_room_named, reason, sync
from fastreid_ext.inference.record import KEY, ModelRecord


def needed() -> None:
    """Raise a MissingExtraError unless OpenVINO is installed."""
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"openvino can't be imported ({error}): pip install fastreid-ext[export,openvino]"
        ) from error


def weights_beside(path: Path) -> Path:
    """Return the file of weights of a graph."""
    return path.with_suffix(".bin")


def write_openvino(path: Path, proto: Any, record: ModelRecord) -> None:
    """Convert an ONNX model and write both files, each whole or not at all; the graph comes last.

    Args:
        path: of the graph; it ends with .xml.
        proto: of :func:`fastreid_ext.export.onnx.onnx_model`.
        record: for the graph's runtime information.

    Raises:
        FileError: they can't be written.
    """
    import openvino

    try:
        with no_room_named(path), tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
            made = Path(folder) / path.name
            source = Path(folder) / "model.onnx"
            source.write_bytes(proto.SerializeToString())
            model = openvino.convert_model(source)
            model.set_rt_info(record.text(), [KEY])
            openvino.save_model(model, made, compress_to_fp16=False)
            for file in (weights_beside(made), made):
                sync(file)
                os.replace(file, path.with_name(file.name))
        sync(path.parent)
    except OSError as error:
        raise FileError(f"{path} can't be written: {reason(error)}") from error


def open_openvino(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return what runs a written model on the CPU in float32: images (B, 3, H, W) -> features (B, D)."""
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: model([images])[0]
