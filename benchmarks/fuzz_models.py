"""Samples of the files that describe a model: weights with a record, an ONNX file with one, principal components."""

import numpy as np
import safetensors.torch
import torch
from torch import nn

from fastreid_ext.inference import compression
from fastreid_ext.inference.models import record_of_onnx
from fastreid_ext.inference.record import KEY, record_of
from fastreid_ext.inference.weights_file import config_of, record_in
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.safetensors_files import read_safetensors

WEIGHTS, ONNX, COMPONENTS = "model.safetensors", "model.onnx", "model.pca.safetensors"


def make_weights(folder):
    model = nn.Linear(4, 3)
    texts = {KEY: record_of(get_config("demo/tiny.yml"), model, 3).text()}
    safetensors.torch.save_file(model.state_dict(), folder / WEIGHTS, texts)


def load_weights(folder):
    read_safetensors(folder / WEIGHTS)
    config_of(record_in(folder / WEIGHTS), folder / WEIGHTS)


def make_onnx(folder):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = ["B", 3, 4, 2]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["images", "w"], ["features"])],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.ones((1, 3, 4, 2), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {KEY: record_of(get_config("demo/tiny.yml"), nn.Linear(4, 3), 3).text()})
    onnx.save(model, folder / ONNX)


def load_onnx(folder):
    return record_of_onnx(folder / ONNX)


def make_components(folder):
    tensors = torch.zeros(6), torch.eye(3, 6), torch.full((3,), 0.2)
    compression.save(folder / COMPONENTS, compression.Compression(*tensors, True, 40, "a" * 64, "b" * 64))


def load_components(folder):
    return compression.load(folder / COMPONENTS)
