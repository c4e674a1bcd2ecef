"""The papers' claims as questions: runs that can start, a bootstrap that is right, and a page that is the record's."""

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import evidence
import evidence_page
import evidence_runs
import numpy as np
import pytest
from evidence_questions import HOLISTIC, KEPT, MAP, QUESTIONS, TRUNKS, Arm, Claim, Question
from evidence_runs import COMMON, SCALE, RunError, Trial, key, numbers, plan
from evidence_statistics import Difference, Scores, difference
from scipy import stats

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.config import mistakes
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.evaluation.groups import Group
from fastreid_ext.evaluation.query_file import write_queries
from fastreid_ext.evaluation.query_metrics import QueryMetrics

ARMS = {
    **{f"{q.name}: {name}": arm for q in QUESTIONS for name, arm in q.arms.items()},
    **{f"trunk: {name}": trunk for name, trunk in TRUNKS.items()},
}
DEMO = Trial()
TWO = Question(
    "two",
    "Two methods",
    "Nobody, 2026",
    {"new": Arm("demo/deepminer.yml", seeds=(0, 1)), "old": Arm("demo/baseline.yml", seeds=(0, 1))},
    (
        Claim("new is ahead", "new", "old"),
        Claim("new keeps more", "new", "old", KEPT),
        Claim("tails", "old", "new", group="tail"),
    ),
    "A note.",
)


# ---- questions ------------------------------------------------------------------------------------------------------


def test_every_run_can_start():
    """All that the checks before data and model find; each key of an arm changes its config, or is that of another."""
    wrong = {}
    for name, arm in ARMS.items():
        cfg = get_cfg()
        merge_config(cfg, config_file_of(arm.config), [*COMMON, *arm.overrides, *DEMO.pairs(), "MODEL.DEVICE", "cpu"])
        wrong |= {name: found} if (found := list(mistakes(cfg, 1))) else {}
    assert wrong == {}


def test_claims_are_of_arms_and_no_two_arms_are_the_same():
    for question in QUESTIONS:
        assert {name for claim in question.claims for name in (claim.ahead, claim.of)} <= question.arms.keys()
        assert len({key(arm, 0, DEMO) for arm in question.arms.values()}) == len(question.arms)
        for arm in question.arms.values():
            assert not arm.tested_with or Arm(arm.config, arm.overrides, arm.trunk) in question.arms.values()


def test_the_plan_goes_by_question_and_seed_and_trains_nothing_twice():
    runs = [(key(arm, seed, DEMO), seed) for arm, seed in plan(QUESTIONS)]
    assert len({name for name, _ in runs}) == len(runs)
    assert {name for name, _ in runs} == {
        key(arm, seed, DEMO) for question in QUESTIONS for arm in question.arms.values() for seed in arm.seeds
    }
    first = len(QUESTIONS[0].arms)
    assert [seed for _, seed in runs[: 3 * first]] == [0] * first + [1] * first + [2] * first


def test_a_trial_is_another_run():
    arm = TWO.arms["new"]
    assert key(arm, 0, DEMO) != key(arm, 0, Trial("Tiny")) != key(arm, 0, Trial("Tiny", ("SOLVER.MAX_EPOCH", "1")))


# ---- statistics -----------------------------------------------------------------------------------------------------


@pytest.fixture
def scores():
    """(new, old): three seeds, 60 queries, some hard and some easy, the new one better by about 0.05."""
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.2, 0.8, 60)

    def method(gain):
        clean = np.clip(hard + gain + rng.normal(0, 0.02, (3, 1)) + rng.normal(0, 0.1, (3, 60)), 0, 1)
        return Scores(clean, clean * rng.uniform(0.5, 0.9, (3, 60)))

    return method(0.05), method(0.0)


def naive(new, old, measure, draws=2000):
    """The same in words: draw seeds, draw queries, average, subtract."""
    rng, found = np.random.default_rng(123), []
    for _ in range(draws):
        seeds, queries = rng.integers(0, 3, 3), rng.integers(0, 60, 60)
        values = []
        for method in (new, old):
            clean = np.mean([method.clean[s][queries].mean() for s in seeds])
            erased = np.mean([method.erased[s][queries].mean() for s in seeds])
            values.append(100 * (erased / clean if measure == KEPT else clean))
        found.append(values[0] - values[1])
    return np.percentile(found, [2.5, 97.5])


