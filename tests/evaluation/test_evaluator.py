"""The streamed evaluator: on one process and on several, its errors, and what it keeps."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from fastreid_ext.compat.distributed import leave_process_group
from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.evaluation import check_evaluation
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import ConfigError, EvaluationError
from fastreid_ext.evaluation import blocks, collective
from fastreid_ext.evaluation.collective import gather_rows, sum_over_processes
from fastreid_ext.evaluation.evaluator import RankListEvaluator, ranking_distances
from fastreid_ext.evaluation.groups import Group
from fastreid_ext.evaluation.open_set import people_taken_out

ReidEvaluator = RankListEvaluator.__base__  # a spawned process must not import the host before its patches
QUERIES, IMAGES = 20, 61
EVERYTHING = ["TEST.ROC.ENABLED", True, "TEST.RANK_LIST.ENABLED", False]
AGAIN = "all are queries, and the gallery"
SETTINGS = {
    "plain": EVERYTHING,
    "euclidean": [*EVERYTHING, "TEST.METRIC", "euclidean"],
    "expanded": [*EVERYTHING, "TEST.AQE.ENABLED", True],
    "re-ranked": [*EVERYTHING, "TEST.RERANK.ENABLED", True],
    "cuhk03": [*EVERYTHING, "TEST.PROTOCOL", "cuhk03"],
    AGAIN: [*EVERYTHING, "TEST.AQE.ENABLED", True, "TEST.OPEN_SET.SHARE", 0.5],
    "open": [*EVERYTHING, "TEST.OPEN_SET.SHARE", 0.7],
    "open, re-ranked": [*EVERYTHING, "TEST.OPEN_SET.SHARE", 0.7, "TEST.RERANK.ENABLED", True],
}


def images():
    """(features, identities, cameras) of queries, then gallery."""
    rng = torch.Generator().manual_seed(0)
    pids = torch.randint(0, 9, (IMAGES,), generator=rng)
    pids[5] = 20  # a query whose person is not in the gallery
    features = torch.randn(IMAGES, 8, generator=rng) + 1.5 * torch.randn(21, 8, generator=rng)[pids]
    return features, pids, torch.randint(0, 3, (IMAGES,), generator=rng)


def config(overrides):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "SEED", 3, *overrides])
    return cfg


def same(features):
    return features


def evaluated(cfg, folder, share=range(IMAGES), change=same, kind=RankListEvaluator, again=False):
    """Evaluate some of the images, as a process with those would."""
    features, pids, camids = images()
    features = change(features)
    queries = IMAGES if again else QUERIES
    groups = [Group("even", np.arange(queries) % 2 == 0)]
    evaluator = kind(cfg, queries, *(("people", str(folder), groups, again) if kind is RankListEvaluator else ()))
    evaluator.reset()
    for part in torch.tensor(list(share), dtype=torch.long).split(4):
        if len(part):
            batch = {"targets": pids[part], "camids": camids[part], "img_paths": [f"image {int(i)}" for i in part]}
            evaluator.process(batch, features[part])
    return evaluator.evaluate()


def work(rank, world_size, folder, change):
    """What each of several processes does, as a test loader would share the images."""
    torch.set_num_threads(1)
    blocks.MOST_ROWS = 6
    collective.GATHER_MB = 7 * 32 / 2**20  # seven features: each process's go in several parts
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    size = math.ceil(IMAGES / world_size)
    share = range(rank * size, min((rank + 1) * size, IMAGES))
    found = {}
    for name, overrides in SETTINGS.items():
        try:
            change_features = with_nan if change else same
            found[name] = evaluated(config(overrides), folder, share, change_features, again=name == AGAIN)
        except EvaluationError as error:
            found[name] = str(error)
    rows = torch.arange(rank * 10, rank * 10 + rank)  # none of rank 0
    found["gathered"] = gather_rows(list(rows.split(1))).tolist()
    found["sum"] = sum_over_processes(torch.tensor([1, rank])).tolist()
    Path(folder, f"rank{rank}.json").write_text(json.dumps(found))
    leave_process_group()


def with_nan(features):
    features[[7, 60]] = torch.nan
    return features


def on_ranks(world_size, folder, change=False):
    mp.start_processes(work, (world_size, str(folder), change), nprocs=world_size, start_method="forkserver")
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world_size)]


# ---- several processes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_several_processes_give_the_numbers_of_one(world_size, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_ROWS", 6)
    main, *others = on_ranks(world_size, tmp_path)
    for name, overrides in SETTINGS.items():
        (tmp_path / "one").mkdir(exist_ok=True)
        expected = evaluated(config(overrides), tmp_path / "one", again=name == AGAIN)
        assert main[name] == {key: pytest.approx(value, abs=1e-6) for key, value in expected.items()}, name
        assert all(other[name] == {} for other in others)
    for report in ("report", "open_set"):
        record, expected = ((folder / f"{report}_people.json").read_text() for folder in (tmp_path, tmp_path / "one"))
        assert json.loads(record) == json.loads(expected)
    for found in (main, *others):
        assert found["gathered"] == [10, 20, 21][: (0, 0, 1, 3)[world_size]]
        assert found["sum"] == [world_size, sum(range(world_size))]


@pytest.mark.slow
def test_all_processes_name_the_images_that_are_no_numbers(tmp_path):
    for found in on_ranks(2, tmp_path, change=True):
        for name in SETTINGS:
            assert found[name].startswith("the feature of image 7, image 60 has NaN"), name


# ---- one ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [SETTINGS[name] for name in ("plain", "euclidean", "expanded")])
def test_the_hosts_numbers(overrides, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_ROWS", 6)
    cfg = config(overrides)
    host = evaluated(cfg, tmp_path, kind=ReidEvaluator)
    found = evaluated(cfg, tmp_path)
    assert found == {key: pytest.approx(float(value), rel=1e-6, abs=1e-6) for key, value in host.items()}


@pytest.mark.parametrize("name", ["plain", "expanded"])
def test_a_gallery_of_the_queries_gives_the_hosts_numbers(name, tmp_path):
    """FastReID's evaluator gets them twice."""
    cfg, twice = config(SETTINGS[name]), [*range(IMAGES), *range(IMAGES)]
    host = evaluated(cfg, tmp_path, twice, kind=ReidEvaluator, again=True)
    found = evaluated(cfg, tmp_path, again=True)
    assert found == {key: pytest.approx(float(value), rel=1e-6, abs=1e-6) for key, value in host.items()}


