"""Files of weights: whatever training saves passes, and what asks torch for too much does not."""

import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from fastreid_ext.engine.model import build_model
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.weight_files import check_weights_file


def save(path, data_pkl):
    """An archive of torch whose instructions are given."""
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, data_pkl if name.endswith("data.pkl") else content)


def piece(value):
    """The instructions that put a value on the stack."""
    return pickletools.optimize(pickle.dumps(value, 2))[2:-1]


def doubled(times):
    """A tuple of a tuple twice, and so on: a few bytes an ever doubled value."""
    value = ()
    for _ in range(times):
        value = (value, value)
    return pickle.dumps(value, 2)[2:-1]


def program(value, key=None):
    return b"\x80\x02}" + (piece("model") if key is None else key) + value + b"s."


NUMBERS = piece(bytes(1000))
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + piece((0,)) + piece("b") + b"\x87R"
TYPE = b"cnumpy\ndtype\n" + piece("u1") + b"\x85R"
ARRAYS = NUMBERS + b"q\x63" + 99 * (ARRAY + b"(K\x01" + piece((1000,)) + TYPE + b"\x89h\x63tb")
HOSTILE = {
    "a function": (program(b"cposix\nsystem\n" + piece("true") + b"\x85R"), "the name 'posix.system'"),
    "an instruction": (program(b"(S'true'\nios\nsystem\n"), "the instruction STRING"),
    "memory": (program(b"cbuiltins\nbytearray\n" + piece(1 << 40) + b"\x85R"), "the name 'builtins.bytearray'"),
    "bytes that double": (
        program(b"c_codecs\nencode\n" + piece("ab") + piece("hex") + b"\x86R"),
        "bytes that are made",
    ),
    "values that double": (program(doubled(60)), "more values than a file"),
    "a key that doubles": (program(piece(1), doubled(60)), "a key that is no plain value"),
    "a list in itself": (program(b"]q\x00h\x00a"), "values in themselves"),
    "depth": (program(b"]" * 1000 + b"a" * 999), "nested too deeply"),
    "one text in many arrays": (program(b"(" + ARRAYS + b"t"), "larger than the file"),
    "an entry of no dict": (b"\x80\x02]" + piece("a") + piece(1) + b"s.", "an entry of something that is no dict"),
    "nothing to take": (b"\x80\x02a.", "IndexError"),
    "no end": (b"\x80\x02}", "damaged"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_instructions_that_no_weights_need(what, tmp_path):
    data, said = HOSTILE[what]
    save(tmp_path / "x.pth", data)
    with pytest.raises(pickle.UnpicklingError, match=said):
        check_weights_file(tmp_path / "x.pth")


ROWS, MORE = b"M\x02\x01", b"M\xff\xff"  # 258 elements, and 65,535


@pytest.mark.parametrize(
    ("archive", "find", "said"),
    [
        (True, ROWS + b"\x85", "beyond its storage of 258 elements"),  # the shape
        (True, ROWS + b"t", "a storage of 262140 bytes in 1032"),  # the storage
        (False, ROWS + b"\x85", "beyond its storage of 258 elements"),
        (False, ROWS + b"N", "storages that are larger than the file"),
    ],
)
def test_tensors_larger_than_their_bytes(archive, find, said, tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"a": torch.zeros(258)}, path, _use_new_zipfile_serialization=archive)
    check_weights_file(path)
    data = path.read_bytes()
    assert data.count(find) == 1
    if archive:
        with zipfile.ZipFile(path) as opened:
            contents = {name: opened.read(name).replace(find, MORE + find[3:]) for name in opened.namelist()}
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in contents.items():
                opened.writestr(name, content)
    else:
        path.write_bytes(data.replace(find, MORE + find[3:]))
    with pytest.raises(pickle.UnpicklingError, match=said):
        check_weights_file(path)


def test_a_number_that_claims_to_be_many(tmp_path):
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "x.pth")
    with pytest.raises(pickle.UnpicklingError, match="of shape .1099511627776. beyond its storage of 1 elements"):
        check_weights_file(tmp_path / "x.pth")


def test_an_attribute_of_a_state_dict(tmp_path):
    """torch sets what a file says on the dict itself, where it hides the dict's own methods."""
    state = OrderedDict(a=torch.zeros(1))
    state.keys_of_mine = 5
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(pickle.UnpicklingError, match="an attribute of a state dict"):
        check_weights_file(tmp_path / "x.pth")


def test_archives_that_torch_does_not_write(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"a": torch.zeros(3)}, path)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x/DATA.pkl", b"")
    with pytest.raises(pickle.UnpicklingError, match="a name twice"):
        check_weights_file(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(1 << 20))
    with pytest.raises(pickle.UnpicklingError, match="packed"):
        check_weights_file(path)


def test_weights_that_were_assigned(tmp_path):
    """torch notes that in the state dict."""
    state = nn.Linear(2, 2).state_dict()
    nn.Linear(2, 2).load_state_dict(state, assign=True)
    assert "assign_to_params_buffers" in state._metadata[""]
    torch.save(state, tmp_path / "weights.pth")
    check_weights_file(tmp_path / "weights.pth")


@pytest.mark.parametrize("archive", [True, False])
def test_what_training_saves(archive, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    values = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": torch.optim.lr_scheduler.MultiStepLR(optimizer, [3]).state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
        "numbers": [np.float64(0.5), np.uint16(3), 1 << 70, -0.5, None, True, b"bytes", "text", {1, 2}, (1, (2,))],
        "arrays": [
            np.arange(1000.0),
            np.zeros((0, 4), np.uint8),
            np.asfortranarray(np.ones((2, 3))),
            np.zeros(9, ">i4"),
        ],
        "tensors": [torch.arange(10)[2:5], torch.zeros(3, 4).t(), torch.zeros(0), torch.tensor(1 + 2j)],
        "others": [nn.Parameter(torch.ones(2)), torch.Size([1, 2]), torch.device("cpu"), torch.float16],
        "generator": torch.get_rng_state(),
    }
    if archive:
        values["new types"] = [torch.zeros(3, dtype=torch.uint16)]
    torch.save(values, tmp_path / "x.pth", _use_new_zipfile_serialization=archive)
    check_weights_file(tmp_path / "x.pth")


def test_weights_of_the_backbone_are_checked_too(make_pretrain_cfg, tmp_path):
    save(tmp_path / "x.pth", HOSTILE["memory"][0])
    with pytest.raises(ConfigError, match=r"PRETRAIN_PATH: .*x.pth can't be read safely as weights .*bytearray"):
        build_model(make_pretrain_cfg(str(tmp_path / "x.pth")))


@pytest.fixture
def make_pretrain_cfg():
    from fastreid_ext.config import get_cfg

    def make(path):
        cfg = get_cfg()
        cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", path])
        cfg.MODEL.DEVICE = "cpu"
        return cfg

    return make
