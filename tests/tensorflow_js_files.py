"""Writes graph models in TensorFlow.js's layout: any graph, and a tiny MoveNet."""

import base64
import json

import numpy as np

JOINTS = 17


class GraphFile:
    """A graph that is being written: nodes, and weights in one file or several."""

    def __init__(self):
        self.nodes, self.weights, self.data = [], [], []

    def add(self, op, name, *inputs, **attributes):
        """Add a node and return its name; attributes are texts, numbers, or lists of them, or JSON as it is."""
        self.nodes.append(
            {
                "name": name,
                "op": op,
                "input": list(inputs),
                "attr": {key: _value(value) for key, value in attributes.items()},
            }
        )
        return name

    def constant(self, name, array, packed=None):
        """Add a constant; ``packed`` is the type that it has in the file: float16, uint8 or uint16."""
        array = np.asarray(array)
        dtype = "int32" if array.dtype.kind == "i" else "float32"
        entry = {"name": name, "shape": list(array.shape), "dtype": dtype}
        stored = array.astype("<i4" if dtype == "int32" else "<f4")
        if packed == "float16":
            entry["quantization"] = {"dtype": packed, "original_dtype": "float32"}
            stored = array.astype("<f2")
        elif packed:
            scale = max(float(np.ptp(array)) / np.iinfo(packed).max, 1e-9)
            entry["quantization"] = {"dtype": packed, "scale": scale, "min": float(array.min())}
            stored = np.rint((array - array.min()) / scale).astype(np.dtype(packed).newbyteorder("<"))
        self.weights.append(entry)
        self.data.append(stored.tobytes())
        return self.add("Const", name)

    def image(self, height, width, name="input"):
        """Add the input: one image (1, H, W, 3)."""
        sides = {"shape": {"dim": [{"size": str(side)} for side in (1, height, width, 3)]}}
        return self.add("Placeholder", name, shape=sides)

    def content(self, names=("weights.bin",)):
        """Return what model.json holds, as values."""
        return {
            "format": "graph-model",
            "modelTopology": {"node": self.nodes},
            "weightsManifest": [{"paths": list(names), "weights": self.weights}],
        }

    def write(self, folder, files=1):
        """Write model.json and its weights, cut into so many files, and return the path of the first."""
        data = b"".join(self.data)
        cuts = np.linspace(0, len(data), files + 1).astype(int)
        names = [f"weights{number}.bin" for number in range(files)]
        for name, start, end in zip(names, cuts[:-1], cuts[1:], strict=True):
            (folder / name).write_bytes(data[start:end])
        path = folder / "model.json"
        path.write_text(json.dumps(self.content(names)), encoding="utf-8")
        return path


def _value(value):
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        kind = "s" if value and isinstance(value[0], str) else "i"
        return {"list": {kind: [_value(one)[kind] for one in value]}}
    if isinstance(value, str):
        return {"s": base64.b64encode(value.encode()).decode()}
    if isinstance(value, bool):
        return {"b": value}
    return {"i": str(value)}


CONVOLUTION = {"strides": [1, 1, 1, 1], "dilations": [1, 1, 1, 1], "padding": "SAME", "data_format": "NHWC"}


def movenet(height=32, width=32, seed=0):
    """Return a tiny MoveNet: its operations, names and heads, with random weights and a stride of 4."""
    random, graph = np.random.RandomState(seed), GraphFile()

    def convolution(name, given, out, into, step=1, fused=("BiasAdd", "Relu6"), size=3):
        weight = graph.constant(
            f"{name}/w", random.standard_normal((size, size, into, out)) / np.sqrt(size * size * into)
        )
        bias = graph.constant(f"{name}/b", random.standard_normal(out) * 0.1)
        more = {**CONVOLUTION, "strides": [1, step, step, 1], "fused_ops": list(fused)}
        return graph.add("_FusedConv2D", name, given, weight, bias, **more)

    given = graph.add("Cast", "Cast", graph.image(height, width), DstT={"type": "DT_FLOAT"}, SrcT={"type": "DT_INT32"})
    given = graph.add("Unpack", "unstack", given, axis=0, num=1)
    given = graph.add("ExpandDims", "stack", given, graph.constant("axis", np.int32(0)))
    given = graph.add("Mul", "scaled", given, graph.constant("scale", np.full((1, 1, 1, 3), 0.0078), "float16"))
    given = graph.add("Sub", "shifted", given, graph.constant("one", np.float32(1)))
    stem = convolution("body/stem", given, 8, 3, step=2)
    depthwise = graph.constant("body/depthwise/w", random.standard_normal((3, 3, 8, 1)) / 3)
    more = {**CONVOLUTION, "strides": [1, 2, 2, 1], "fused_ops": ["BiasAdd", "Relu6"]}
    bias = graph.constant("body/depthwise/b", random.standard_normal(8) * 0.1)
    low = graph.add("FusedDepthwiseConv2dNative", "body/depthwise", stem, depthwise, bias, **more)
    lower = convolution("body/lower", low, 8, 8, step=2)
    size = graph.constant("body/size", np.array([height // 4, width // 4], np.int32))
    up = graph.add("ResizeBilinear", "body/up", lower, size, half_pixel_centers=True, align_corners=False)
    given = graph.add("AddV2", "body/sum", low, up)
    heads = {}
    for scope, channels in (
        ("kpt_heatmap_0", JOINTS),
        ("kpt_regress_0", 2 * JOINTS),
        ("kpt_offset_0", 2 * JOINTS),
        ("center_0", 1),
    ):
        scope = f"StatefulPartitionedCall/{scope}"
        weight = graph.constant(f"{scope}/separable/w", random.standard_normal((3, 3, 8, 1)) / 3)
        first = graph.add("DepthwiseConv2dNative", f"{scope}/separable", given, weight, **CONVOLUTION)
        second = convolution(f"{scope}/relu", first, 8, 8, fused=("BiasAdd", "Relu"), size=1)
        heads[scope[-9:]] = convolution(f"{scope}/BiasAdd", second, channels, 8, fused=("BiasAdd",), size=1)
    heat = graph.add("Sigmoid", "Sigmoid", heads["heatmap_0"])
    center = graph.add("Sigmoid", "Sigmoid_1", heads["/center_0"])
    nearness = random.uniform(0.2, 1, (1, height // 4, width // 4, 1))
    center = graph.add("Mul", "weighted_center", center, graph.constant("nearness", nearness))
    # what MoveNet does behind its heads is written here as far as the converter looks at it
    graph.add("GatherNd", "GatherNd", heads["regress_0"], center)
    graph.add("GatherNd", "GatherNd_1", heads["_offset_0"], center)
    distance = graph.add("AddV2", "distance", "GatherNd", graph.constant("least", np.float32(1.5)))
    graph.add("RealDiv", "weighted", heat, distance)
    return graph