def test_single_shots_of_a_query_without_a_match_do_not_count(tmp_path):
    """All others find their person; an average over all queries would be 95."""
    found = evaluated(config(SETTINGS["cuhk03"]), tmp_path, change=lambda features: torch.eye(21)[images()[1]])
    assert found["Rank-1"] == found["mAP"] == 100


def test_half_types_stay_half_until_they_are_ranked(tmp_path):
    evaluator = RankListEvaluator(config([]), QUERIES, "people", str(tmp_path))
    batch = {"targets": torch.zeros(2), "camids": torch.zeros(2), "img_paths": ["a", "b"]}
    for dtype, kept in ((torch.float16, torch.float16), (torch.float32, torch.float32), (torch.float64, torch.float32)):
        evaluator.process(batch, torch.zeros(2, 4, dtype=dtype))
        assert evaluator._predictions[-1]["feats"].dtype == kept
    half = evaluated(config(EVERYTHING), tmp_path, change=torch.Tensor.half)
    upcast = evaluated(config(EVERYTHING), tmp_path, change=lambda features: features.half().float())
    assert half == pytest.approx(upcast, abs=1e-6)


def test_images_that_are_no_numbers(tmp_path):
    for drawn in (True, False):
        cfg = config(["TEST.RANK_LIST.ENABLED", drawn])
        with pytest.raises(EvaluationError, match="the feature of image 7, image 60 has NaN, inf or too large numbers"):
            evaluated(cfg, tmp_path, change=with_nan)


def test_too_little_memory(tmp_path):
    with pytest.raises(EvaluationError, match=r"raise TEST\.EVAL_MEMORY_MB"):
        evaluated(config([*EVERYTHING, "TEST.EVAL_MEMORY_MB", 0]), tmp_path)


