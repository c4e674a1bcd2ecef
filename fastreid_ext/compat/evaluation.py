"""Evaluation: nothing is compiled, and distances need neither CUDA nor faiss-gpu."""

import sys

import torch
from fastreid.evaluation import rank
from fastreid.utils import comm, compute_dist

from fastreid_ext.compat import ranking
from fastreid_ext.compat.patch import patch, replace

RANK = "fastreid.evaluation.rank"
COMPILE = "fastreid.evaluation.reid_evaluation:ReidEvaluator._compile_dependencies"
JACCARD = "fastreid.utils.compute_dist:compute_jaccard_distance"
EUCLIDEAN = "fastreid.utils.compute_dist:compute_euclidean_distance"

CPU_INDEX = 3  # the host's search_option


def _compile_dependencies(self) -> None:
    """Nothing to compile; the host's barrier stays."""
    comm.synchronize()


@patch(
    "never-compile",
    heals="evaluation/reid_evaluation.py:138",
    needed_by="any version without make, a compiler and Cython, or with a read-only installation",
    targets={COMPILE: ("b06c939f0251",)},
)
def never_compile() -> None:
    """The first evaluation ran ``make`` in the installed package and ended the process when that failed."""
    replace(COMPILE, _compile_dependencies)


@patch(
    "ranking",
    heals="evaluation/rank.py:156",
    needed_by="NumPy >= 1.24; any version if compiled, whose CMC is garbage below 50 kept gallery images",
    targets={f"{RANK}:eval_market1501": ("4f8459268254",), f"{RANK}:evaluate_rank": ("94b23a69c1cb",)},
)
def ranking_market1501() -> None:
    """Curves of unequal length raised as soon as a query kept fewer gallery images than ``max_rank``."""
    replace(f"{RANK}:eval_market1501", ranking.eval_market1501)
    rank.IS_CYTHON_AVAI = False  # also where an earlier run has compiled it
    # The host's demo/visualize_result.py imports it from the package.
    sys.modules["fastreid.evaluation"].evaluate_rank = rank.evaluate_rank


@patch(
    "ranking-cuhk03",
    heals="evaluation/rank.py:69",
    needed_by="NumPy >= 1.24",
    targets={f"{RANK}:eval_cuhk03": ("64440224dfa2",)},
)
def ranking_cuhk03() -> None:
    """``np.bool`` was gone from 1.24 to 1.26, and curves of unequal length raise since."""
    replace(f"{RANK}:eval_cuhk03", ranking.eval_cuhk03)


@patch(
    "reranking-on-cpu",
    heals="utils/compute_dist.py:68,76",
    needed_by="any version without CUDA or with faiss-cpu",
    targets={JACCARD: ("91ec3361743b",)},
)
def reranking_on_cpu() -> None:
    """Re-ranking called for CUDA and faiss-gpu; the neighbours now come from faiss's CPU index.

    The search is a small part of the time, which Python loops over sets of neighbours take.
    """
    jaccard = compute_dist.compute_jaccard_distance

    def compute_jaccard_distance(features, k1=20, k2=6, search_option=CPU_INDEX, fp16=False):
        # faiss pads the neighbours of too small a set with -1, which NumPy reads as "the last image".
        return jaccard(features.cpu(), min(k1, len(features)), min(k2, len(features)), CPU_INDEX, fp16)

    replace(JACCARD, compute_jaccard_distance)


@torch.no_grad()
def compute_euclidean_distance(features, others):
    """Squared Euclidean distances of shape (len(features), len(others)), as a NumPy array."""
    squares = features.pow(2).sum(1, keepdim=True) + others.pow(2).sum(1)[None]
    return squares.addmm_(features, others.t(), beta=1, alpha=-2).cpu().numpy()


@patch(
    "euclidean",
    heals="utils/compute_dist.py:183",
    needed_by="torch >= 1.5 warns of the order of addmm_'s arguments",
    targets={EUCLIDEAN: ("7b875d86721a",)},
)
def euclidean() -> None:
    """The scalars of ``addmm_`` go by keyword; the positional form is deprecated."""
    replace(EUCLIDEAN, compute_euclidean_distance)