@pytest.mark.parametrize("measure", [MAP, KEPT])
def test_the_bootstrap_is_that_of_a_loop(scores, measure):
    new, old = scores
    found = difference(new, old, kept=measure == KEPT)
    low, high = naive(new, old, measure)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.08 * (high - low))  # of 2,000 draws
    shares = [100 * method.erased.mean() / method.clean.mean() for method in scores]
    direct = shares[0] - shares[1] if measure == KEPT else 100 * (new.clean.mean() - old.clean.mean())
    assert found.value == pytest.approx(direct) and (found.seeds, found.queries) == (3, 60)


def test_of_one_seed_it_is_scipys_paired_bootstrap(scores):
    new, old = (Scores(method.clean[:1]) for method in scores)
    found = difference(new, old)
    reference = stats.bootstrap(
        (new.clean[0], old.clean[0]),
        lambda a, b, axis=-1: 100 * (a.mean(axis=axis) - b.mean(axis=axis)),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(reference), abs=0.05 * (reference[1] - reference[0]))


def test_what_both_methods_share_is_no_spread():
    """Queries differ by far more than the methods: paired, the interval is the difference itself."""
    old = np.random.default_rng(1).uniform(0, 0.9, (3, 40))
    found = difference(Scores(old + 0.03), Scores(old))
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))


@pytest.mark.parametrize(
    ("low", "high", "seeds", "verdict"),
    [
        (0.1, 3.0, 3, "seen"),
        (0.1, 3.0, 1, "undecided at this size"),
        (-0.1, 3.0, 3, "undecided at this size"),
        (-3.0, -0.1, 3, "not seen"),
        (-3.0, 0.0, 2, "not seen"),
    ],
)
def test_verdicts(low, high, seeds, verdict):
    assert Difference((low + high) / 2, low, high, seeds, 200).verdict == verdict


def test_what_is_not_paired_is_refused(scores):
    new, old = scores
    with pytest.raises(ValueError, match="not paired"):
        difference(Scores(new.clean[:2]), old)
    with pytest.raises(ValueError, match="erased images"):
        difference(Scores(new.clean), Scores(old.clean), kept=True)


# ---- the page -------------------------------------------------------------------------------------------------------


def made_up(clean, erased, images="abc", config="demo/deepminer.yml", **more):
    """A row of the record: 4 queries, of which the last has no match and the first two are tails."""
    tested = {"images": images, "groups": {"tail (4 to 6 training images)": [0, 1]}, "first_rank": [1, 3, 2, 0]}
    tested |= {"average_precision": [round(v * SCALE) for v in clean], "erased": [round(v * SCALE) for v in erased]}
    metrics = {"Rank-1": 100 / 3, "mAP": 100 * sum(clean[:3]) / 3}
    return {
        "config": config,
        "overrides": [],
        "trunk": "",
        "tested_with": [],
        "commit": "abc123",
        "seconds": 1800,
        "hardware": {"cpu": "AMD", "cores": 2},
        "versions": {"torch": "2.15"},
        "results": dict.fromkeys(("SynthReID", "SynthReIDOccluded"), metrics),
        "queries": dict.fromkeys(("SynthReID", "SynthReIDOccluded"), tested),
        **more,
    }


def record_of_two(**more):
    new, old = TWO.arms.values()
    rows = {key(new, s, DEMO): made_up([0.6, 0.7, 0.8, 0.0], [0.3, 0.3, 0.3, 0.0], **more) for s in (0, 1)}
    return rows | {key(old, s, DEMO): made_up([0.5, 0.6, 0.7, 0.0], [0.3, 0.3, 0.3, 0.0]) for s in (0, 1)}


def cells(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start} ")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_a_question_on_the_page():
    text = evidence_page.page([TWO], record_of_two(), DEMO)
    assert cells(text, "new is ahead")[1:] == ["+10.0", "+10.0 to +10.0", "2", "3", "seen"]
    assert cells(text, "new keeps more")[1] == f"{100 * (0.9 / 2.1 - 0.9 / 1.8):+.1f}" and "| not seen " in text
    assert cells(text, "tails")[1:] == ["-10.0", "-10.0 to -10.0", "2", "2", "not seen"]
    assert cells(text, "new ")[1:] == ["2", "33.3 ± 0.0", "70.0 ± 0.0", "33.3 ± 0.0", "70.0 ± 0.0"]
    assert "Commit abc123; 2 cores of an AMD; torch 2.15; 2.0 hours." in text and "1 seen; 2 not seen" in text


