"""What every test may use: the healed host, repeatable randomness, one thread, the smallest SynthReID."""

import logging
import random
import re
import sys

import fastreid_ext  # noqa: F401  isort:skip  (heals the host, so it comes before anything that imports it)

import draws
import half
import numpy as np
import pytest
import shapes
import torch
import warm  # with it, processes of multiprocessing's forkserver start warm
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

from fastreid_ext.config import get_cfg
from fastreid_ext.data.synthetic import generate
from fastreid_ext.processes import keep_in_forks

keep_in_forks()  # tests make sessions of onnxruntime by themselves, and others fork afterwards
half.round_in_float32()
draws.repeat_draws()


def pytest_collection_modifyitems(items):
    """Files with whole runs come first: what is shared out last is short then, and no process waits for another."""
    whole_runs = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in whole_runs)


def pytest_runtest_setup(item):
    """Skip what this machine can't run, before any fixture of it is set up; the mark says why."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    linux = item.get_closest_marker("linux")
    if linux and sys.platform != "linux":
        pytest.skip(f"Linux alone: {linux.args[0]}")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tensors are small: a second thread gains little, and waiting for it on a busy machine costs tenfold."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def all_drawn(monkeypatch):
    """Every number of a large tensor is drawn by itself, see draws.py."""
    monkeypatch.setattr(draws, "LARGE", float("inf"))


@pytest.fixture
def storage():
    """The open event storage that a training forward writes into."""
    with EventStorage() as events:
        yield events


@pytest.fixture(scope="session")
def synth_root(tmp_path_factory):
    """A folder of data sets that holds SynthReID-tiny."""
    root = tmp_path_factory.mktemp("datasets")
    generate(root, size="tiny", workers=1, progress=False)
    return root


@pytest.fixture
def synth_tiny(synth_root, monkeypatch):
    """FASTREID_DATASETS names a folder with SynthReIDTiny and SynthReIDOccludedTiny."""
    monkeypatch.setenv("FASTREID_DATASETS", str(synth_root))
    return synth_root


# ---- scripts in fresh interpreters ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    nursery = warm.Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()


@pytest.fixture
def exit_of(nursery, tmp_path):
    """``exit_of(code)``: exit status and output of code that imports FastReID and us for the first time."""

    def run(code):
        script = tmp_path / "script.py"
        script.write_text(code, encoding="utf-8")
        return nursery.run(script)

    return run


@pytest.fixture
def forked(exit_of):
    """``forked(code)``: the words that such code printed; it must not fail."""

    def run(code):
        status, printed = exit_of(code)
        assert status == 0, printed
        return printed.split()

    return run


# ---- commands in this process ---------------------------------------------------------------------------------------


@pytest.fixture
def forget_logs():
    """Close what setup_logger opened, so that runs in one process do not write into each other's files."""
    yield
    from fastreid.utils import logger

    for name in ("fastreid", "fastreid_ext"):
        log = logging.getLogger(name)
        for handler in list(log.handlers):
            log.removeHandler(handler)
        log.propagate = True
    logger.setup_logger.cache_clear()
    logger._cached_log_stream.cache_clear()


@pytest.fixture
def stopped(monkeypatch):
    """``stopped(run_main, ...)``: Ctrl-C when the first epoch is written."""
    from fastreid_ext.engine import hooks

    def stop(train, *args, **kwargs):
        write = hooks.WriteEvents.after_epoch

        def after_epoch(hook):
            write(hook)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(hooks.WriteEvents, "after_epoch", after_epoch)
            with pytest.raises(SystemExit, match="130"):
                train(*args, **kwargs)

    return stop


@pytest.fixture
def sentence_of(capsys):
    """``sentence_of(status)``: the one sentence that a command, which ended with this status, stopped with."""

    def sentence(status):
        printed = capsys.readouterr()
        assert status == 1, printed.err
        assert "Traceback" not in printed.out + printed.err
        *_, start = re.finditer(r"^fastreid-ext [a-z -]+: ", printed.err, flags=re.MULTILINE)
        return printed.err[start.start() :].rstrip("\n")

    return sentence


@pytest.fixture
def fails(run_main, sentence_of):
    """``fails(...)``: the one sentence that ``run_main(...)``, which a folder's conftest has, stops with."""

    def run(*args, **kwargs):
        with pytest.raises(SystemExit) as stopped:
            run_main(*args, **kwargs)
        return sentence_of(stopped.value.code)

    return run


# ---- small models: the conftest.py of a paper says with ``small`` which one ---------------------------------------

SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.HEADS.NUM_CLASSES": 10,
}


@pytest.fixture
def make_cfg(small):
    """``make_cfg({"MODEL.MSREID.MASK": False})``: the paper's small config with overrides."""

    def make(overrides=None):
        cfg = get_cfg()
        cfg.merge_from_list([item for pair in {**SMALL, **small, **(overrides or {})}.items() for item in pair])
        return cfg

    return make


@pytest.fixture
def make_model(make_cfg):
    """``make_model({...})``: the model of :func:`make_cfg`, through the host's build_model."""
    return lambda overrides=None: build_model(make_cfg(overrides))


@pytest.fixture
def make_shape(make_cfg):
    """As make_model, without memory and in no time: for structure and for refusals."""

    def make(overrides=None):
        with shapes.OnMeta():
            return build_model(make_cfg({"MODEL.DEVICE": "meta", **(overrides or {})}))

    return make


@pytest.fixture
def batch():
    """Four images of two identities, on the 0-255 scale; the last map has four rows."""
    return {"images": torch.randint(0, 256, (4, 3, 64, 32)).float(), "targets": torch.tensor([3, 3, 9, 9])}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Write out what is no UTF-8 in a test's output, such as a file's name: xdist could not send it."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
