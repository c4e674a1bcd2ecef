"""Checkpoints load without full pickle, those of the host's model zoo among them."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from crafted_weights import piece, save_instructions
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer

from fastreid_ext.compat.checkpoint import with_present_names


class Payload:
    """What an attacker's file would call."""

    def __reduce__(self):
        return (print, ("executed",))


@pytest.fixture
def linear():
    return torch.nn.Linear(2, 2)


def test_numpy_values_load(linear, tmp_path):
    path = str(tmp_path / "numpy.pth")
    extra = {
        "metric": np.float64(0.5),
        "rank1": np.float32(0.25),
        "epoch": np.int64(3),
        "flag": np.bool_(True),
        "curve": np.arange(3.0),
        "half": np.ones(2, np.float16),
    }
    weights = {key: value.numpy() for key, value in linear.state_dict().items()}
    torch.save({"model": weights, **extra}, path)
    loaded = Checkpointer(torch.nn.Linear(2, 2)).load(path)
    for key, value in extra.items():
        np.testing.assert_array_equal(loaded[key], value)


def test_numpy_1_names_load(tmp_path):
    """Files of NumPy 1 name numpy.core, those of NumPy 2 numpy._core."""
    path = tmp_path / "names.pth"
    torch.save({"model": {}, "metric": np.float64(0.5)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    other = content.replace(new, old) if new in content else content.replace(old, new)
    assert other != content
    path.write_bytes(other)
    assert Checkpointer(torch.nn.Linear(2, 2))._load_file(str(path))["metric"] == 0.5


@pytest.mark.parametrize("payload", [Payload(), np.array([Payload()], dtype=object)], ids=["call", "object-array"])
def test_code_is_never_loaded(linear, tmp_path, capsys, payload):
    path = str(tmp_path / "evil.pth")
    torch.save({"model": linear.state_dict(), "metric": payload}, path)
    with pytest.raises(pickle.UnpicklingError, match="evil.pth is damaged or holds more than tensors") as error:
        Checkpointer(linear).load(path)
    assert "executed" not in capsys.readouterr().out
    assert "weights_only" not in str(error.value) and "trust" not in str(error.value)


def test_model_zoo_layout(host_cfg, r18, tmp_path):
    """As the host's published files: weights in "model", a head of another size, optimiser, epoch, metric."""
    cfg = host_cfg(overrides={**r18, "MODEL.HEADS.NUM_CLASSES": 8})
    torch.manual_seed(0)
    model, trained = build_model(cfg), build_model(cfg)
    weights = OrderedDict(trained.state_dict())
    weights["heads.weight"] = torch.zeros(751, 512)  # Market1501's classes
    weights["heads.classifier.weight"] = torch.zeros(751, 512)  # FastReID before 1.0
    weights["pixel_mean"] = torch.zeros(1, 3, 1, 1)  # a buffer that was saved once
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    path = str(tmp_path / "market_bot_R18.pth")
    zoo = {
        "model": OrderedDict((f"module.{key}", value) for key, value in weights.items()),
        "optimizer": optimizer.state_dict(),
        "lr_sched": torch.optim.lr_scheduler.MultiStepLR(optimizer, [40, 90]).state_dict(),
        "epoch": 119,
        "metric": np.float64(90.2),
    }
    torch.save(zoo, path)

    before = model.heads.weight.detach().clone()
    rest = Checkpointer(model).load(path)

    assert rest["epoch"] == 119 and rest["metric"] == 90.2
    assert torch.equal(model.heads.weight, before)  # another number of classes: left as it was
    for key, value in trained.state_dict().items():
        if key != "heads.weight":
            assert torch.equal(model.state_dict()[key], value), key


# ---- hostile NumPy values -------------------------------------------------------------------------------------------


def array_pickle(shape, dtype, data, kind="numpy.ndarray"):
    """Protocol 2: {"model": _reconstruct(kind, (4,), "f8")}, the array built of (1, shape, dtype, False, data)."""
    module, _, attribute = kind.rpartition(".")
    made = (
        f"cnumpy.core.multiarray\n_reconstruct\nc{module}\n{attribute}\n".encode()
        + piece((4,))
        + piece("f8")
        + b"\x87R"
    )
    typed = b"cnumpy\ndtype\n" + piece(dtype) + b"\x85R"
    return b"\x80\x02}" + piece("model") + made + b"(K\x01" + piece(shape) + typed + b"\x89" + data + b"tbs."


NUMBERS = piece(bytes(range(16)))
HOSTILE = {
    "objects and a negative dimension": array_pickle((-1,), "O", piece([])),
    "objects": array_pickle((1,), "O", piece([None])),
    "a negative dimension": array_pickle((-2,), "f8", NUMBERS),
    "two negative dimensions": array_pickle((-1, -2), "f8", NUMBERS),
    "more than there is": array_pickle((3,), "f8", NUMBERS),
    "less than there is": array_pickle((1,), "f8", NUMBERS),
    "a product beyond 64 bits": array_pickle((2**33, 2**33), "f8", NUMBERS),
    "a shape of no number": array_pickle((1.0, 2), "f8", NUMBERS),
    "a bool in the shape": array_pickle((True, 2), "f8", NUMBERS),
    "texts": array_pickle((2,), "S8", NUMBERS),
    "structures": array_pickle((2,), "V8", NUMBERS),
    "dates": array_pickle((2,), "M8", NUMBERS),
    "no bytes": array_pickle((2,), "f8", piece(5)),
    "another class": array_pickle((2,), "f8", NUMBERS, kind="numpy.matrix"),
    "another stand-in": array_pickle((2,), "f8", NUMBERS, kind="numpy.dtype"),
    "many dimensions": array_pickle((1,) * 40 + (2,), "f8", NUMBERS),
    "an empty stand-in": b"\x80\x02}X\x05\x00\x00\x00modelcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    b"K\x04\x85X\x02\x00\x00\x00f8\x87Rs.",
    "a class alone": b"\x80\x02}X\x05\x00\x00\x00modelcnumpy\nndarray\ns.",
    "a type alone": b"\x80\x02}X\x05\x00\x00\x00modelcnumpy\ndtype\nX\x02\x00\x00\x00f8\x85Rs.",
    "an array by its class": b"\x80\x02}X\x05\x00\x00\x00modelcnumpy\nndarray\nK\x04\x85Rs.",
    "a scalar of too few bytes": b"\x80\x02}X\x05\x00\x00\x00modelcnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n"
    b"X\x02\x00\x00\x00f8\x85RK\x05\x86Rs.",
    "depth": b"\x80\x02}X\x05\x00\x00\x00model" + b"]" * 100_000 + b"a" * 99_999 + b"s.",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_arrays_are_refused_before_numpy_is_asked(what, linear, tmp_path):
    path = tmp_path / "hostile.pth"
    save_instructions(path, HOSTILE[what])
    with pytest.raises(pickle.UnpicklingError, match="hostile.pth is damaged or holds more than"):
        Checkpointer(linear)._load_file(str(path))


def test_an_array_by_the_same_pickle(linear, tmp_path):
    """The hostile ones differ from this one in one respect each."""
    save_instructions(tmp_path / "good.pth", array_pickle((2, 1), "f8", NUMBERS))
    array = Checkpointer(linear)._load_file(str(tmp_path / "good.pth"))["model"]
    assert isinstance(array, np.ndarray) and array.dtype == np.float64 and array.shape == (2, 1)
    assert array.tobytes() == bytes(range(16))
    array += 1  # its own memory, which may be written to


def test_arrays_of_every_kind_and_depth(linear, tmp_path):
    shared = np.arange(3)
    values = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 4), np.uint8),
        "no dimension": np.array(2.5),
        "in a tuple": (shared, [shared, {"deep": shared}]),
    }
    torch.save({"model": {}, **values}, tmp_path / "arrays.pth")
    loaded = Checkpointer(linear)._load_file(str(tmp_path / "arrays.pth"))
    for key in ("fortran", "big endian", "empty", "no dimension"):
        np.testing.assert_array_equal(loaded[key], values[key])
        assert loaded[key].shape == values[key].shape
    (first, (second, deep)) = loaded["in a tuple"]
    assert all(np.array_equal(array, shared) for array in (first, second, deep["deep"]))


