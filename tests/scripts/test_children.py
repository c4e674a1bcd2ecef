"""What a script starts: processes that import it anew, ranks, and FastReID within them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm

import fastreid_ext

ROOT = Path(fastreid_ext.__file__).parents[1]

# Every process says whether FastReID would be healed in it before any line of the script, and what it takes itself for.
SPAWNING = """
import sys

ready = [type(finder).__name__ for finder in sys.meta_path[:2]]
named, module = __name__, __spec__
sys.path.append('.')

import multiprocessing

method = sys.argv[1]


class Thing:
    def work(self, deeper):
        main = sys.modules['__main__']
        print(*ready, named, module, Path(__file__).name, sys.argv[1:], type(self) is main.Thing, flush=True)
        if deeper:
            start(deeper - 1)


def start(deeper):
    process = multiprocessing.get_context(method).Process(target=Thing().work, args=(deeper,))
    process.start()
    process.join()
    assert process.exitcode == 0


from pathlib import Path

if __name__ == '__main__':
    print(*ready, named, flush=True)
    start(1)
"""


def env(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_every_process_is_prepared(method, tmp_path):
    if method == "forkserver" and sys.platform == "win32":
        pytest.skip("Windows spawns alone")
    (tmp_path / "script.py").write_text(SPAWNING)
    command = [sys.executable, "-m", "fastreid_ext", "./script.py", method]
    done = subprocess.run(command, env=env(), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, *children = done.stdout.splitlines()
    assert first == "Hook CheckoutFinder __main__"
    assert children == [f"Hook CheckoutFinder __mp_main__ None script.py ['{method}'] True"] * 2


def test_children_where_only_the_working_directory_has_this_package(tmp_path):
    """A script's children have the script's folder on their path in its place."""
    (tmp_path / "script.py").write_text(SPAWNING)
    command = [sys.executable, "-S", "-m", "fastreid_ext", str(tmp_path / "script.py"), "spawn"]  # -S: none installed
    done = subprocess.run(command, env=env(PYTHONPATH=""), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count("Hook CheckoutFinder") == 3, done.stderr


# What children give back is of the script, which they call __mp_main__.
POOL = """
import multiprocessing


class Thing:
    pass


def made(_):
    return Thing()


if __name__ == '__main__':
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        (found,) = pool.map_async(made, [0]).get(timeout=30)
    print(type(found) is Thing)
"""


def test_children_give_back_what_the_script_defines(tmp_path):
    (tmp_path / "script.py").write_text(POOL)
    command = [sys.executable, "-m", "fastreid_ext", "./script.py"]
    done = subprocess.run(command, env=env(), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


# As FastReID's tools/train_net.py is made: all of FastReID is imported by the module that spawned ranks import again.
RANKS = """
import argparse
import sys

sys.path.append('.')

from fastreid.config import get_cfg
from fastreid.engine import default_argument_parser, launch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils import comm


def main(args):
    from fastreid.solver.build import build_optimizer

    cfg = get_cfg()
    cfg.merge_from_list(args.opts)
    healed = hasattr(build_optimizer, '__wrapped__')
    ranks = comm.all_gather((comm.get_rank(), __name__, healed, cfg.MODEL.DEEPMINER.LOCAL_STRIPES))
    if comm.is_main_process():
        print(ranks, META_ARCH_REGISTRY.get('MGRe').__module__, comm.get_world_size())


if __name__ == '__main__':
    args = default_argument_parser().parse_args()
    launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
"""
OPTIONS = ("MODEL.DEEPMINER.LOCAL_STRIPES", "2", "MODEL.DEVICE", "cpu")


@pytest.fixture
def ranks_script(tmp_path):
    (tmp_path / "tools").mkdir()
    path = tmp_path / "tools" / "ranks.py"
    path.write_text(RANKS)
    return path


def said_by(ranks, name):
    told = [(rank, name, True, 2) for rank in range(ranks)]
    return f"{told} fastreid_ext.mgre.meta_arch {ranks}"


def test_a_script_with_all_models_and_keys(ranks_script, tmp_path):
    command = ["-m", "fastreid_ext", ranks_script, "--num-gpus", "0", *OPTIONS]
    done = warm.run(command, env(), tmp_path)
    assert done.stdout.strip() == said_by(1, "__main__"), done.stderr


def test_in_the_environment_of_torchrun(ranks_script, tmp_path):
    done = warm.torchrun(["-m", "fastreid_ext", ranks_script, *OPTIONS], env(), tmp_path)
    assert done.returncode == 0 and said_by(2, "__main__") in done.stdout, done.stderr


@pytest.mark.slow
def test_ranks_that_launch_spawns(ranks_script, tmp_path):
    """They import the script, and so FastReID, before they are given anything of ours."""
    command = ["-m", "fastreid_ext", ranks_script, "--num-gpus", "2", "--dist-url", "auto", *OPTIONS]
    done = warm.run(command, env(), tmp_path)
    assert done.returncode == 0 and said_by(2, "__mp_main__") in done.stdout, done.stderr


WRONG_ONE = """
import runpy, sys

sys.argv = ["fastreid_ext", {script!r}]
runpy.run_module("fastreid_ext", run_name="__main__", alter_sys=True)
"""


def test_a_script_whose_own_checkout_is_not_found(tmp_path, exit_of):
    (tmp_path / "checkout" / "fastreid").mkdir(parents=True)
    (tmp_path / "checkout" / "fastreid" / "__init__.py").touch()
    (tmp_path / "checkout" / "tools").mkdir()
    script = tmp_path / "checkout" / "tools" / "script.py"
    script.write_text("import sys\nsys.path.append('.')\nimport fastreid\nprint('went on')")
    status, printed = exit_of(WRONG_ONE.format(script=str(script)))
    assert status == 1 and "went on" not in printed  # the warning is an error there
    assert f"{script} belongs to the FastReID in {tmp_path}/checkout, but the one in" in printed
    assert f"start it in {tmp_path}/checkout, or put that folder on PYTHONPATH" in printed