def test_single_shots_change_the_ranks_alone(tmp_path):
    market, cuhk03 = (evaluated(config(SETTINGS[name]), tmp_path) for name in ("plain", "cuhk03"))
    assert (cuhk03["mAP"], cuhk03["mINP"]) == (market["mAP"], market["mINP"])
    assert cuhk03["Rank-1"] != market["Rank-1"] and cuhk03 == evaluated(config(SETTINGS["cuhk03"]), tmp_path)
    assert cuhk03["metric"] == pytest.approx((cuhk03["Rank-1"] + cuhk03["mAP"]) / 2)


@pytest.mark.parametrize(
    ("closed", "opened"), [("plain", "open"), ("re-ranked", "open, re-ranked"), ("expanded", AGAIN)]
)
def test_people_out_of_the_gallery(closed, opened, tmp_path, caplog):
    """The second search changes no number of the first, and is that of a gallery that never had those people."""
    features, pids, camids = images()
    queries, again = (IMAGES if opened == AGAIN else QUERIES), opened == AGAIN
    with caplog.at_level("INFO"):
        found = evaluated(config(SETTINGS[opened]), tmp_path, again=again)
    assert found.items() >= evaluated(config(SETTINGS[closed]), tmp_path, again=again).items()
    record = json.loads((tmp_path / "open_set_people.json").read_text())
    share = config(SETTINGS[opened]).TEST.OPEN_SET.SHARE
    people, out = np.unique(pids[:queries]), people_taken_out(pids[:queries].numpy(), share, 0)
    assert (record["people"], record["taken_out"]) == (len(people), len(out))
    gallery = np.arange(0 if again else QUERIES, IMAGES)
    gallery = gallery[~np.isin(pids[gallery], out)]
    distances = ranking_distances(config(SETTINGS[opened]), torch.cat([features[:queries], features[gallery]]), queries)
    rows, nearest = distances.rows(0, queries).double().numpy(), []
    for query in range(queries):
        same = pids[gallery] == pids[query]
        junk = (same & (camids[gallery] == camids[query])).numpy()
        here = np.where(junk, np.inf, rows[query])
        nearest.append((here.min(), bool(same[here.argmin()]), bool((same.numpy() & ~junk).any())))
    strangers = sorted(distance for distance, _, known in nearest if not known)
    right = [distance for distance, same, known in nearest if known and same]
    known = sum(known for *_, known in nearest)
    assert record["queries"] == {"unknown": len(strangers), "known": known}
    limit = strangers[len(strangers) // 10]
    expected = 100 * sum(distance < limit for distance in right) / known
    assert found["TPIR@FPIR=1e-01"] == pytest.approx(expected) and expected > 0
    assert record["rates"][1]["distance"] == pytest.approx(max(each for each in right if each < limit), abs=1e-6)
    assert "TPIR@FPIR=1e-02" not in found and record["rates"][0]["TPIR"] is None
    assert f"{len(out)} of {len(people)} people are taken out of the gallery" in caplog.text


def test_the_key_chooses_the_evaluator(monkeypatch, tmp_path):
    loader = type("Loader", (), {"dataset": range(IMAGES)})()
    monkeypatch.setattr(Trainer, "build_test_loader", classmethod(lambda cls, cfg, name: (loader, QUERIES)))
    for value, kind in (("streamed", RankListEvaluator), ("host", ReidEvaluator)):
        cfg = config(["TEST.EVALUATOR", value, "OUTPUT_DIR", str(tmp_path)])
        assert type(Trainer.build_evaluator(cfg, "people")[1]) is kind


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["TEST.EVALUATOR", "fast"], "TEST.EVALUATOR is 'fast'"),
        (["TEST.PROTOCOL", "CUHK03"], "TEST.PROTOCOL is 'CUHK03'"),
        (["TEST.EVALUATOR", "host", "TEST.PROTOCOL", "cuhk03"], "TEST.EVALUATOR host"),
    ],
)
def test_wrong_settings(overrides, part):
    with pytest.raises(ConfigError, match=part):
        check_evaluation(config(overrides))
