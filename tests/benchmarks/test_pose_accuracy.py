"""The distances of found joints to the true ones, and the file with its heat maps alone."""

import numpy as np
import onnx
import pose_accuracy
import pytest
from onnx import TensorProto, helper

from fastreid_ext.data.poses import Poses


def test_only_joints_in_sight_count():
    true = Poses(["a", "b"], np.zeros((2, 17, 3)), np.array([[50, 100], [50, 200]]))
    true.joints[:, :2, 2] = 1.0  # two joints of each in sight, one of the others hidden
    true.joints[:, 2, 2] = 0.5
    found = np.zeros((2, 17, 3))
    found[0, :3, 0] = 3.0, 4.0, 1000.0
    found[0, 0, 1], found[1, 1, 1] = 4.0, 9.0  # 5, 4, 0 and 9 pixels; 5 % of the heights are 5 and 10
    assert pose_accuracy.errors(found, true) == {"joints": 4, "mean px": 4.5, "median px": 4.5, "within 5 %": 100.0}
    found[0, 0, 1] = 4.1
    assert pose_accuracy.errors(found, true)["within 5 %"] == 75.0


def test_the_heat_maps_alone(tmp_path):
    shape = [1, 3, 4, 4]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("maps", "offsets", "weights")]
    nodes = [helper.make_node("Identity", ["x"], [output.name]) for output in outputs]
    graph = helper.make_graph(nodes, "pose", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], outputs)
    (tmp_path / "out").mkdir()
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    written = pose_accuracy.without_offsets(tmp_path / "model.onnx", tmp_path / "out")
    assert [output.name for output in onnx.load(written).graph.output] == ["maps"]
    assert len(onnx.load(tmp_path / "model.onnx").graph.output) == 3


@pytest.mark.parametrize("count", [0, -1])
def test_a_number_of_images_that_can_not_be(count, monkeypatch):
    data = type("Data", (pose_accuracy.synthreid.SynthReIDVariant,), {"__init__": lambda self, root: None})
    data.query_dirs, data.poses = (), lambda self: Poses(["q/a"], np.zeros((1, 17, 3)), np.ones((1, 2)))
    monkeypatch.setattr(pose_accuracy.DATASET_REGISTRY, "get", lambda name: data)
    with pytest.raises(SystemExit, match=f"--images {count} is not"):
        pose_accuracy.truth(".", count)