def test_what_was_not_run_says_so():
    text = evidence_page.page([TWO], {}, DEMO)
    assert cells(text, "new is ahead")[1:] == ["", "", "", "", "not run here"]
    assert cells(text, "old")[1:] == ["0 of 2", *["not run here"] * 4] and "3 not run here" in text
    runs = record_of_two()
    runs.pop(key(TWO.arms["old"], 1, DEMO))
    assert cells(evidence_page.page([TWO], runs, DEMO), "new is ahead")[3:] == ["1 of 2", "3", "undecided at this size"]


def test_runs_on_other_images_are_not_compared():
    with pytest.raises(ValueError, match="different images of SynthReID"):
        evidence_page.page([TWO], record_of_two(images="def"), DEMO)


def test_the_page_is_that_of_the_record():
    """python benchmarks/evidence.py --page writes it."""
    runs = evidence.read_record(evidence.RECORD)
    assert evidence.PAGE.read_text(encoding="utf-8") == evidence_page.page(QUESTIONS, runs, DEMO)


# ---- the runner -----------------------------------------------------------------------------------------------------


@pytest.fixture
def call(tmp_path, monkeypatch):
    """``call(hours, seeds, fails)``: the runs of TWO that were begun, none of which trains anything."""

    def run(hours=1.0, seeds=None, fails=()):
        begun = []

        def carry_out(arm, seed, output, trial, keep):
            begun.append((arm.config, seed))
            if begun[-1] in fails:
                raise RunError("it broke")
            return made_up([0.5] * 4, [0.4] * 4, config=arm.config, seconds=900)

        monkeypatch.setattr(evidence, "carry_out", carry_out)
        args = Namespace(hours=hours, seeds=seeds, output=tmp_path / "runs", record=tmp_path / "evidence.json")
        evidence.run_all((TWO,), args, DEMO)
        return begun

    return run


NEW, OLD = "demo/deepminer.yml", "demo/baseline.yml"


def test_runs_go_on_where_they_were(call, tmp_path, capsys):
    assert call(seeds=[0], fails=[(NEW, 0)]) == [(NEW, 0), (OLD, 0)]
    assert "it broke" in capsys.readouterr().err
    record = evidence.read_record(tmp_path / "evidence.json")
    assert list(record) == [key(TWO.arms["old"], 0, DEMO)]
    assert call() == [(NEW, 0), (NEW, 1), (OLD, 1)] and call() == []
    runs = evidence.read_record(tmp_path / "evidence.json")
    assert evidence.status((TWO,), runs, DEMO) == "two: 4 of 4 runs"
    assert evidence.status((TWO,), {}, DEMO).startswith("two: 0 of 4 runs; next: deepminer-")


def test_what_another_process_adds_meanwhile_stays(call, tmp_path, monkeypatch):
    record, added = tmp_path / "evidence.json", {}

    def carry_out(arm, seed, output, trial, keep):
        evidence.write_record(record, {**evidence.read_record(record), f"other-{len(added)}": made_up([0.5], [0.4])})
        added[arm.config] = seed
        return made_up([0.5] * 4, [0.4] * 4, config=arm.config, seconds=900)

    args = Namespace(hours=1.0, seeds=[0], output=tmp_path / "runs", record=record)
    monkeypatch.setattr(evidence, "carry_out", carry_out)
    evidence.run_all((TWO,), args, DEMO)
    assert sorted(evidence.read_record(record)) == sorted(
        ["other-0", "other-1", key(TWO.arms["new"], 0, DEMO), key(TWO.arms["old"], 0, DEMO)]
    )


def test_weights_are_not_tested_before_they_are_trained(call, monkeypatch):
    again = replace(TWO.arms["new"], tested_with=("MODEL.OCCLUDED.ME.ENABLED", "False"))
    monkeypatch.setitem(TWO.arms, "again", again)
    assert call(seeds=[0], fails=[(NEW, 0)]) == [(NEW, 0), (OLD, 0)]
    assert call(seeds=[0]) == [(NEW, 0), (NEW, 0)]
    assert evidence.is_tested_again(TWO.arms["new"], (TWO,)) and not evidence.is_tested_again(TWO.arms["old"], (TWO,))


