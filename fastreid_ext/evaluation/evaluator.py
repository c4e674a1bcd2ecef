"""FastReID's evaluator, with a report by groups and a picture of rank lists beside the numbers."""

import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.evaluation import ReidEvaluator
from fastreid.evaluation.query_expansion import aqe
from fastreid.evaluation.roc import evaluate_roc
from fastreid.utils import comm
from fastreid.utils.compute_dist import build_dist
from PIL import Image
from sklearn.metrics import roc_curve

from fastreid_ext.engine.files import write_text
from fastreid_ext.evaluation.groups import Group, group_rows
from fastreid_ext.evaluation.query_metrics import QueryMetrics, query_metrics, summarise
from fastreid_ext.evaluation.rank_list import draw_rank_lists, rank_queries, read_picture, save_rank_lists
from fastreid_ext.evaluation.report import group_record, group_table

logger = logging.getLogger(__name__)

FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)


class RankListEvaluator(ReidEvaluator):
    """The host's metrics, ``report_<test set>.json`` by groups of queries, and ``rank_list_<test set>.png``.

    Args:
        cfg: the run's config.
        num_query: how many of the test images are queries; they come first.
        dataset_name: for the file names and the titles.
        output_dir: where the files go.
        groups: what the report (TEST.REPORT) tells apart; without any there is none.

    Attributes:
        erased: path -> picture as the model sees it in a stress test (TEST.OCCLUSION), for the rank lists; once it is
            set, the files end in ``_erased``.
    """

    def __init__(self, cfg: CfgNode, num_query: int, dataset_name: str, output_dir: str, groups: Sequence[Group] = ()):
        super().__init__(cfg, num_query, output_dir)
        self.dataset_name = dataset_name
        self.groups = groups
        self.erased: Callable[[str], Image.Image] | None = None

    def process(self, inputs: Mapping[str, Any], outputs: torch.Tensor) -> None:
        super().process(inputs, outputs)
        self._predictions[-1]["paths"] = list(inputs["img_paths"])

    def evaluate(self) -> OrderedDict[str, float]:
        """Return the metrics on the main process, {} on the others."""
        comm.synchronize()
        gathered = comm.gather(self._predictions, dst=0)
        if not comm.is_main_process():
            return OrderedDict()
        predictions = list(itertools.chain(*gathered))
        features = torch.cat([p["feats"] for p in predictions])
        pids, camids = (self._parted(torch.cat([p[key] for p in predictions]).numpy()) for key in ("pids", "camids"))
        paths = self._parted(list(itertools.chain(*(p["paths"] for p in predictions))))

        distances = ranking_distances(self.cfg, *self._parted(features))
        metrics = query_metrics(distances, pids, camids)
        results = OrderedDict(summarise(metrics))
        if self.cfg.TEST.ROC.ENABLED:
            results |= true_positive_rates(distances, pids, camids)
        if self.cfg.TEST.REPORT.ENABLED and self.groups:
            self._report(metrics, pids[0])
        if self.cfg.TEST.RANK_LIST.ENABLED:
            self._draw_rank_lists(self._parted(features), pids, camids, paths)
        return results

    def _parted(self, both: Any) -> tuple[Any, Any]:
        """Part what belongs to the queries from what belongs to the gallery."""
        return both[: self._num_query], both[self._num_query :]

    def _file(self, kind: str, suffix: str) -> Path:
        return Path(self._output_dir) / f"{kind}_{self.dataset_name}{'_erased' if self.erased else ''}{suffix}"

    def _title(self) -> str:
        return f"{self.dataset_name}{' erased' if self.erased else ''}"

    def _report(self, metrics: QueryMetrics, pids: np.ndarray) -> None:
        rows = group_rows(metrics, pids.tolist(), self.groups)
        logger.info("%s, by groups of queries:\n%s", self._title(), group_table(rows))
        write_text(self._file("report", ".json"), group_record(self.dataset_name, rows))

    def _draw_rank_lists(self, features: tuple, pids: tuple, camids: tuple, paths: tuple) -> None:
        node, n = self.cfg.TEST.RANK_LIST, self._num_query
        # Evenly spread over the sorted queries: other identities each, and the same ones after every evaluation.
        shown = np.unique(np.linspace(0, n - 1, num=min(node.QUERIES, n)).astype(int))
        ranked = rank_queries(
            build_dist(features[0][shown], features[1], self.cfg.TEST.METRIC),
            ([paths[0][i] for i in shown], paths[1]),
            (pids[0][shown], pids[1]),
            (camids[0][shown], camids[1]),
            node.TOPK,
        )
        title = f"{self._title()}: nearest gallery images by {self.cfg.TEST.METRIC} distance, before any re-ranking"
        path = self._file("rank_list", ".png")
        save_rank_lists(draw_rank_lists(ranked, title, node.TOPK, read=self.erased or read_picture), path)
        logger.info("rank lists drawn to %s", path)

    def _compile_dependencies(self) -> None:
        """Nothing to compile: the ranking is vectorised NumPy, see compat."""


def ranking_distances(cfg: CfgNode, query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
    """Return the distances (Q, G) that rank the gallery: after TEST.AQE, by TEST.METRIC, after TEST.RERANK.

    Args:
        cfg: the run's config.
        query, gallery: features (Q, D) and (G, D).
    """
    if cfg.TEST.AQE.ENABLED:
        query, gallery = aqe(query, gallery, cfg.TEST.AQE.QE_TIME, cfg.TEST.AQE.QE_K, cfg.TEST.AQE.ALPHA)
    distances = build_dist(query, gallery, cfg.TEST.METRIC)
    if cfg.TEST.RERANK.ENABLED:
        node = cfg.TEST.RERANK
        if cfg.TEST.METRIC == "cosine":
            query, gallery = F.normalize(query, dim=1), F.normalize(gallery, dim=1)
        jaccard = build_dist(query, gallery, metric="jaccard", k1=node.K1, k2=node.K2)
        distances = jaccard * (1 - node.LAMBDA) + distances * node.LAMBDA
    return distances


def true_positive_rates(
    distances: np.ndarray, pids: tuple[np.ndarray, np.ndarray], camids: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """Return the rates of right pairs found at three rates of wrong ones, as FastReID does for TEST.ROC."""
    scores, labels = evaluate_roc(distances, *pids, *camids)
    false, true, _ = roc_curve(labels, scores)
    return {f"TPR@FPR={rate:.0e}": true[np.argmin(np.abs(false - rate))] for rate in FALSE_POSITIVE_RATES}
