"""Evaluation: nothing is compiled, and distances need neither CUDA nor faiss-gpu."""

import importlib

import numpy as np
import torch

from fastreid_ext.compat import ranking
from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.probing import refuse, swapped

comm = HostModule("fastreid.utils.comm")
compute_dist = HostModule("fastreid.utils.compute_dist")
rank = HostModule("fastreid.evaluation.rank")
reid_evaluation = HostModule("fastreid.evaluation.reid_evaluation")

RANK = "fastreid.evaluation.rank"
COMPILE = "fastreid.evaluation.reid_evaluation:ReidEvaluator._compile_dependencies"
JACCARD = "fastreid.utils.compute_dist:compute_jaccard_distance"
EUCLIDEAN = "fastreid.utils.compute_dist:compute_euclidean_distance"

CPU_INDEX = 3  # the host's search_option


def _compile_dependencies(self) -> None:
    """Nothing to compile; the host's barrier stays."""
    comm.synchronize()


def _evaluator_compiles() -> bool:
    """Whether a new evaluator would call for a compiler here; one whose extension is compiled does not."""
    with (
        swapped(importlib.import_module("fastreid.evaluation.reid_evaluation"), compile_helper=refuse),
        swapped(importlib.import_module("fastreid.utils.comm"), is_main_process=lambda: True, synchronize=int),
    ):
        reid_evaluation.ReidEvaluator._compile_dependencies(None)
    return False


@patch(
    "never-compile",
    heals="evaluation/reid_evaluation.py:138",
    needed_by="any version without make, a compiler and Cython, or with a read-only installation",
    targets={COMPILE: ("b06c939f0251",)},
    uses=("fastreid.utils.comm:synchronize",),
    needed=_evaluator_compiles,
    if_skipped="the first evaluation runs make in the installed package, and ends the process where that fails",
    cause="the evaluator runs make in its own package; the helper calls sys.exit where that fails, raises without make",
    fix="let the helper say so and go on in both cases: the ranking in Python is there",
)
def never_compile() -> None:
    """The first evaluation ran ``make`` in the installed package and ended the process when that failed."""
    replace(COMPILE, _compile_dependencies)


# Two queries that keep three and four of four images, and find their person at ranks 2 and 1.
SMALL_GALLERY = (
    np.array([[0, 1, 2, 3], [4, 5, 6, 3]], np.float32),
    *(np.array(labels) for labels in ([1, 2], [1, 3, 1, 2], [0, 0], [0, 0, 1, 1])),
)


def _ranking_is_wrong() -> bool:
    """Whether queries that keep unequally many gallery images raise, or give other curves than they should."""
    cmc, precisions, penalties = rank.evaluate_rank(*SMALL_GALLERY, max_rank=4)
    return not (
        np.allclose(cmc, [0.5, 1, 1, 1]) and np.allclose(precisions, [0.5, 1]) and np.allclose(penalties, [0.5, 1])
    )


@patch(
    "ranking",
    heals="evaluation/rank.py:156; evaluation/rank_cylib/rank_cy.pyx:226",
    needed_by="NumPy >= 1.24; any version if compiled, whose CMC is garbage below 50 kept gallery images",
    targets={f"{RANK}:eval_market1501": ("4f8459268254",), f"{RANK}:evaluate_rank": ("94b23a69c1cb",)},
    uses=(f"{RANK}:IS_CYTHON_AVAI",),
    needed=_ranking_is_wrong,
    if_skipped="the evaluation raises, or its CMC is wrong, where a query keeps fewer than 50 gallery images",
    cause="a query that keeps fewer than max_rank gallery images has a shorter curve; compiled code reads behind it",
    fix="continue each curve with its last value up to max_rank, in both languages",
    critical=True,
)
def ranking_market1501() -> None:
    """Curves of unequal length raised as soon as a query kept fewer gallery images than ``max_rank``."""
    replace(f"{RANK}:eval_market1501", ranking.eval_market1501)
    replace(f"{RANK}:IS_CYTHON_AVAI", False, everywhere=False)  # also where an earlier run has compiled it


