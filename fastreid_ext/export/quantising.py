"""Whole numbers of 8 bits in place of floats, by onnxruntime: convolutions and linear layers of an ONNX model."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms

from fastreid_ext.data.images import ReIDImages
from fastreid_ext.data.loader import as_float32, build_test_loader
from fastreid_ext.engine.training_subsets import training_sets, training_subsets
from fastreid_ext.export.compared_images import spread
from fastreid_ext.export.graph import IMAGES
from fastreid_ext.export.parity import CPU, fed
from fastreid_ext.inference.record import ModelRecord
from fastreid_ext.processes import keep_in_forks

CALIBRATION_IMAGES = 128
BATCH = 16
QUANTISED = ("Conv", "Gemm")  # products of two maps, as in attention, lose too much


def training_images(cfg: CfgNode, record: ModelRecord) -> Iterator[np.ndarray]:
    """Yield batches of training images, evenly spread, as the model takes them: what the ranges are measured on.

    Raises:
        DataSetError: a training set that is missing.
    """
    items = sorted(training_subsets(cfg, training_sets(cfg)).train)
    chosen = [items[index] for index in spread(len(items), CALIBRATION_IMAGES)]
    images = ReIDImages(chosen, build_transforms(cfg, is_train=False), relabel=False)
    for batch in build_test_loader(images, range(len(chosen)), BATCH, cfg.DATALOADER.NUM_WORKERS, CPU):
        yield fed(record, as_float32(batch["images"]).numpy())


def quantised(proto: Any, batches: Iterator[np.ndarray]) -> Any:
    """Return an ONNX model with weights and activations of convolutions and linear layers in int8.

    Args:
        proto: a ModelProto in float32.
        batches: images as it takes them, which tell the range of each activation.
    """
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(batches, None)
            return None if batch is None else {IMAGES: batch}

    keep_in_forks()  # it makes sessions of its own, and loaders fork workers afterwards
    with tempfile.TemporaryDirectory() as folder:
        given, source, target = (Path(folder) / f"{name}.onnx" for name in ("given", "float", "int8"))
        given.write_bytes(proto.SerializeToString())
        quantization.shape_inference.quant_pre_process(
            str(given), str(source), skip_optimization=True, skip_symbolic_shape=True
        )
        quantization.quantize_static(
            str(source),
            str(target),
            Reader(),
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        made = onnx.load(target)
    onnx.helper.set_model_props(made, {entry.key: entry.value for entry in proto.metadata_props})
    return made
