"""Light imports and the healing of FastReID, whatever is imported first; each case in a process of its own."""

import os
import subprocess
import sys

import pytest

import fastreid_ext

# Before the code of a case: packages that are said not to be installed.
BLOCK = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Blocker())
"""

HEALED = """
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.solver import build_optimizer
import fastreid_ext.compat
assert build_optimizer.__wrapped__.__module__ == "fastreid.solver.build"
assert {o.status for o in fastreid_ext.compat.report()} <= {"applied", "not needed"} and fastreid_ext.compat.report()
for registry, name in (
    (DATASET_REGISTRY, "OccludedDuke"), (BACKBONE_REGISTRY, "build_res2net_backbone"),
    (REID_HEADS_REGISTRY, "MaskSeparatedHead"), (META_ARCH_REGISTRY, "DeepMiner"), (META_ARCH_REGISTRY, "MGRe"),
):
    assert registry.get(name).__module__.startswith("fastreid_ext."), name
"""


@pytest.fixture
def python(subprocess_env, tmp_path):
    """Run code as a script in a fresh interpreter; returns the finished process."""

    def run(code, blocked=(), name="script.py"):
        script = tmp_path / name
        script.write_text((BLOCK.format(blocked=set(blocked)) if blocked else "") + code, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", str(script)],
            env=subprocess_env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def succeeds(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


HEAVY = ("fastreid", "torchvision", "faiss", "sklearn", "matplotlib", "tensorboard", "tqdm", "yacs", "h5py", "gdown")


@pytest.mark.parametrize(
    ("module", "with_it"),
    [
        ("fastreid_ext", ""),
        ("fastreid_ext.losses", "torch"),
        ("fastreid_ext.layers", "torch"),
        ("fastreid_ext.data.synthetic", "cv2, numpy, numpy.random"),
    ],
)
def test_light_imports_load_nothing_else(module, with_it, python):
    """Also where FastReID and what it needs are not installed."""
    code = f"""
import importlib, sys
{f"import {with_it}" if with_it else ""}
before = set(sys.modules)
importlib.import_module({module!r})
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
print(*sorted(loaded - {{"__mp_main__"}}))  # multiprocessing's name for the script
"""
    assert succeeds(python(code, blocked=HEAVY)) == ["fastreid_ext"]


ORDERS = {
    "ours first": "import fastreid_ext\nimport fastreid",
    "FastReID first": "import fastreid\nimport fastreid_ext",
    "part of FastReID first": "from fastreid.config import get_cfg\nimport fastreid_ext",
    "only a paper": "import fastreid_ext.deepminer",
    "only a shared base class": "from fastreid_ext.modeling.branched import BranchedReID",
    "only a data set": "from fastreid_ext.data.datasets.synthreid import SynthReIDTiny",
    "only an area of compat": "import fastreid_ext.compat.distributed",
    "a lazy name": "from fastreid_ext import get_cfg\nassert get_cfg().MODEL.DEEPMINER",
    "twice": "import fastreid_ext, importlib, fastreid\nimportlib.reload(fastreid_ext)\nimportlib.reload(fastreid)",
    "healed by hand": "from fastreid_ext.compat import heal\nheal()\nheal()",
}


@pytest.mark.parametrize("order", ORDERS)
def test_healed_and_registered_in_any_order(order, forked):
    forked(ORDERS[order] + HEALED)


# Threads that import at the same moment, each something else; whoever is through has a healed FastReID.
THREADS = """
import faulthandler, sys, threading
import fastreid_ext

faulthandler.dump_traceback_later(60, exit=True)
sys.setswitchinterval(1e-5)
imports, healed = {imports!r}, {healed!r}
start, failed = threading.Barrier(len(imports)), []


def work(statement):
    start.wait()
    try:
        exec(statement, {{}})
        exec(healed, {{}})
    except BaseException as error:
        failed.append(f"{{statement}}: {{error!r}}")


