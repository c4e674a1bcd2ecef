"""Several processes: gloo on the CPU, torchrun, and children that are healed before they meet the host."""

import contextlib
import functools
import gc
import importlib
import inspect
import logging
import os
import pickle
import sys
import types
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.patch import patch, replace, resolve
from fastreid_ext.compat.probing import Asked, refuse, swapped
from fastreid_ext.compat.trial import trial_trainer

comm = HostModule("fastreid.utils.comm")
launch_module = HostModule("fastreid.engine.launch")

LAUNCH = "fastreid.engine.launch"
SERIALIZE = "fastreid.utils.comm:_serialize_to_tensor"
TRAINER_INIT = "fastreid.engine.defaults:DefaultTrainer.__init__"
GROUP_NAMES = tuple(
    f"fastreid.utils.comm:{name}" for name in ("_LOCAL_PROCESS_GROUP", "_get_global_gloo_group", "synchronize")
)

WARN_ABOVE_BYTES = 1024**3

logger = logging.getLogger(__name__)


def _serialize_to_tensor(data, group) -> torch.Tensor:
    buffer = pickle.dumps(data)
    if len(buffer) > WARN_ABOVE_BYTES:
        logger.warning(f"Rank {comm.get_rank()} is about to send {len(buffer) / 1024**3:.2f} GB")
    tensor = torch.frombuffer(bytearray(buffer), dtype=torch.uint8)
    return tensor.to("cuda") if dist.get_backend(group) == "nccl" else tensor


def _gathering_uses_storage() -> bool:
    """Whether what ranks send goes through torch's old storage."""
    with (
        swapped(dist, get_backend=lambda group: "gloo"),
        swapped(torch, ByteStorage=types.SimpleNamespace(from_buffer=refuse)),
    ):
        tensor = comm._serialize_to_tensor([7], None)
    return pickle.loads(bytes(tensor.tolist())) != [7]


@patch(
    "gather-bytes",
    heals="utils/comm.py:106",
    needed_by="torch >= 2.0",
    targets={SERIALIZE: ("bc9e3bafe646",)},
    needed=_gathering_uses_storage,
    if_skipped="ranks warn of torch.ByteStorage when they gather, and raise once torch drops it",
    cause="comm serialises by torch.ByteStorage",
    fix="torch.frombuffer on the pickled bytes",
)
def gather_bytes() -> None:
    """What ranks send each other went through torch.ByteStorage, which is deprecated."""
    replace(SERIALIZE, _serialize_to_tensor)


class HostDistributedDataParallel(DistributedDataParallel):
    """DistributedDataParallel that takes the host's arguments for any device and any torch."""

    def __init__(self, module, device_ids=None, **kwargs):
        if next(module.parameters()).device.type == "cpu":
            device_ids = None
        # torch 2.15 warns of the old name. The new one means the same but for the start, where rank 0's buffers go
        # to all: in a fresh model they are equal.
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        if "broadcast_buffers" in kwargs and "forward_sync_buffers" in known:
            kwargs["forward_sync_buffers"] = kwargs.pop("broadcast_buffers")
        super().__init__(module, device_ids=device_ids, **kwargs)


def _ddp_arguments_are_refused() -> bool:
    """Whether DefaultTrainer wraps a model on the CPU with arguments that torch refuses or warns of."""
    given: list[dict] = []

    def wrap(self, module, **arguments):
        given.append(arguments)
        raise Asked

    wrap.__signature__ = inspect.signature(DistributedDataParallel.__init__)
    with swapped(DistributedDataParallel, __init__=wrap), contextlib.suppress(Asked):
        trial_trainer(world_size=2)
    old_name = "forward_sync_buffers" in wrap.__signature__.parameters and "broadcast_buffers" in given[0]
    return bool(given[0].get("device_ids")) or old_name


@patch(
    "ddp-on-cpu",
    heals="engine/defaults.py:210",
    needed_by="any version, without CUDA",
    targets={TRAINER_INIT: ("3b8388094998",)},
    uses=("fastreid.engine.defaults:DistributedDataParallel",),
    needed=_ddp_arguments_are_refused,
    if_skipped="FastReID's trainer can't train in several processes without CUDA",
    cause="DistributedDataParallel is given device_ids also for a model on the CPU",
    fix="leave device_ids out where the model has no CUDA device",
)
def ddp_on_cpu() -> None:
    """DefaultTrainer gives device_ids also for a model on the CPU, where torch refuses them."""
    # Only there: the host's other modules compare with torch's own class.
    replace("fastreid.engine.defaults:DistributedDataParallel", HostDistributedDataParallel, everywhere=False)


