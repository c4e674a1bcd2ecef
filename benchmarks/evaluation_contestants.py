"""Who is measured by evaluation.py, and how one of them is measured; runs in a process of its own."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fastreid_ext  # noqa: F401  isort:skip  (heals FastReID)

import fastreid
import numpy as np
import torch
from fastreid.utils.compute_dist import build_dist, compute_cosine_distance
from torch import Tensor

from fastreid_ext.evaluation import rank_metrics
from fastreid_ext.evaluation.distances import DistanceRows
from fastreid_ext.evaluation.reranked import ReRankedRows

Labels = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # pids of queries, of the gallery, cameras likewise
BLOCK = 1024  # rows of the product that share a buffer
MAX_RANK = 50  # FastReID's
K1, K2, LAMBDA = 20, 6, 0.3


def product(query: Tensor, gallery: Tensor, _: Labels, __: Path) -> None:
    """One call, the whole matrix."""
    torch.mm(query, gallery.T)


def product_blocks(query: Tensor, gallery: Tensor, _: Labels, __: Path) -> None:
    """The same product into one buffer, which no fresh memory slows down."""
    buffer = torch.empty(BLOCK, len(gallery), device=query.device)
    for part in query.split(BLOCK):
        torch.mm(part, gallery.T, out=buffer[: len(part)])


def ours(query: Tensor, gallery: Tensor, labels: Labels, _: Path) -> float:
    return rank_metrics(query, gallery, *labels)["mAP"]


def host_python(query: Tensor, gallery: Tensor, labels: Labels, _: Path) -> float:
    """FastReID's own file as it is installed: neither healed nor compiled, for it finds no package around it."""
    spec = importlib.util.spec_from_file_location("host_rank", Path(fastreid.__file__).parent / "evaluation/rank.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _, precision, _ = module.eval_market1501(compute_cosine_distance(query, gallery), *labels, MAX_RANK)
    return 100 * float(np.mean(precision))


def host_cython(query: Tensor, gallery: Tensor, labels: Labels, folder: Path) -> float:
    sys.path.insert(0, str(folder / "rank_cylib"))
    from rank_cy import evaluate_cy

    distances = compute_cosine_distance(query, gallery)
    _, precision, _ = evaluate_cy(distances, *labels, MAX_RANK, False)
    return 100 * float(np.mean(precision))


def rerank(query: Tensor, gallery: Tensor, _: Labels, __: Path) -> None:
    features = torch.cat((query, gallery))  # the evaluator has them side by side; here the copy counts
    rows = ReRankedRows(DistanceRows(query, gallery), features, k1=K1, k2=K2, lambda_value=LAMBDA)
    buffer = torch.empty(BLOCK, len(gallery), device=query.device)
    for start in range(0, len(query), BLOCK):
        stop = min(start + BLOCK, len(query))
        rows.rows(start, stop, buffer[: stop - start])


def host_rerank(query: Tensor, gallery: Tensor, _: Labels, __: Path) -> None:
    """FastReID's dense matrices, healed as far as they needed CUDA."""
    distances = build_dist(query, gallery, "cosine")
    query, gallery = (torch.nn.functional.normalize(side) for side in (query, gallery))
    jaccard = build_dist(query, gallery, "jaccard", k1=K1, k2=K2)
    jaccard * (1 - LAMBDA) + distances * LAMBDA


CONTESTANTS: dict[str, Callable] = {
    c.__name__: c for c in (product, product_blocks, ours, host_python, host_cython, rerank, host_rerank)
}
HOST = ("host_python", "host_cython", "host_rerank")


def needed_gb(contestant: str, queries: int, gallery: int) -> float:
    """Return the size of the full matrices that a contestant holds at once, in GB (10^9 bytes)."""
    pairs, everything = queries * gallery, (queries + gallery) ** 2
    needs = {
        "product": 4 * pairs,
        "host_python": (4 + 8) * pairs,  # distances and their int64 order
        "host_cython": (4 + 8) * pairs,
        "host_rerank": (4 + 4) * everything,  # the weights, and their average or the distances
    }
    return needs.get(contestant, 0) / 1e9


def build_cython(folder: Path, cython: Path | None) -> str | None:
    """Build a copy of FastReID's Cython in a folder; return None, or why there is none."""
    source, target = Path(fastreid.__file__).parent / "evaluation/rank_cylib", folder / "rank_cylib"
    shutil.copytree(source, target)
    path = os.pathsep.join(filter(None, [str(cython.resolve()) if cython else "", os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(
        command, cwd=target, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return f"does not build: {lines[-1]}"
    return None


def run(contestant: str, folder: Path, device: torch.device) -> dict:
    """Load the features, warm up, and return seconds, MB (10^6 bytes) and, where there is one, mAP."""
    work = CONTESTANTS[contestant]
    query, gallery = (torch.from_numpy(np.load(folder / f"{side}.npy")).to(device) for side in ("query", "gallery"))
    labels = tuple(
        np.load(folder / f"{side}_{kind}.npy") for kind in ("pids", "camids") for side in ("query", "gallery")
    )
    few = slice(0, 64), slice(0, 2000), slice(0, 64), slice(0, 2000)
    work(query[:64], gallery[:2000], tuple(label[part] for label, part in zip(labels, few, strict=True)), folder)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is held now
    held = status_mb("VmRSS")
    start, start_cpu = time.perf_counter(), time.process_time()
    score = work(query, gallery, labels, folder)
    if on_gpu:
        torch.cuda.synchronize()
    numbers = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - start_cpu}
    numbers["peak_mb"] = status_mb("VmHWM") - held
    if on_gpu:
        numbers["peak_gpu_mb"] = (torch.cuda.max_memory_allocated() - allocated) / 1e6
    return numbers | ({} if score is None else {"mAP": score})


def status_mb(key: str) -> float:
    """Return a field of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{key}:"))
