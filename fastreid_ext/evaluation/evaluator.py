"""FastReID's evaluator, with a picture of rank lists beside the numbers."""

import itertools
import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation import ReidEvaluator
from fastreid.utils import comm
from fastreid.utils.compute_dist import build_dist

from fastreid_ext.evaluation.rank_list import draw_rank_lists, rank_queries, save_rank_lists

logger = logging.getLogger(__name__)


class RankListEvaluator(ReidEvaluator):
    """The host's metrics, and ``rank_list_<data set>.png`` in the output folder (TEST.RANK_LIST).

    Args:
        cfg: the run's config.
        num_query: how many of the test images are queries; they come first.
        dataset_name: for the file name and the title.
        output_dir: where the picture goes.
    """

    def __init__(self, cfg: CfgNode, num_query: int, dataset_name: str, output_dir: str):
        super().__init__(cfg, num_query, output_dir)
        self.dataset_name = dataset_name

    def process(self, inputs: Mapping[str, Any], outputs: torch.Tensor) -> None:
        super().process(inputs, outputs)
        self._predictions[-1]["paths"] = list(inputs["img_paths"])

    def evaluate(self) -> OrderedDict[str, float]:
        results = super().evaluate()
        if self.cfg.TEST.RANK_LIST.ENABLED:
            self._draw_rank_lists()
        return results

    def _draw_rank_lists(self) -> None:
        gathered = comm.gather(self._predictions, dst=0)
        if not comm.is_main_process():
            return
        predictions = list(itertools.chain(*gathered))
        features = torch.cat([p["feats"] for p in predictions])
        pids = torch.cat([p["pids"] for p in predictions]).numpy()
        camids = torch.cat([p["camids"] for p in predictions]).numpy()
        paths = list(itertools.chain(*(p["paths"] for p in predictions)))

        node, n = self.cfg.TEST.RANK_LIST, self._num_query
        # Evenly spread over the sorted queries: other identities each, and the same ones after every evaluation.
        shown = np.unique(np.linspace(0, n - 1, num=min(node.QUERIES, n)).astype(int))
        ranked = rank_queries(
            build_dist(features[shown], features[n:], self.cfg.TEST.METRIC),
            ([paths[i] for i in shown], paths[n:]),
            (pids[shown], pids[n:]),
            (camids[shown], camids[n:]),
            node.TOPK,
        )
        title = f"{self.dataset_name}: nearest gallery images by {self.cfg.TEST.METRIC} distance, before any re-ranking"
        path = Path(self._output_dir) / f"rank_list_{self.dataset_name}.png"
        save_rank_lists(draw_rank_lists(ranked, title, node.TOPK), path)
        logger.info("rank lists drawn to %s", path)

    def _compile_dependencies(self) -> None:
        """Nothing to compile: the ranking is vectorised NumPy, see compat."""
