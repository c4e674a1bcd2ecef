"""ONNX files: one file with its weights in it, and the record of the model in its metadata."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastreid_ext.errors import MissingExtraError
from fastreid_ext.export.graph import BATCH, FEATURES, IMAGES, ExportError
from fastreid_ext.export.options import OPSET
from fastreid_ext.files import write_atomically
from fastreid_ext.inference.record import KEY, ModelRecord
from fastreid_ext.onnx_files import open_session

LARGEST = (1 << 31) - 1  # bytes of a message of Protocol Buffers


def needed() -> None:
    """Raise a MissingExtraError unless all is installed that an ONNX file is written and checked with."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX files are made with onnx, onnxscript and onnxruntime ({error}): pip install fastreid-ext[export]"
        ) from error


def onnx_model(program: torch.export.ExportedProgram, record: ModelRecord, opset: int = OPSET) -> Any:
    """Return a traced model as ONNX's ModelProto, with names, record and a free batch.

    Args:
        program: of :func:`fastreid_ext.export.graph.trace`.
        record: for its metadata.
        opset: version of the operators, one of OPSETS.

    Raises:
        ExportError: an operation that this opset does not have, or a model of 2 GB or more.
    """
    import onnx

    made = torch.onnx.export(
        program,
        f=None,
        dynamo=True,
        input_names=[IMAGES],
        output_names=[FEATURES],
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    try:
        proto = made.model_proto
    except ValueError as error:  # Protocol Buffers: it does not fit
        raise ExportError(f"a model of 2 GB or more has no place in one ONNX file ({error})") from error
    found = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 0)
    if found != opset:
        raise ExportError(f"this model can't be written in opset {opset}, but in {found}: set --opset {found}")
    if proto.ByteSize() > LARGEST:
        raise ExportError(f"the model has {proto.ByteSize()} bytes, and an ONNX file less than 2 GB")
    _forget_the_machine(proto)
    (given,), (features,) = proto.graph.input, proto.graph.output
    for value in (given, features):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del proto.graph.value_info[:]  # shapes in between, with another name of the batch
    onnx.helper.set_model_props(proto, {KEY: record.text()})
    return proto


def _forget_the_machine(proto: Any) -> None:
    """Take the stack traces out, which have paths of this machine and take a fifth of a small file."""
    for graph in (proto.graph, *proto.functions):
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""


def write_onnx(path: Path, proto: Any) -> None:
    """Write a ModelProto, whole or not at all.

    Raises:
        FileError: it can't be written.
    """
    data = proto.SerializeToString()
    write_atomically(path, lambda file: file.write(data))


def open_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return what runs a written file by onnxruntime on the CPU: images (B, 3, H, W) -> features (B, D).

    Raises:
        OnnxFileError: it can't be opened.
    """
    session = open_session(path, alone=True)
    return lambda images: session.run([FEATURES], {IMAGES: images})[0]