@patch(
    "ranking-name",
    heals="evaluation/__init__.py:2",
    needed_by="any version, with the host's demo/visualize_result.py",
    targets={f"{RANK}:evaluate_rank": ("94b23a69c1cb",)},
    needed=lambda: not hasattr(importlib.import_module("fastreid.evaluation"), "evaluate_rank"),
    if_skipped="demo/visualize_result.py of FastReID can't be imported",
    cause="the package does not export evaluate_rank",
    fix="export it",
)
def ranking_name() -> None:
    """The host's demo imports ``evaluate_rank`` from the package, which lacks it."""
    replace("fastreid.evaluation:evaluate_rank", rank.evaluate_rank, everywhere=False)


def _classic_ranking_fails() -> bool:
    """Whether the ranking of CUHK03's classic split raises, or gives another curve than it should."""
    state = np.random.get_state()  # it draws from the global generator
    try:
        cmc, mean_ap = rank.eval_cuhk03(*SMALL_GALLERY, max_rank=4)
    finally:
        np.random.set_state(state)
    return not (len(cmc) == 4 and np.allclose(cmc, [0.5, 1, 1, 1]) and np.isclose(mean_ap, 0.75))


@patch(
    "ranking-cuhk03",
    heals="evaluation/rank.py:69",
    needed_by="NumPy >= 1.24",
    targets={f"{RANK}:eval_cuhk03": ("64440224dfa2",)},
    needed=_classic_ranking_fails,
    if_skipped="the evaluation of CUHK03's classic split raises with NumPy 1.24 to 1.26 or fewer than ten identities",
    cause="np.bool is gone, and curves differ in length",
    fix="bool, and curves of one length as in eval_market1501",
)
def ranking_cuhk03() -> None:
    """``np.bool`` was gone from 1.24 to 1.26, and curves of unequal length raise since."""
    replace(f"{RANK}:eval_cuhk03", ranking.eval_cuhk03)


class _Watched(torch.Tensor):
    """A tensor that must not move to a GPU, nor take the deprecated arguments of ``addmm_``."""

    cuda = refuse

    def addmm_(self, *matrices, **scalars):
        return super().addmm_(*matrices, **scalars) if len(matrices) == 2 else refuse()


def _watched_points() -> torch.Tensor:
    return torch.tensor([[0.0, 0.0], [0.0, 1.0], [4.0, 4.0], [4.0, 5.0]]).as_subclass(_Watched)


def _reranking_needs_a_gpu() -> bool:
    """Whether re-ranking moves features to a GPU, or looks for more neighbours than there are images."""
    jaccard = compute_dist.compute_jaccard_distance
    few = jaccard(_watched_points(), k1=4, k2=2, search_option=0)
    return not np.allclose(few, jaccard(_watched_points(), k1=20, k2=2, search_option=0))


@patch(
    "reranking-on-cpu",
    heals="utils/compute_dist.py:68,76",
    needed_by="any version without CUDA or with faiss-cpu",
    targets={JACCARD: ("91ec3361743b",)},
    needed=_reranking_needs_a_gpu,
    if_skipped="TEST.RERANK.ENABLED needs CUDA and faiss-gpu",
    cause="the features are moved to CUDA and faiss's GPU resources are made in any case",
    fix="search_option 3, faiss's CPU index, where there is no CUDA or faiss-gpu; and no more neighbours than images",
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


def _distances_use_old_arguments() -> bool:
    """Whether Euclidean distances give ``addmm_`` its scalars by place."""
    distances = compute_dist.compute_euclidean_distance(_watched_points()[:2], _watched_points()[2:])
    return not np.allclose(distances, [[32, 41], [25, 32]])


@patch(
    "euclidean",
    heals="utils/compute_dist.py:183",
    needed_by="torch >= 1.5 warns of the order of addmm_'s arguments",
    targets={EUCLIDEAN: ("7b875d86721a",)},
    needed=_distances_use_old_arguments,
    if_skipped="Euclidean distances warn, and raise once torch drops the old arguments",
    cause="addmm_ is given its scalars by place",
    fix="beta=1 and alpha=-2 by keyword",
)
def euclidean() -> None:
    """The scalars of ``addmm_`` go by keyword; the positional form is deprecated."""
    replace(EUCLIDEAN, compute_euclidean_distance)
