"""The nearest gallery images of some queries, as the evaluation of a model ranks them."""

import torch
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from torch import nn

from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.evaluation.evaluator import ranking_distances
from fastreid_ext.evaluation.gathered import GatheredFeatures
from fastreid_ext.evaluation.rank_list import RankedQuery, nearest_images
from fastreid_ext.evaluation.ranks import GroundTruth
from fastreid_ext.visual.image_sources import spread


def rankings(cfg: CfgNode, model: nn.Module, data: str, count: int, topk: int) -> list[RankedQuery]:
    """Return some queries of a test set, evenly spread over all of them, with their nearest gallery images.

    Distances are those of the evaluation, after TEST.AQE and TEST.RERANK; what the evaluation leaves out is left out.

    Args:
        cfg: of the model.
        model: in evaluation mode.
        data: name of the test set.
        count: queries, 0 = all.
        topk: images of each.

    Raises:
        DataSetError, ConfigError, ImageError, PoseError: as :func:`fastreid_ext.engine.loaders.eval_loader`.
    """
    loader, num_query = eval_loader(cfg, data)
    gathered = GatheredFeatures()
    inference_on_dataset(model, loader, gathered, flip_test=cfg.TEST.FLIP.ENABLED)
    images = loader.dataset
    paths = images.split([item[0] for item in images.img_items])
    pids, camids = (images.split(torch.cat(numbers).numpy()) for numbers in (gathered.pids, gathered.camids))
    queries, gallery = images.split(torch.cat(gathered.features).float())
    distances = ranking_distances(cfg, torch.cat([queries, gallery]), num_query)
    people = GroundTruth(pids, camids, images.left_out)
    ranked = []
    for query in spread(num_query, count):
        row = distances.rows(query, query + 1)[0].cpu().numpy()
        own = pids[0][query], camids[0][query]
        order = nearest_images(row, *own, pids[1], camids[1], people.left_out_of(query))[:topk]
        right = [bool(pids[1][image] == pids[0][query]) for image in order]
        ranked.append(RankedQuery(paths[0][query], [paths[1][image] for image in order], right))
    return ranked
