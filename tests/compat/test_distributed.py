"""Two ranks on a CPU, started by the host's launch or in the environment of torchrun's."""

import gc
import pickle
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import warm
from fastreid.engine import launch
from fastreid.engine.defaults import DefaultTrainer
from fastreid.utils import comm

from fastreid_ext.compat import distributed

FOLDER = Path(__file__).parent


@pytest.fixture
def alone(tmp_path):
    """A process group of one."""
    distributed.setup_process_group(0, 1, 0, init_method=f"file://{tmp_path}/store", world_size=1, rank=0)
    yield
    distributed.leave_process_group()


def test_gloo_without_cuda(alone, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("NCCL is right here")
    assert dist.get_backend() == "gloo"
    assert comm.get_local_rank() == 0 and comm.get_local_size() == 1


def test_what_ranks_send(alone):
    data = {"metric": 0.5, "feats": torch.arange(3)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch.ByteStorage is deprecated
        tensor = comm._serialize_to_tensor(data, comm._get_global_gloo_group())
    assert tensor.dtype == torch.uint8
    assert pickle.loads(tensor.cpu().numpy().tobytes())["metric"] == 0.5


def test_ddp_of_a_model_on_the_cpu(alone):
    model = sys.modules[DefaultTrainer.__module__].DistributedDataParallel(
        torch.nn.Linear(2, 2), device_ids=[0], broadcast_buffers=False
    )
    assert isinstance(model, torch.nn.parallel.DistributedDataParallel) and model.device_ids is None
    model(torch.ones(1, 2)).sum().backward()


def test_leaving_forgets_the_group(tmp_path):
    for number in range(2):
        store = f"file://{tmp_path}/store{number}"
        distributed.setup_process_group(0, 1, 0, init_method=store, world_size=1, rank=0)
        assert comm._get_global_gloo_group() is not None
        distributed.leave_process_group()
        assert comm.get_world_size() == 1 and comm.get_rank() == comm.get_local_rank() == 0


def test_a_spawned_rank_imports_this_package_first():
    """What is unpickled first in a child is imported first."""
    worker = sys.modules["fastreid.engine.launch"]._distributed_worker
    assert worker.__module__ == "fastreid_ext.compat.distributed"


@pytest.mark.linux("threads are counted in /proc")
def test_no_thread_of_the_group_outlives_it(tmp_path):
    """Also where a model that holds it is garbage in a cycle, as a trainer is."""

    def threads():
        return len(list(Path("/proc/self/task").iterdir()))

    gc.collect()
    gc.disable()
    try:
        before = threads()
        distributed.setup_process_group(0, 1, 0, init_method=f"file://{tmp_path}/store", world_size=1, rank=0)
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
        model.cycle = [model]
        comm.all_gather(1)
        comm._get_global_gloo_group()
        assert threads() > before
        del model
        distributed.leave_process_group()
        assert threads() <= before
    finally:
        gc.enable()


def test_torchrun_says_which_rank_this_is(monkeypatch):
    environment = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "WORLD_SIZE": "4"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    calls = []
    monkeypatch.setattr(distributed, "setup_process_group", lambda *args, **init: calls.append((args, init)))
    monkeypatch.setattr(distributed, "leave_process_group", lambda: calls.append("left"))
    assert launch(lambda word: word, 8, args=("result",)) == "result"
    assert calls == [((1, 2, 1), {"init_method": "env://"}), "left"]


def launched(command, env, cwd):
    """By the host's launch, whose ranks are spawned and import everything themselves."""
    return warm.run([*command, "--num-gpus", "2", "--dist-url", "auto"], env, cwd)


@pytest.mark.slow
@pytest.mark.parametrize("start", [launched, warm.torchrun])
def test_two_ranks_train_to_the_same_weights(start, tmp_path, host_cfg, r18, subprocess_env):
    overrides = {"DATALOADER.NUM_INSTANCE": 2, "DATALOADER.NUM_WORKERS": 1, "SOLVER.MAX_EPOCH": 1}
    config = tmp_path / "config.yml"
    config.write_text(host_cfg(overrides={**r18, **overrides}).dump())
    result = start([FOLDER / "host_train.py", "--config-file", config], subprocess_env, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    a, b = (torch.load(tmp_path / "out" / f"rank{rank}.pth") for rank in (0, 1))
    assert a.keys() == b.keys() and len(a) > 50
    for name in a:
        assert torch.equal(a[name], b[name]), name
    final = torch.load(tmp_path / "out" / "model_final.pth", weights_only=False)
    assert torch.equal(final["model"]["heads.weight"], a["heads.weight"])
    assert "mAP" in result.stdout
