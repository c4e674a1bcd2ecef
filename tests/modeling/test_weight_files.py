"""Files of weights: whatever training saves passes, and what asks torch for too much does not."""

import pickle
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from crafted_weights import piece, save_instructions
from torch import nn

from fastreid_ext.engine.model import build_model
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.weight_files import check_weights_file


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
    save_instructions(tmp_path / "x.pth", data)
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


def named(name, *arguments):
    """The instructions that call a global."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(arguments) + b"tR"


def storage(count=4, kind="FloatStorage", device="cpu"):
    name = f"ctorch\n{kind}\n" if kind != "UntypedStorage" else f"ctorch.storage\n{kind}\n"
    return b"(" + piece("storage") + name.encode() + piece("0") + piece(device) + piece(count) + b"tQ"


NO_HOOKS = named("collections OrderedDict")


def tensor(made="v2", given=None, offset=0, size=(4,), stride=(1,), flag=False, hooks=NO_HOOKS, more=b""):
    parts = (given or storage(), piece(offset), piece(size), piece(stride), piece(flag), hooks, more)
    return named(f"torch._utils _rebuild_tensor_{made}", *parts)


WIDE = b"ctorch\nfloat64\n"
PARTS = {
    "no memory": (tensor(given=storage(device="meta")), "a storage of an unknown kind"),
    "a negative length": (tensor(given=storage(-4)), "a storage of an unknown kind"),
    "another kind of storage": (tensor(given=storage(kind="QUInt8Storage")), "the name 'torch.QUInt8Storage'"),
    "a stride beyond": (tensor(size=(2,), stride=(9,)), "beyond its storage of 4 elements"),
    "an offset beyond": (tensor(offset=3, size=(2,)), "beyond its storage of 4 elements"),
    "a negative offset": (tensor(offset=-1), "not made of whole numbers from 0 on"),
    "two sides with one stride": (tensor(size=(2, 2)), "not made of whole numbers from 0 on"),
    "a wider type": (tensor("v3", storage(16, "UntypedStorage"), more=WIDE), "beyond its storage of 2 elements"),
    "no type": (tensor("v3", storage(16, "UntypedStorage"), more=piece("float64")), "a tensor of an unknown type"),
    "hooks": (tensor(hooks=piece({"a": 1})), "a tensor with hooks"),
    "a flag that is none": (tensor(flag=1), "a tensor with hooks"),
    "hooks of a parameter": (
        named("torch._utils _rebuild_parameter", tensor(), piece(True), piece({"a": 1})),
        "a parameter that is made in another way",
    ),
    "a parameter of a text": (
        named("torch._utils _rebuild_parameter", piece("a"), piece(True), NO_HOOKS),
        "a parameter that is made in another way",
    ),
    "a counter of a list": (named("collections Counter", piece([1])), "a counter of something else"),
    "an ordered dict of texts": (named("collections OrderedDict", piece(["ab"])), "an ordered dict of something else"),
    "an ordered key that doubles": (
        named("collections OrderedDict", b"]](" + doubled(60) + piece(1) + b"ea"),
        "a key that is no plain value",
    ),
    "a set of what doubles": (named("__builtin__ set", b"]" + doubled(60) + b"a"), "a key that is no plain value"),
    "a set of a number": (named("__builtin__ set", piece(1)), "a set of something else"),
    "a state of a list": (b"]" + piece({"a": 1}) + b"b", "a state of something that has none"),
    "a version that is none": (
        NO_HOOKS + piece({"_metadata": {"": {"version": "1"}}}) + b"b",
        "a version of a module that is no number",
    ),
    "metadata that is no dict": (NO_HOOKS + piece({"_metadata": 1}) + b"b", "an attribute of a state dict"),
    "a reference to nothing": (piece("storage") + b"Q", "a reference to something that is no storage"),
}


@pytest.mark.parametrize("what", PARTS)
def test_parts_that_no_weights_have(what, tmp_path):
    def check(value):
        save_instructions(tmp_path / "x.pth", program(value))
        with zipfile.ZipFile(tmp_path / "x.pth", "a") as archive:
            archive.writestr("x/data/0", bytes(16))
        check_weights_file(tmp_path / "x.pth")

    for whole in (tensor(), tensor("v3", storage(16, "UntypedStorage"), size=(2,), more=WIDE)):
        check(whole)
    value, said = PARTS[what]
    with pytest.raises(pickle.UnpicklingError, match=said):
        check(value)


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
    for content in (bytes(1 << 20), np.random.RandomState(0).bytes(1000)):  # one that grows, one that does not
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/data.pkl", content)
        with pytest.raises(pickle.UnpicklingError, match="packed"):
            check_weights_file(path)
    torch.save({"a": torch.zeros(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y/version", b"3")
    with pytest.raises(pickle.UnpicklingError, match="several folders"):
        check_weights_file(path)
    torch.save({"a": torch.zeros(3)}, path)
    path.write_bytes(b"PK\x03\x04 before the archive" + path.read_bytes())
    with pytest.raises(pickle.UnpicklingError, match="whose members overlap"):
        check_weights_file(path)


def test_an_archive_whose_parts_overlap(tmp_path):
    """Two names of the same bytes, which a small file could have by the thousand."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(2):
            archive.writestr(f"x/data/{number}", bytes(1000))
        archive.infolist()[1].header_offset = archive.infolist()[0].header_offset
        archive.fp.truncate(archive.start_dir // 2)
        archive.fp.seek(0, 2)
        archive.start_dir = archive.fp.tell()
    with pytest.raises(pickle.UnpicklingError, match="whose members overlap"):
        check_weights_file(path)


def legacy(magic=0x1950A86A20F9469CFC6C, value=b"", keys=("0",), data=bytes(16)):
    """A file of torch before 1.6: four pickles, the keys of the storages, and these."""
    parts = [pickle.dumps(part, 2) for part in (magic, 1001, {"little_endian": True})]
    return b"".join([*parts, program(value), pickle.dumps(list(keys), 2), data])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"magic": 5}, "neither an archive of torch nor a file of torch before 1.6"),
        ({"value": b"(" + tensor() + tensor(given=storage(2), size=(2,)) + b"t"}, "a storage of two sizes"),
        ({"keys": ("0", "1")}, "a list of storages that are not those of the tensors"),
        ({"data": bytes(15)}, "storages that are larger than the file"),
    ],
)
def test_files_before_torch_1_6(changed, said, tmp_path):
    whole = {"value": tensor(), "data": bytes(8 + 16)}
    (tmp_path / "x.pth").write_bytes(legacy(**whole))
    check_weights_file(tmp_path / "x.pth")
    (tmp_path / "x.pth").write_bytes(legacy(**whole | changed))
    with pytest.raises(pickle.UnpicklingError, match=said):
        check_weights_file(tmp_path / "x.pth")


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
    save_instructions(tmp_path / "x.pth", HOSTILE["memory"][0])
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


@pytest.mark.parametrize("sums", [True, False])
def test_bytes_that_changed(sums, tmp_path):
    """A disk or a download turned one bit round; torch would load another number."""
    file = tmp_path / "x.pth"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(sums)
    try:
        torch.save({"model": {"weight": torch.full((1000,), 0.5)}}, file)
    finally:
        torch.serialization.set_crc32_options(before)
    check_weights_file(file)
    data = bytearray(file.read_bytes())
    data[data.index(torch.full((100,), 0.5).numpy().tobytes()) + 3] ^= 0x40
    file.write_bytes(data)
    if not sums:  # nobody can know
        check_weights_file(file)
        return
    with pytest.raises(pickle.UnpicklingError, match="its bytes are not those that were written, in 'x/data/0'"):
        check_weights_file(file)
