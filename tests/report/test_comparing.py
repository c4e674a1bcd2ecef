"""Seeds of one config as a group, their spread, and what configs differ in."""

import json
import statistics

import pytest

from fastreid_ext.report.charts import curve_charts, epochs_of, histogram_chart, history_charts, members_of
from fastreid_ext.report.comparing import config_differences, group_rows, grouped, metric_rows
from fastreid_ext.report.run_files import read_run
from fastreid_ext.report.tables import costs_table, results_table


@pytest.fixture
def groups(make_run):
    """Three seeds of one config, and a run of another."""
    folders = [make_run(f"tiny/seed{n}", seed=n) for n in (1, 2, 3)]
    return grouped([*map(read_run, folders), read_run(make_run("base", seed=1, SOLVER__BASE_LR=0.5))])


def test_seeds_are_a_group(groups):
    assert [(group.name, [m.run.seed for m in group.members]) for group in groups] == [
        ("tiny", [1, 2, 3]),
        ("base", [1]),
    ]
    assert config_differences(groups) == [
        ("SOLVER.BASE_LR", [groups[0].members[0].run.config["SOLVER.BASE_LR"], "0.5"])
    ]


def test_an_evaluation_of_the_same_config_stands_alone(make_run):
    first, second = read_run(make_run("a")), read_run(make_run("b"))
    assert len(grouped([first, second])) == 1
    second.record["eval_only"] = True
    assert [group.name for group in grouped([first, second])] == ["a", "b"]


def test_runs_without_a_config_are_no_group(make_run):
    folders = [make_run("a"), make_run("b")]
    for folder in folders:
        (folder / "config.yaml").unlink()
        (folder / "report.json").unlink()
    assert len(grouped([read_run(folder) for folder in folders])) == 2


def test_spread(groups):
    first, second = metric_rows(groups)
    values = [member.run.results["People"]["mAP"] for member in groups[0].members]
    assert first["values"]["mAP"].mean == pytest.approx(statistics.fmean(values))
    assert first["values"]["mAP"].spread == pytest.approx(statistics.stdev(values))
    assert second["values"]["mAP"].spread is None and second["runs"] == 1
    text = results_table(groups).rows[0]
    assert text[-1].text == "3" and "±" in text[2].text and text[2].more.startswith("each run: ")


def test_groups_of_queries(groups):
    rows = {row["label"]: row for row in group_rows(groups)}
    assert [rows[label]["kind"] for label in rows] == ["occlusion", "occlusion", "training images", ""]
    all_of_first = rows["all"]["values"][0]["mAP"].mean
    assert all_of_first == pytest.approx(metric_rows(groups)[0]["values"]["mAP"].mean)


def test_epochs(groups, make_run):
    member = members_of(groups)[0]
    assert epochs_of(member) == ([1, 2, 3, 4, 5], "epoch")
    running = make_run("going on")
    (running / "results.json").unlink()
    assert epochs_of(grouped([read_run(running)])[0].members[0]) == ([4, 8, 12, 16, 20], "iteration")


def test_charts_have_every_run(groups):
    charts = {chart.key: chart for chart in (*history_charts(groups), *curve_charts(groups))}
    assert set(charts) == {
        *("loss-total_loss", "loss-loss_cls", "lr-lr", "metric-People/mAP"),
        *("spread-People", "cmc-People", "roc-People", "pairs-People", "precision-People"),
    }
    for key in ("loss-total_loss", "lr-lr", "cmc-People", "roc-People", "precision-People"):
        traces = charts[key].traces
        assert [trace["name"] for trace in traces] == ["tiny/seed1", "tiny/seed2", "tiny/seed3", "base"], key
        assert [trace["meta"]["colour"] for trace in traces] == [0, 0, 0, 1]
        assert charts[key].rows and all(len(row) == len(charts[key].head) for row in charts[key].rows)
    assert len({trace["line"]["dash"] for trace in charts["cmc-People"].traces[:3]}) == 3  # told apart without colour
    cmc, first = charts["cmc-People"].traces[0], groups[0].members[0].run.results["People"]
    assert cmc["y"][0] == pytest.approx(first["Rank-1"], abs=1e-3)
    spread = charts["spread-People"].traces
    assert [trace["x"].count("mAP") for trace in spread] == [3, 1]
    pairs = charts["pairs-People"]
    assert len(pairs.traces) == 4 and pairs.x["title"]["text"] == "cosine similarity"


def test_one_evaluation_is_no_curve(make_run):
    folder = make_run("tiny")
    lines = (folder / "metrics.json").read_text().splitlines()
    (folder / "metrics.json").write_text("\n".join([*(line.replace("People/", "x") for line in lines[:-1]), lines[-1]]))
    charts = history_charts(grouped([read_run(folder)]))
    assert not [chart.key for chart in charts if chart.key.startswith("metric-")]


def test_the_rate_is_that_of_epochs(make_run):
    """A record within an epoch, which the host writes every 200 steps, has the next epoch's rate already."""
    folder = make_run("tiny")
    first, *others = (folder / "metrics.json").read_text().splitlines()
    within = json.dumps({**json.loads(first), "iteration": 5, "lr": 5e-4})
    (folder / "metrics.json").write_text("\n".join([first, within, *others]))
    charts = {chart.key: chart for chart in history_charts(grouped([read_run(folder)]))}
    assert list(charts["lr-lr"].traces[0]["x"]) == [1, 2, 3, 4, 5] and set(charts["lr-lr"].traces[0]["y"]) == {1e-3}
    assert list(charts["loss-total_loss"].traces[0]["x"]) == [1, 1.5, 2, 3, 4, 5]


def test_cost(groups):
    row = costs_table(groups).rows[0]
    # 4 filters of 3 x 3 x 3 at 30 x 14 positions; 64 images in half a second
    assert [cell.text for cell in row[2:6]] == ["32 x 16", "0.00", "0.00", "0.000"]
    assert row[5].order == pytest.approx(4 * 27 * 30 * 14 / 1e9) and row[7].text == "128.0"
    assert float(row[8].text) > 0


def test_the_rates_of_an_open_set_are_results(make_run):
    run = read_run(make_run("a"))
    assert "TPIR@FPIR=1e-01" not in [name for name, _ in results_table(grouped([run])).head]
    next(iter(run.results.values()))["TPIR@FPIR=1e-01"] = 12.5
    table = results_table(grouped([run]))
    place = [name for name, _ in table.head].index("TPIR@FPIR=1e-01")
    assert table.rows[0][place].text == "12.5"


def test_a_histogram_without_bins(make_run):
    folder = make_run("tiny")
    file = folder / "details_People.json"
    found = json.loads(file.read_text())
    for edges in ([], [0.5]):
        file.write_text(json.dumps({**found, "histogram": {"edges": edges, "same": [], "different": []}}))
        assert histogram_chart(grouped([read_run(folder)]), "People") is None
