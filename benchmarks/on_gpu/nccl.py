"""NCCL with one process (gloo in a dry run): the collectives that our code calls, and a step under DDP.

One GPU can't show how processes wait for each other; it shows that the calls, types and devices are right.
"""

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from on_gpu.call import Call
from on_gpu.papers import config, training_step
from torch.nn.parallel import DistributedDataParallel

# isort: split
from fastreid.utils import comm
from fastreid.utils.events import EventStorage, get_event_storage

PAPERS = ("OccludedReID", "DeepMiner", "MSReID")  # with sums over processes in a step
NUMBERS = 2**26  # of the reduced tensor: 256 MB


def collectives(call: Call) -> dict[str, Any]:
    """Return how long a reduction takes; what one process reduces and gathers is what it gave."""
    numbers = torch.arange(2**10 if call.toy else NUMBERS, dtype=torch.float32, device=call.device)
    reduced, gathered = numbers.clone(), [torch.empty_like(numbers)]
    dist.all_reduce(reduced)
    dist.all_gather(gathered, numbers)
    assert torch.equal(reduced, numbers) and torch.equal(gathered[0], numbers)
    comm.synchronize()
    assert comm.all_gather({"rank": 0}) == [{"rank": 0}]  # objects, by gloo
    dist.all_reduce(torch.ones(1), group=comm._get_global_gloo_group())
    seconds = min(call.seconds(lambda: dist.all_reduce(reduced)) for _ in range(5))
    return {"backend": dist.get_backend(), "bytes": numbers.nbytes, "all_reduce_seconds": seconds}


def ddp(call: Call, paper: str) -> dict[str, Any]:
    """Return the first losses of a paper's step alone and under DDP, which have to be the same."""
    losses, seconds = [], []
    for wrapped in (False, True):
        step = training_step(config(paper, call.device, call.toy))
        if wrapped:
            ids = [torch.cuda.current_device()] if call.on_gpu else None
            step.model = DistributedDataParallel(step.model, device_ids=ids, broadcast_buffers=False)
        torch.manual_seed(1)
        step.run_step()
        losses.append(get_event_storage().history("total_loss").latest())
        step.run_step()
        seconds.append(min(call.seconds(step.run_step) for _ in range(1 if call.toy else 10)))
    apart = abs(losses[0] - losses[1])
    if not apart <= 1e-2 * abs(losses[0]):
        raise ValueError(f"the losses are {losses[0]} alone and {losses[1]} under DDP")
    return {"loss": losses[0], "loss_under_ddp": losses[1], "seconds": seconds[0], "seconds_under_ddp": seconds[1]}


def measure(call: Call) -> None:
    """Open a group of one process and try it."""
    meet = (Path(os.environ["ON_GPU_SCRATCH"]) / "meeting").as_uri()
    dist.init_process_group("nccl" if call.on_gpu else "gloo", init_method=meet, rank=0, world_size=1)
    comm._LOCAL_PROCESS_GROUP = dist.new_group([0])
    with EventStorage(0):
        call.row("collectives", lambda: collectives(call))
        for paper in call.few(PAPERS):
            call.row(f"DDP, {paper}", lambda paper=paper: ddp(call, paper))
    dist.destroy_process_group()