def test_a_list_in_itself(linear, tmp_path):
    save_instructions(tmp_path / "loop.pth", b"\x80\x02}X\x05\x00\x00\x00model]q\x00h\x00as.")
    (inner,) = Checkpointer(linear)._load_file(str(tmp_path / "loop.pth"))["model"]
    assert inner[0] is inner


@pytest.mark.timeout(60)
def test_a_tuple_twice_in_the_next_and_so_on(linear, tmp_path):
    """A few bytes each; gone through one by one they would be 2^60 values."""
    value = (np.float64(0.5),)
    for _ in range(60):
        value = (value, value)
    torch.save({"model": {}, "values": value}, tmp_path / "doubled.pth")
    loaded = Checkpointer(linear)._load_file(str(tmp_path / "doubled.pth"))["values"]
    for _ in range(60):
        assert loaded[0] is loaded[1]
        loaded = loaded[0]
    assert loaded == (0.5,)


def test_the_neck_and_the_classifier_of_the_model_zoo(host_cfg, r18, tmp_path):
    """Its files are older than the names: the neck would stay untrained, with a line in the log."""
    model = build_model(host_cfg(overrides={**r18, "MODEL.HEADS.NUM_CLASSES": 3}))
    state = {key: torch.rand(value.shape).to(value.dtype) for key, value in model.state_dict().items()}
    earlier = {"heads.bottleneck.0.": "heads.bnneck.", "heads.weight": "heads.classifier.weight"}
    published = {}
    for key, value in state.items():
        start = next((name for name in earlier if key.startswith(name)), "")
        published[f"module.{earlier.get(start, '')}{key.removeprefix(start)}"] = value
    assert "module.heads.bnneck.running_var" in published and "module.heads.bottleneck.0.weight" not in published
    torch.save({"model": {**published, "module.pixel_mean": torch.zeros(1, 3, 1, 1)}}, tmp_path / "bot.pth")
    Checkpointer(model).load(str(tmp_path / "bot.pth"))
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_no_name_is_given_twice():
    """A head of another form has a neck behind a norm: which one is the model's can't be told."""
    own = ["heads.bottleneck.0.weight", "heads.bottleneck.1.weight"]
    state = {"heads.bottleneck.0.weight": 1, "heads.bnneck.weight": 2, "b1_head.bnneck.weight": 3}
    assert with_present_names(state, own) == state
