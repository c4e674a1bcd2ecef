"""FastReID's evaluator, streamed: its numbers, a report by groups and a picture of rank lists, in bounded memory."""

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation import ReidEvaluator
from fastreid.utils import comm
from PIL import Image
from torch import Tensor

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.blocks import rows_per_block, share_of
from fastreid_ext.evaluation.collective import gather_rows, nearest_by_all, sum_over_processes
from fastreid_ext.evaluation.details import SampledRows, counts_of, curves, hardest_queries, write_details
from fastreid_ext.evaluation.distances import DistanceRows, Rows, lengths_of, unusable
from fastreid_ext.evaluation.expansion import expand
from fastreid_ext.evaluation.groups import Group, group_rows
from fastreid_ext.evaluation.memory import on_device
from fastreid_ext.evaluation.open_set import (
    nearest_images,
    open_set_metrics,
    open_set_rates,
    people_taken_out,
    without_people,
)
from fastreid_ext.evaluation.open_set_report import open_set_record, open_set_text
from fastreid_ext.evaluation.query_file import write_queries
from fastreid_ext.evaluation.query_metrics import QueryMetrics, metrics_of, summarise
from fastreid_ext.evaluation.rank_list import (
    draw_rank_lists,
    name_of_number,
    rank_queries,
    read_picture,
    save_rank_lists,
)
from fastreid_ext.evaluation.ranks import NO_PAIRS, GroundTruth, Matches, Pairs, find_matches
from fastreid_ext.evaluation.report import group_record, group_table
from fastreid_ext.evaluation.reranked import ReRankedRows
from fastreid_ext.evaluation.roc import count_others, true_positive_rates
from fastreid_ext.evaluation.same_features import warn_of_same_features
from fastreid_ext.evaluation.single_shot import single_shot_hits
from fastreid_ext.files import write_text

logger = logging.getLogger(__name__)

RANKS = (1, 5, 10)
CUHK03 = "cuhk03"
PROTOCOLS = ("market1501", CUHK03)
EVALUATORS = ("streamed", "host")
SAME_IMAGE = ("auto", "exclude", "refuse", "keep")
KEPT_TYPES = (torch.float32, torch.float16, torch.bfloat16)


