"""An export from the trained model to the file that was compared with it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.engine.joints import check_images_suffice
from fastreid_ext.export import onnx, openvino, quantising, torch_export
from fastreid_ext.export.compared_images import images_to_compare
from fastreid_ext.export.graph import FeatureGraph, image_size, trace
from fastreid_ext.export.latency import Latency, measure
from fastreid_ext.export.options import OPSET, Options
from fastreid_ext.export.parity import TOLERANCES, Parity, Run, compare
from fastreid_ext.export.staging import place, staged
from fastreid_ext.files import write_text
from fastreid_ext.inference import compression
from fastreid_ext.inference.features import feature_length, test_features
from fastreid_ext.inference.record import ModelRecord, record_of
from fastreid_ext.inference.same_person_file import find_same_person
from fastreid_ext.inference.weights_file import load_weights_file, save_weights_file


@dataclass(frozen=True)
class Exported:
    """A written export.

    Attributes:
        record: what the file says of itself.
        parity: how far it is from the model.
        latencies: of both; none if they were not asked for.
    """

    record: ModelRecord
    parity: Parity
    latencies: list[Latency]


def check_installed(options: Options) -> None:
    """Raise a MissingExtraError unless what the format needs is installed."""
    if options.format in ("onnx", "openvino"):
        onnx.needed()
    if options.format == "openvino":
        openvino.needed()


def export(cfg: CfgNode, model: nn.Module, options: Options) -> Exported:
    """Write an export, read it again and compare it with the model; write its record and the comparison beside it.

    Of a file that is not the model, the comparison alone is kept; of one that was not compared to the end, nothing.

    Args:
        cfg: the model's config, whose device is the CPU.
        model: of ``load_trained``, in eval mode.
        options: what :func:`fastreid_ext.export.options.check_options` finds nothing against.

    Raises:
        ConfigError: a model whose test reads more than images, or images of several sizes.
        ExportError, DataSetError, FileError: see the modules of each step.
    """
    check_images_suffice(model)
    if options.format != "weights" or options.latency:  # weights take images of any size that the config does
        image_size(cfg)
    record = _record(cfg, model, options)
    tolerance = TOLERANCES[options.dtype] if options.tolerance is None else options.tolerance
    with images_to_compare(cfg, options.images) as compared, staged(options) as made:
        run = _writers()[options.format](cfg, model, made, record)
        write_text(made.record_file, f"{record.text()}\n")
        parity = compare(cfg, model, run, record, compared, options.dtype, tolerance)
        latencies = measure(model, run, record, image_size(cfg)) if options.latency else []
        found = {**parity.record(), "latency": [asdict(one) for one in latencies]}
        write_text(made.parity_file, json.dumps(found, indent=1) + "\n")
        place(made, options, proven=not parity.faults)
    return Exported(record, parity, latencies)


def _record(cfg: CfgNode, model: nn.Module, options: Options) -> ModelRecord:
    same_person = find_same_person(cfg, model)
    return record_of(
        cfg,
        model,
        feature_length(cfg, model),
        pixels=options.pixels or "raw",
        normalised=options.normalised,
        dtype="float16" if options.half else "float32",
        # A graph says it all; weights alone are built from their config.
        **({} if options.format == "weights" else {"config": ""}),
        same_person=None if same_person is None else same_person.to_dict(),
    )


Writer = Callable[[CfgNode, nn.Module, Options, ModelRecord], Run]


def _writers() -> dict[str, Writer]:
    return {"onnx": _onnx, "torch-export": _torch_export, "openvino": _openvino, "weights": _weights}


def _onnx(cfg: CfgNode, model: nn.Module, options: Options, record: ModelRecord) -> Run:
    proto = onnx.onnx_model(trace(FeatureGraph(model, record), image_size(cfg)), record, options.opset or OPSET)
    if options.quantise:
        proto = quantising.quantised(proto, quantising.training_images(cfg, record))
    onnx.write_onnx(options.output, proto)
    return onnx.open_onnx(options.output)


def _torch_export(cfg: CfgNode, model: nn.Module, options: Options, record: ModelRecord) -> Run:
    digest = torch_export.write_program(options.output, trace(FeatureGraph(model, record), image_size(cfg)), record)
    return torch_export.open_program(options.output, digest)


def _openvino(cfg: CfgNode, model: nn.Module, options: Options, record: ModelRecord) -> Run:
    proto = onnx.onnx_model(trace(FeatureGraph(model, record), image_size(cfg)), record, OPSET)
    openvino.write_openvino(options.output, proto, record)
    return openvino.open_openvino(options.output)


def _weights(cfg: CfgNode, model: nn.Module, options: Options, record: ModelRecord) -> Run:
    components = compression.find_fitted(Path(cfg.MODEL.WEIGHTS), record)
    save_weights_file(options.output, cfg, model, record.same_person, components)
    _, again, _ = load_weights_file(options.output, "cpu")
    return lambda images: test_features(again, torch.from_numpy(images)).numpy()
