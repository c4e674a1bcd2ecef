"""Forked processes: what a parent's object with threads of its own does to them."""

import gc
import multiprocessing
import os
import sys
import weakref

import pytest

from fastreid_ext.onnx_files import open_session
from fastreid_ext.processes import keep_in_forks

# Where there is no fork there is not this fault either: workers are new processes.
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")  # Windows
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class Cycle:
    """Garbage that only a collection finds."""

    def __init__(self, held):
        self.held, self.itself = held, self


@pytest.fixture
def file(tmp_path):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("B",))
    made = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("B",))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "graph", [value], [made])
    path = tmp_path / "relu.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)
    return path


def ends_after(work):
    """Whether a forked process is through with some work, in time."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(20)
    ended = process.exitcode == 0
    process.kill()
    process.join()
    return ended


def test_a_session_that_is_garbage_when_a_worker_is_forked(file):
    gc.disable()
    try:
        Cycle(open_session(file, threads=4))
        assert ends_after(gc.collect)
    finally:
        gc.enable()


def test_a_session_that_a_worker_drops(file):
    held = [open_session(file, threads=4)]
    assert ends_after(held.clear)


def test_a_session_of_somebody_else_that_is_garbage(file):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 4
    gc.disable()
    try:
        Cycle(onnxruntime.InferenceSession(file, options))
        assert ends_after(gc.collect)
    finally:
        gc.enable()


def test_the_process_itself_destroys_it(file):
    session = open_session(file, threads=4)
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None


def test_what_was_destroyed_before_a_fork_is_not_kept():
    class Thing:
        pass

    thing = Thing()
    keep_in_forks(thing)
    assert ends_after(lambda: sys.exit(0 if sum(isinstance(t, Thing) for t in _kept()) == 1 else 1))
    del thing
    assert ends_after(lambda: sys.exit(0 if not any(isinstance(t, Thing) for t in _kept()) else 1))


def _kept():
    from fastreid_ext import processes

    return processes._kept