class RankListEvaluator(ReidEvaluator):
    """The host's metrics and, of each test set, files in OUTPUT_DIR.

    These are ``report_<test set>.json`` by groups of queries, ``details_<test set>.json`` with curves and the hardest
    queries, ``queries_<test set>.json`` with a number of each query, and ``rank_list_<test set>.png``.

    Distances are made block by block (TEST.EVAL_MEMORY_MB), and each process ranks its share of the queries.

    Args:
        cfg: the run's config.
        num_query: how many of the test images are queries; they come first.
        dataset_name: for the file names and the titles.
        output_dir: where the files go.
        groups: what the report (TEST.REPORT) tells apart; without any there is none.
        gallery_again: the gallery is the queries again; what is processed is the queries alone.
        left_out: pairs of a query and a gallery image that no ranking has (TEST.SAME_IMAGE).

    Attributes:
        erased: path -> picture as the model sees it in a stress test (TEST.OCCLUSION), for the rank lists; once it is
            set, the files end in ``_erased``.
        alone: whether the pass over the images is for this evaluator only, so that its time says how fast they are.
    """

    def __init__(
        self,
        cfg: CfgNode,
        num_query: int,
        dataset_name: str,
        output_dir: str,
        groups: Sequence[Group] = (),
        gallery_again: bool = False,
        left_out: Pairs = NO_PAIRS,
    ):
        super().__init__(cfg, num_query, output_dir)
        self.dataset_name = dataset_name
        self.groups = groups
        self.times = 2 if gallery_again else 1
        self.left_out = left_out
        self.erased: Callable[[str], Image.Image] | None = None
        self.alone = True
        self.started = self.seconds = 0.0

    def reset(self) -> None:
        super().reset()
        self.started = time.perf_counter() if self.alone else 0.0

    def process(self, inputs: Mapping[str, Any], outputs: Tensor) -> None:
        features = outputs.detach()
        kept = features.dtype if features.dtype in KEPT_TYPES else torch.float32
        self._predictions.append(
            {
                "feats": features.to("cpu", kept),
                "pids": inputs["targets"].cpu(),
                "camids": inputs["camids"].cpu(),
                "paths": list(inputs["img_paths"]),
            }
        )

    @torch.no_grad()
    def evaluate(self) -> OrderedDict[str, float]:
        """Return the metrics on the main process, {} on the others. It releases the features: call it once per reset.

        Raises:
            EvaluationError: a feature that is not finite, on every process; or too little memory for one row.
            EvaluationError: no query has a match.
        """
        comm.synchronize()
        self.seconds = time.perf_counter() - self.started if self.started else 0.0
        own_paths = [path for prediction in self._predictions for path in prediction["paths"]]
        pids, camids = (self._split(self._gathered(key).numpy()) for key in ("pids", "camids"))
        features = self._gathered("feats")
        paths = self._split(self.times * list(chain(*comm.gather(own_paths))))
        self._predictions = []
        try:
            return self._evaluated(features, pids, camids, paths)
        except EvaluationError as error:  # on every process: all of them have all features
            raise self._with_paths(error, features, self.times * list(chain(*comm.all_gather(own_paths)))) from error

    def _evaluated(self, features: Tensor, pids: tuple, camids: tuple, paths: tuple) -> OrderedDict[str, float]:
        features = on_device(features, self.cfg)
        people = GroundTruth(pids, camids, self.left_out)
        drawn = self.cfg.TEST.RANK_LIST.ENABLED and comm.is_main_process()
        if drawn:
            self._draw_rank_lists(self._split(features), pids, camids, paths, people)
        if comm.is_main_process():
            warn_of_same_features(self.dataset_name, self._split(features), people, paths)
        distances = ranking_distances(self.cfg, features, self._num_query)
        is_open = self.cfg.TEST.OPEN_SET.SHARE > 0
        # Re-ranking and expansion look at neighbours, which are others where people are taken out of the gallery.
        kept = features if is_open and (self.cfg.TEST.AQE.ENABLED or self.cfg.TEST.RERANK.ENABLED) else None
        del features
        block = rows_per_block(distances, self.cfg.TEST.EVAL_MEMORY_MB)
        share = share_of(len(pids[0]), block, comm.get_rank(), comm.get_world_size())
        detailed = self.cfg.TEST.REPORT.ENABLED
        sampled = SampledRows(distances, people, self.cfg.TEST.EVAL_MEMORY_MB) if detailed else distances
        matches = _of_all_processes(find_matches(sampled, people, share, block))
        others = sampled.others() if detailed else np.zeros(0)
        metrics = metrics_of(matches)
        results = OrderedDict(summarise(metrics, RANKS))
        if self.cfg.TEST.PROTOCOL == CUHK03:
            hits = single_shot_hits(distances, people, share, block, RANKS, max(self.cfg.SEED, 0))
            average = gather_rows([torch.from_numpy(hits)])[torch.from_numpy(metrics.scored)].mean(dim=0) * 100
            results |= {f"Rank-{k}": float(value) for k, value in zip(RANKS, average, strict=True)}
            results["metric"] = (results["Rank-1"] + results["mAP"]) / 2
        if self.cfg.TEST.ROC.ENABLED:

            def count(thresholds: np.ndarray) -> np.ndarray:
                counts = np.stack(count_others(distances, people, share, block, thresholds))
                return sum_over_processes(torch.from_numpy(counts)).numpy()

            results |= true_positive_rates(matches.distances, people.others, count)
        if is_open:
            results |= self._open_set(distances, kept, pids, camids)
        if not comm.is_main_process():
            return OrderedDict()
        if detailed:
            parts = curves(metrics, matches.distances, others)
            if self.cfg.TEST.PROTOCOL == CUHK03:  # of single shots, whose ranks are these alone
                parts["cmc"] = {"ranks": list(RANKS), "rates": [results[f"Rank-{k}"] / 100 for k in RANKS]}
            parts["hardest"] = hardest_queries(distances, people, metrics, pids, paths)
            pace = (self._num_query + len(pids[1]) // self.times) / self.seconds if self.seconds else None
            about = {"dataset": self.dataset_name, "erased": self.erased is not None}
            counts = {"images_per_second": pace} | counts_of(metrics, pids)
            write_details(self._file("details", ".json"), self.cfg, about | counts, parts)
            write_queries(self._file("queries", ".json"), about, metrics, paths[0], pids[0], self.groups)
        # Groups are of ranks among all gallery images, which are not those of single shots.
        if detailed and self.groups and self.cfg.TEST.PROTOCOL != CUHK03:
            self._report(metrics, pids[0])
        return results

    def _gathered(self, key: str) -> Tensor:
        """One tensor of all queries and the gallery; the tensors of the batches are released."""
        rows = gather_rows([prediction.pop(key) for prediction in self._predictions])
        return rows if self.times == 1 else rows.repeat(self.times, *[1] * (rows.ndim - 1))

    def _with_paths(self, error: EvaluationError, features: Tensor, paths: Sequence[str]) -> EvaluationError:
        wrong = (~lengths_of(features).isfinite()).nonzero()[:, 0].tolist()
        # Once, where it is query and gallery.
        return EvaluationError(unusable(list(dict.fromkeys(paths[row] for row in wrong)))) if wrong else error

    def _split(self, both: Any) -> tuple[Any, Any]:
        """Split what all images have into that of the queries and that of the gallery."""
        return both[: self._num_query], both[self._num_query :]

    def _file(self, kind: str, suffix: str) -> Path:
        return Path(self._output_dir) / f"{kind}_{self.dataset_name}{'_erased' if self.erased else ''}{suffix}"

    def _title(self) -> str:
        return f"{self.dataset_name}{' erased' if self.erased else ''}"

    def _report(self, metrics: QueryMetrics, pids: np.ndarray) -> None:
        rows = group_rows(metrics, pids.tolist(), self.groups)
        logger.info("%s, by groups of queries:\n%s", self._title(), group_table(rows))
        write_text(self._file("report", ".json"), group_record(self.dataset_name, rows))

    def _open_set(self, distances: Rows, features: Tensor | None, pids: tuple, camids: tuple) -> dict[str, float]:
        """Search again without some people's gallery images; features are given if distances depend on who is there."""
        node, left_out = self.cfg.TEST.OPEN_SET, self.left_out
        out = people_taken_out(pids[0], node.SHARE, node.SEED)
        if features is not None:
            features, pids, camids, left_out = without_people(out, features, pids, camids, left_out)
            distances = ranking_distances(self.cfg, features, self._num_query)
        nearest = nearest_images(distances, out, pids, camids, left_out, self.cfg.TEST.EVAL_MEMORY_MB)
        rates = open_set_rates(nearest)
        if comm.is_main_process():
            about = {"share": node.SHARE, "seed": node.SEED, "people": len(np.unique(pids[0])), "taken_out": len(out)}
            record = open_set_record(self.dataset_name, nearest, rates, about)
            logger.info("%s, open set: %s", self._title(), open_set_text(record))
            write_text(self._file("open_set", ".json"), json.dumps(record, indent=2) + "\n")
        return open_set_metrics(rates)

    def _draw_rank_lists(self, features: tuple, pids: tuple, camids: tuple, paths: tuple, people: GroundTruth) -> None:
        node, n = self.cfg.TEST.RANK_LIST, self._num_query
        # Evenly spread over the sorted queries: other identities each, and the same ones after every evaluation.
        shown = np.unique(np.linspace(0, n - 1, num=min(node.QUERIES, n)).astype(int))
        distances = DistanceRows(features[0][shown], features[1], self.cfg.TEST.METRIC)
        ranked = rank_queries(
            distances,
            ([paths[0][i] for i in shown], paths[1]),
            (pids[0][shown], pids[1]),
            (camids[0][shown], camids[1]),
            node.TOPK,
            lambda query: people.left_out_of(shown[query]),
            self.cfg.TEST.METRIC,
        )
        order = name_of_number(self.cfg.TEST.METRIC)
        title = f"{self._title()}: nearest images by {order}, before any re-ranking"
        path = self._file("rank_list", ".png")
        save_rank_lists(draw_rank_lists(ranked, title, node.TOPK, read=self.erased or read_picture), path)
        logger.info("rank lists drawn to %s", path)

    def _compile_dependencies(self) -> None:
        """Nothing to compile: the ranking is vectorised NumPy, see compat."""


def ranking_distances(cfg: CfgNode, features: Tensor, num_query: int) -> Rows:
    """Return the distances (Q, G) that rank the gallery: after TEST.AQE, by TEST.METRIC, after TEST.RERANK.

    Args:
        cfg: the run's config.
        features: (Q + G, D), the queries first.
        num_query: Q.
    """
    if cfg.TEST.AQE.ENABLED:
        node = cfg.TEST.AQE
        features = expand(features, node.QE_K, node.ALPHA, node.QE_TIME, cfg.TEST.EVAL_MEMORY_MB)
    query, gallery = features[:num_query], features[num_query:]
    distances = DistanceRows(query, gallery, cfg.TEST.METRIC)
    if cfg.TEST.RERANK.ENABLED:
        node = cfg.TEST.RERANK
        settings = (cfg.TEST.METRIC, node.K1, node.K2, node.LAMBDA, cfg.TEST.EVAL_MEMORY_MB)
        return ReRankedRows(distances, features, *settings, search=nearest_by_all)
    return distances


def _of_all_processes(matches: Matches) -> Matches:
    """The matches of all queries, in order: each process has those of its share."""
    counts, ranks, distances = (
        gather_rows([torch.from_numpy(array)]).numpy() for array in (matches.counts, matches.ranks, matches.distances)
    )
    return Matches(counts, ranks, distances)
