"""Several processes: gloo on the CPU, torchrun, and children that are healed before they meet the host."""

import functools
import gc
import inspect
import logging
import os
import pickle
import sys

import torch
import torch.distributed as dist
from fastreid.engine import defaults
from fastreid.utils import comm
from torch.nn.parallel import DistributedDataParallel

from fastreid_ext.compat.patch import patch, replace, resolve

LAUNCH = "fastreid.engine.launch"
SERIALIZE = "fastreid.utils.comm:_serialize_to_tensor"
TRAINER_INIT = "fastreid.engine.defaults:DefaultTrainer.__init__"

WARN_ABOVE_BYTES = 1024**3

logger = logging.getLogger(__name__)


def _serialize_to_tensor(data, group) -> torch.Tensor:
    buffer = pickle.dumps(data)
    if len(buffer) > WARN_ABOVE_BYTES:
        logger.warning(f"Rank {comm.get_rank()} is about to send {len(buffer) / 1024**3:.2f} GB")
    tensor = torch.frombuffer(bytearray(buffer), dtype=torch.uint8)
    return tensor.to("cuda") if dist.get_backend(group) == "nccl" else tensor


@patch(
    "gather-bytes",
    heals="utils/comm.py:106",
    needed_by="torch >= 2.0",
    targets={SERIALIZE: ("bc9e3bafe646",)},
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


@patch(
    "ddp-on-cpu",
    heals="engine/defaults.py:210",
    needed_by="any version, without CUDA",
    targets={TRAINER_INIT: ("3b8388094998",)},
)
def ddp_on_cpu() -> None:
    """DefaultTrainer gives device_ids also for a model on the CPU, where torch refuses them."""
    defaults.DistributedDataParallel = HostDistributedDataParallel


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
            comm._LOCAL_PROCESS_GROUP = group


def leave_process_group() -> None:
    """Leave in good order; only after success, for a failing rank must end and not wait for the others.

    Nothing may hold the group afterwards: gloo's threads end with it, and abort a process whose interpreter ends first.
    """
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    gc.collect()  # a trainer is a cycle, and its DistributedDataParallel holds the group
    dist.destroy_process_group()


def _distributed_worker(local_rank, main_func, world_size, num_per_machine, machine_rank, dist_url, args):
    """What a spawned rank runs. Unpickling it imports this package first, which heals the child."""
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


@patch(
    "launch-on-cpu",
    heals="engine/launch.py:77",
    needed_by="any version, without CUDA; with spawn, so that the children are healed",
    targets={f"{LAUNCH}:_distributed_worker": ("7728415514ce",)},
)
def launch_on_cpu() -> None:
    """``--num-gpus 2`` asserted CUDA; without it, or with fewer GPUs than ranks, the ranks now use gloo."""
    replace(f"{LAUNCH}:_distributed_worker", _distributed_worker)


@patch(
    "torchrun",
    heals="engine/launch.py:34",
    needed_by="any version, under torchrun",
    targets={f"{LAUNCH}:launch": ("b5248ff286b5",)},
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