threads = [threading.Thread(target=work, args=(statement,)) for statement in imports]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
print("healed")
"""
TOGETHER = {
    "FastReID and a paper": ["import fastreid", "import fastreid_ext.deepminer"],
    "parts of both": [
        "from fastreid.config import get_cfg",
        "from fastreid_ext import get_cfg; get_cfg().MODEL.DEEPMINER",
        "import fastreid.engine.launch",
        "import importlib; importlib.import_module('fastreid_ext.modeling.branched')",
        "from fastreid_ext.data.datasets.synthreid import SynthReIDTiny",
    ],
}


@pytest.mark.parametrize("together", TOGETHER)
def test_threads_that_import_at_once(together, forked):
    assert forked(THREADS.format(imports=TOGETHER[together], healed=HEALED)) == ["healed"]


# The second thread asks for FastReID when that is healed and the first has ours still to register.
BETWEEN = """
import faulthandler, sys, threading, time
import fastreid_ext

faulthandler.dump_traceback_later(60, exit=True)
hook = next(each for each in sys.meta_path if type(each).__name__ == "Hook")
imports, failed, now = {imports!r}, [], threading.Event()


class Watched(type(hook)):
    @property
    def due(self):
        return self.__dict__["due"]

    @due.setter
    def due(self, value):
        self.__dict__["due"] = value
        if value:
            now.set()
            time.sleep(0.2)  # the other thread would be through, if it did not wait


hook.__class__ = Watched


def second():
    try:
        assert now.wait(50)
        for statement in imports:
            exec(statement, {{}})
            assert not hook.due, statement
            imported.append(statement)
        from fastreid.data.datasets import DATASET_REGISTRY
        DATASET_REGISTRY.get("OccludedDuke")
    except BaseException as error:
        failed.append(repr(error))


imported = []
thread = threading.Thread(target=second)
thread.start()
import fastreid_ext.deepminer
thread.join()
assert imported == imports and not failed, failed
# Whoever asks later does not wait.
waits = [
    name for name, module in list(sys.modules.items())
    if name.partition(".")[0] in ("fastreid", "fastreid_ext") and getattr(module.__spec__, "_initializing", False)
]
assert not waits, waits
print("healed")
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import fastreid",
        "from fastreid.config import get_cfg",
        "import fastreid_ext.compat.distributed",
        "import importlib; importlib.import_module('fastreid')",
    ],
)
def test_a_thread_that_imports_what_another_has_not_registered_yet(statement, forked):
    assert forked(BETWEEN.format(imports=[statement])) == ["healed"]


FORK = """
import os, sys
import fastreid_ext


class ForksWithinAnImport:
    def find_spec(self, name, path=None, target=None):
        if name == "fastreid.engine" and not os.fork():
            self.forked = True  # the child goes on importing


sys.meta_path.insert(1, ForksWithinAnImport())
import fastreid
if getattr(sys.meta_path[1], "forked", False):
    from fastreid_ext import deepminer
    os._exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
print("healed")
"""


def test_a_fork_within_an_import(forked):
    assert forked(FORK) == ["healed"]


def test_a_module_that_was_loaded_shows_its_own_loader(forked):
    """Tools that read sources ask the loader of a module."""
    code = """
import inspect, fastreid_ext, fastreid
from fastreid_ext import deepminer
for module in (fastreid, deepminer):
    assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == "SourceFileLoader"
    assert inspect.getsource(module)
import importlib.util
assert importlib.util.find_spec("fastreid_ext.losses").loader.get_source("fastreid_ext.losses")
"""
    forked(code)


SPAWN = """
import multiprocessing
import fastreid_ext


def child():
    assert "fastreid" not in __import__("sys").modules
    exec({healed!r})
    print("healed")


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
    raise SystemExit(process.exitcode)
"""


@pytest.mark.slow
def test_a_spawned_child_is_healed(python):
    assert succeeds(python(SPAWN.format(healed=HEALED))) == ["healed"]