def test_no_run_is_begun_that_the_hours_would_cut(call, capsys):
    """Runs took a quarter of an hour."""
    assert call(seeds=[0]) == [(NEW, 0), (OLD, 0)]
    assert call(hours=0.2) == [] and "the hours are over" in capsys.readouterr().out


def test_a_record_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "other.json").write_text('{"runs": {}}')
    with pytest.raises(SystemExit, match="no record of this script"):
        evidence.read_record(tmp_path / "other.json")


def test_a_run_is_trained_from_its_trunk_or_tests_the_weights_of_another(tmp_path, monkeypatch):
    """What would be called, and what is kept; the record names no path of this machine."""
    trained, commands = [], []

    def leave(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text('{"results": {}}')
        (folder / "model_final.pth").touch()

    def train(config, seed, folder, overrides):
        trained.append(
            (config, dict(zip(overrides[::2], overrides[1::2], strict=True)), os.environ["FASTREID_DATASETS"])
        )
        leave(folder / f"seed{seed}")

    def run_command(words):
        commands.append(words)
        leave(Path(words[words.index("OUTPUT_DIR") + 1]))
        return 0

    monkeypatch.setenv("FASTREID_DATASETS", "here")
    monkeypatch.setattr(evidence_runs.repeat, "train", train)
    monkeypatch.setattr(evidence_runs, "run_command", run_command)
    monkeypatch.setattr(evidence_runs, "generate", lambda root, **settings: root)
    arm = next(arm for question in QUESTIONS for arm in question.arms.values() if arm.trunk)
    row = evidence_runs.carry_out(arm, 1, tmp_path, DEMO, keep=False)
    (trunk, _, data), (config, keys, back) = trained
    assert (trunk, config) == (TRUNKS[arm.trunk].config, arm.config) and data != "here" and back == "here"
    assert keys["MODEL.WEIGHTS"] == str(tmp_path / "trunks" / arm.trunk / "seed0" / "model_final.pth")
    assert str(tmp_path) not in json.dumps(row) and not list((tmp_path / key(arm, 1, DEMO)).glob("*.pth"))

    again = next(arm for question in QUESTIONS for arm in question.arms.values() if arm.tested_with)
    base = replace(again, tested_with=())
    evidence_runs.carry_out(base, 1, tmp_path, DEMO, keep=evidence.is_tested_again(base, QUESTIONS))
    row = evidence_runs.carry_out(again, 1, tmp_path, DEMO, keep=False)
    (words,) = commands
    assert words[words.index("MODEL.WEIGHTS") + 1] == str(tmp_path / key(base, 1, DEMO) / "model_final.pth")
    assert words[-2:] == ["MODEL.OCCLUDED.ME.ENABLED", "False"] and "DATASETS.HOLD_OUT" in words
    assert not any(word.startswith("SOLVER.") for word in words) and row["tested_with"] == words[-2:]


def test_the_numbers_of_a_run(tmp_path):
    metrics = QueryMetrics(np.array([2, 0]), np.array([0.51234, 0.0]), np.zeros(2))
    groups = [Group("tail", np.array([True, False]))]
    for ending, value in (("", 0.51234), ("_erased", 0.25)):
        path = tmp_path / f"queries_{HOLISTIC}{ending}.json"
        precision = QueryMetrics(metrics.first_rank, np.array([value, 0.0]), metrics.inverse_penalty)
        write_queries(path, {}, precision, ["x/a.jpg", "x/b.jpg"], np.array([1, 2]), groups)
    (tmp_path / "results.json").write_text(json.dumps({"results": {HOLISTIC: {"mAP": 51.23456}}}))
    found = numbers(tmp_path)
    assert found["results"] == {HOLISTIC: {"mAP": 51.235}}
    tested = found["queries"][HOLISTIC]
    assert (tested["average_precision"], tested["erased"], tested["first_rank"]) == ([5123, 0], [2500, 0], [2, 0])
    assert tested["groups"] == {"tail": [0]} and len(tested["images"]) == 16
    Path(tmp_path / f"queries_{HOLISTIC}.json").unlink()
    with pytest.raises(RunError, match="queries_SynthReID.json is missing"):
        numbers(tmp_path)
