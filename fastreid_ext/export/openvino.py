"""OpenVINO's files: the graph (.xml) and, beside it, its weights (.bin)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.errors import FileError, MissingExtraError
from fastreid_ext.files import no_room_named, reason, sync
from fastreid_ext.inference.record import KEY, ModelRecord
from fastreid_ext.processes import keep_in_forks

STREAM_FAILED = "iostream error"  # all that C++ says of a full disk


def needed() -> None:
    """Raise a MissingExtraError unless OpenVINO is installed."""
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"openvino can't be imported ({error}): pip install fastreid-ext[export,openvino]"
        ) from error


def write_openvino(path: Path, proto: Any, record: ModelRecord) -> None:
    """Convert an ONNX model and write both files, in a folder of their own: what a failure leaves is not whole.

    Args:
        path: of the graph; it ends with .xml. An .onnx file is left beside it.
        proto: of :func:`fastreid_ext.export.onnx.onnx_model`.
        record: for the graph's runtime information.

    Raises:
        FileError: they can't be written.
    """
    import openvino

    source = path.with_suffix(".onnx")
    try:
        with no_room_named(path):
            source.write_bytes(proto.SerializeToString())
            model = openvino.convert_model(source)
            model.set_rt_info(record.text(), [KEY])
            _save(model, path)
            for file in (path.with_suffix(".bin"), path):
                sync(file)
    except OSError as error:
        raise FileError(f"{path} can't be written: {reason(error)}") from error


def _save(model: Any, path: Path) -> None:
    import openvino

    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        if STREAM_FAILED not in str(error):
            raise
        raise FileError(f"{path} can't be written: {STREAM_FAILED}, the disk may be full") from error


def open_openvino(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return what runs a written model on the CPU in float32: images (B, 3, H, W) -> features (B, D)."""
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    keep_in_forks(model)
    return lambda images: model([images])[0]