def test_a_name_that_does_not_exist(python):
    done = python("import fastreid_ext\nfastreid_ext.nothing", blocked=HEAVY)
    assert done.stderr.strip().endswith("AttributeError: module 'fastreid_ext' has no attribute 'nothing'")


def test_who_looks_whether_fastreid_is_there_is_told_in_the_usual_way(python):
    code = """
import fastreid_ext
try:
    import fastreid
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert succeeds(python(code, blocked=HEAVY)) == ["fastreid"]


def test_a_folder_that_is_called_fastreid_by_chance(forked, tmp_path):
    (tmp_path / "fastreid").mkdir()
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
sys.path[:] = [path for path in sys.path if "site-packages" not in path]
import fastreid_ext
try:
    fastreid_ext.get_cfg
except ImportError as error:
    print(error)
"""
    said = " ".join(forked(code))
    assert "which is not installed (the one found has no fastreid.config): run `pip install" in said


# A package that FastReID needs appears after two tries; the third one heals all of it.
RETRY = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "fastreid.layers":
            raise ModuleNotFoundError("No module named 'ninja'", name="ninja")


sys.meta_path.insert(0, Blocker())
import fastreid_ext.losses

losses = sys.modules["fastreid_ext.losses"]
for name in ("import fastreid", "import fastreid_ext.mgre"):
    try:
        exec(name)
    except ImportError as error:
        print(str(error).split()[-1])
    assert not [name for name in sys.modules if name.partition(".")[0] == "fastreid"]
    assert "mgre" not in vars(fastreid_ext)
    assert fastreid_ext.compat.report() == []
assert sys.modules["fastreid_ext.losses"] is losses
del sys.meta_path[next(i for i, finder in enumerate(sys.meta_path) if type(finder).__name__ == "Blocker")]
"""


def test_a_failed_healing_leaves_nothing_behind(forked):
    assert forked(RETRY + HEALED) == ["ninja`.", "ninja`."]


# A paper of ours that fails to import, once.
BROKEN_PAPER = """
import sys
import fastreid_ext

class Once:
    def find_spec(self, name, path=None, target=None):
        if name == "fastreid_ext.occluded.backbone":
            sys.meta_path.remove(self)
            raise RuntimeError("broken")


sys.meta_path.insert(1, Once())
try:
    {first}
except RuntimeError as error:
    print(error)
assert not [name for name in sys.modules if name.partition(".")[0] == "fastreid"]
assert "fastreid_ext.deepminer.meta_arch" not in sys.modules
"""


@pytest.mark.parametrize("first", ["import fastreid", "import fastreid_ext.modeling.heads"])
def test_a_failed_registration_leaves_nothing_behind(first, forked):
    assert forked(BROKEN_PAPER.format(first=first) + HEALED) == ["broken"]


def test_the_import_is_quick(subprocess_env):
    code = "import time; t = time.process_time(); import fastreid_ext; print(time.process_time() - t)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], env=subprocess_env, cwd=os.sep, capture_output=True).stdout)
        for _ in range(2)
    ]
    assert min(times) < 0.5


def test_what_a_fork_lacks_is_left_out_with_a_warning(monkeypatch):
    """A fork without a module of FastReID costs the data set that extends it, and nothing else."""
    asked = []

    def import_module(name):
        asked.append(name)
        if name.endswith("cuhk03"):
            raise ModuleNotFoundError("there is none", name="fastreid.data.datasets.cuhk03")
        if name.endswith("opreid"):
            raise ImportError("a bug of ours", name="fastreid_ext.data.opread")

    monkeypatch.setattr(fastreid_ext.importlib, "import_module", import_module)
    with (
        pytest.warns(
            RuntimeWarning, match=r"data\.datasets\.cuhk03 is left out, because this FastReID lacks"
        ) as caught,
        pytest.raises(ImportError, match="a bug of ours"),
    ):
        fastreid_ext._register()
    assert len(caught) == 1 and caught[0].filename == __file__
    assert asked[-1] == "fastreid_ext.data.datasets.opreid"
