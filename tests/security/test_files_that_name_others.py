"""Files that name other files: a pose model that keeps weights elsewhere, MATLAB files with links."""

import pytest

from fastreid_ext.errors import UserError


def keep_outside(location, inside=""):
    """Let a tensor of the pose model lie in another file, as an initial value or in a node."""
    onnx = pytest.importorskip("onnx")

    def edit(file):
        model = onnx.load(str(file))
        tensor = model.graph.initializer[0]
        if inside == "a node":
            node = onnx.helper.make_node("Constant", [], ["kernel"], value=tensor)
            model.graph.node.insert(0, node)
            del model.graph.initializer[:]
            tensor = model.graph.node[0].attribute[0].t
        content = tensor.raw_data
        onnx.external_data_helper.set_external_data(tensor, location, 0, len(content))
        tensor.ClearField("raw_data")
        file.write_bytes(model.SerializeToString())
        return content

    return edit


@pytest.mark.parametrize("inside", ["", "a node"])
@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "link", "", "sub/../secret"])
def test_weights_of_a_pose_model_elsewhere(location, inside, loader_of, tmp_path):
    file, load = loader_of("pose model (ONNX)")
    content = keep_outside(location, inside)(file)
    (tmp_path / "secret").write_bytes(content)
    (file.parent / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="model.onnx can't be used as an ONNX model: it keeps weights in"):
        load()


def test_weights_of_a_pose_model_beside_it(loader_of):
    file, load = loader_of("pose model (ONNX)")
    (file.parent / "weights.bin").write_bytes(keep_outside("weights.bin")(file))
    load()


@pytest.mark.parametrize("kind", ["a link to another file", "a link", "an array in another file", "a large array"])
def test_matlab_files_that_reach_out(kind, loader_of, tmp_path):
    h5py = pytest.importorskip("h5py")
    file, load = loader_of("CUHK03: images (HDF5)")
    with h5py.File(file, "a") as mat:
        if kind == "a link to another file":
            mat["more"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        elif kind == "a link":
            mat["more"] = h5py.SoftLink("/labeled")
        elif kind == "an array in another file":
            mat.create_dataset("more", (4,), "u1", external=[("/etc/hostname", 0, 4)])
        else:
            mat.create_dataset("more", (1 << 20, 1 << 20), "u1", chunks=(1, 1 << 10), fillvalue=7)
    with pytest.raises(UserError, match="holds a link, .more|holds an array, .more"):
        load()