def setup_process_group(local_rank: int, local_size: int, machine_rank: int, **init) -> None:
    """Join the process group, by NCCL where this machine has a GPU for each of its ranks and else by gloo.

    Args:
        local_rank: rank among the processes of this machine.
        local_size: how many those are.
        machine_rank: rank of this machine.
        init: further arguments of ``torch.distributed.init_process_group``.
    """
    has_gpus = torch.cuda.is_available() and local_size <= torch.cuda.device_count()
    if has_gpus:
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend="nccl" if has_gpus else "gloo", **init)
    comm.synchronize()  # or the first collective may time out while others still start
    for machine in range(dist.get_world_size() // local_size):
        group = dist.new_group(list(range(machine * local_size, (machine + 1) * local_size)))
        if machine == machine_rank:
            importlib.import_module("fastreid.utils.comm")._LOCAL_PROCESS_GROUP = group
    comm.synchronize()  # or one that is done at once leaves while others still connect to it


def leave_process_group() -> None:
    """Leave the process group cleanly; only after success, because a failing rank must not wait for the others.

    Nothing may hold the group afterwards: gloo's threads end with it, and abort a process whose interpreter ends first.
    """
    importlib.import_module("fastreid.utils.comm")._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    gc.collect()  # a trainer is a cycle, and its DistributedDataParallel holds the group
    dist.destroy_process_group()


def _distributed_worker(local_rank, main_func, world_size, num_per_machine, machine_rank, dist_url, args):
    """What a spawned rank runs, with or without CUDA."""
    try:
        setup_process_group(
            local_rank,
            num_per_machine,
            machine_rank,
            init_method=dist_url,
            world_size=world_size,
            rank=machine_rank * num_per_machine + local_rank,
        )
    except Exception:
        logger.error(f"Process group URL: {dist_url}")
        raise
    if dist.get_backend() == "gloo":
        # Each rank would otherwise start a thread for every core.
        torch.set_num_threads(max(1, torch.get_num_threads() // num_per_machine))
    if sys.platform == "linux":
        # A spawned process inherits "spawn" for its own children: every loader worker would import torch
        # anew, for 20 seconds at the start of every epoch.
        torch.multiprocessing.set_start_method("fork", force=True)
    main_func(*args)
    leave_process_group()


def _ranks_ask_for_cuda() -> bool:
    """Whether a rank raises on a machine without CUDA before it joins a group of gloo."""
    backends = []

    def join(backend, **init):
        backends.append(backend.lower())
        raise Asked

    no_cuda = swapped(torch.cuda, is_available=lambda: False)
    with no_cuda, swapped(dist, init_process_group=join), contextlib.suppress(Asked):
        launch_module._distributed_worker(0, None, 1, 1, 0, "file://", ())
    return backends != ["gloo"]


@patch(
    "launch-on-cpu",
    heals="engine/launch.py:77",
    needed_by="any version, without CUDA",
    targets={f"{LAUNCH}:_distributed_worker": ("7728415514ce",)},
    uses=GROUP_NAMES,
    needed=_ranks_ask_for_cuda,
    if_skipped="--num-gpus 2 raises on a machine without CUDA",
    cause="launch asserts CUDA, sets the device and takes NCCL",
    fix="gloo, without setting a device, where there are fewer GPUs than ranks",
)
def launch_on_cpu() -> None:
    """``--num-gpus 2`` asserted CUDA; without it, or with fewer GPUs than ranks, the ranks now use gloo."""
    replace(f"{LAUNCH}:_distributed_worker", _distributed_worker)


_rank_body: Callable | None = None


def _spawned_rank(*args) -> None:
    """What a spawned process unpickles first: it imports this package, which heals the host before its worker runs."""
    importlib.import_module("fastreid")
    _rank_body(*args)


@patch(
    "spawned-ranks",
    heals="engine/launch.py:69",
    needed_by="any version that any other patch is needed by",
    targets={f"{LAUNCH}:launch": ("b5248ff286b5",)},
    uses=(f"{LAUNCH}:_distributed_worker",),
    # What a spawned process imports is no fault of the host's, so only who defines the worker can be asked.
    needed=lambda: launch_module._distributed_worker.__module__ != __name__,
    if_skipped="the ranks that FastReID's launch spawns are not healed unless their script imports fastreid_ext first",
    cause="a spawned process imports FastReID anew, and patches of the parent's memory are not there",
    fix="nothing to do where FastReID's own files are mended",
)
def spawned_ranks() -> None:
    """A spawned rank imported the host without this package, so without its patches."""
    global _rank_body
    _rank_body = launch_module._distributed_worker
    replace(f"{LAUNCH}:_distributed_worker", _spawned_rank)


def _torchrun_is_unknown() -> bool:
    """Whether the module of ``launch`` never reads torchrun's environment.

    Reads the source: a trial would have to change this process's environment and join a group.
    """
    return "LOCAL_RANK" not in inspect.getsource(sys.modules[LAUNCH])


@patch(
    "torchrun",
    heals="engine/launch.py:34",
    needed_by="any version, under torchrun",
    targets={f"{LAUNCH}:launch": ("b5248ff286b5",)},
    uses=GROUP_NAMES,
    needed=_torchrun_is_unknown,
    if_skipped="torchrun does not work: each of its processes starts ranks of its own",
    cause="launch starts ranks of its own and reads none of torchrun's environment",
    fix="where RANK and WORLD_SIZE are set, join that group and start no process",
)
def torchrun() -> None:
    """Under torchrun every process started ranks of its own; its environment now says which rank it is."""
    original = resolve(f"{LAUNCH}:launch")[2]

    @functools.wraps(original)
    def launch(main_func, num_gpus_per_machine, num_machines=1, machine_rank=0, dist_url=None, args=()):
        env = os.environ
        if "LOCAL_RANK" not in env or int(env.get("WORLD_SIZE", 1)) < 2:
            return original(main_func, num_gpus_per_machine, num_machines, machine_rank, dist_url, args)
        local_size = int(env["LOCAL_WORLD_SIZE"])
        setup_process_group(int(env["LOCAL_RANK"]), local_size, int(env["RANK"]) // local_size, init_method="env://")
        results = main_func(*args)
        leave_process_group()
        return results

    replace(f"{LAUNCH}:launch", launch)
