"""The command ``reproduce`` for a paper: which runs a table has, and what is written of them."""

import json
import os
import shutil
from pathlib import Path

import pytest
import warm

from fastreid_ext.cli import main
from fastreid_ext.commands import reproduce as command
from fastreid_ext.data.synthetic import generate
from fastreid_ext.engine import repeat
from fastreid_ext.errors import ConfigError
from fastreid_ext.reproduce import estimate, side_by_side, table_runs
from fastreid_ext.reproduce.comparison import Comparison
from fastreid_ext.reproduce.paper_tables import projects, tables_of
from fastreid_ext.reproduce.table_runs import Row, Run, rows_of, table_named

SMALL = [
    *("MODEL.BACKBONE.NAME", "build_narrow_resnet_backbone", "MODEL.BACKBONE.DEPTH", "10x"),
    *("MODEL.BACKBONE.NARROW.WIDTH", "8"),
    *(
        "INPUT.SIZE_TRAIN",
        "[64, 32]",
        "INPUT.SIZE_TEST",
        "[64, 32]",
        "MODEL.DEVICE",
        "cpu",
        "MODEL.BACKBONE.LAST_STRIDE",
        "1",
    ),
    *("SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0", "SOLVER.WARMUP_ITERS", "0", "SOLVER.IMS_PER_BATCH", "16"),
    *("DATASETS.NAMES", "('SynthReIDTiny',)", "DATASETS.TESTS", "('SynthReIDTiny',)", "DATALOADER.NUM_WORKERS", "0"),
    *("TEST.RANK_LIST.ENABLED", "False", "SOLVER.CHECKPOINT_KEEP", "('latest',)"),
]


@pytest.fixture
def runs(tmp_path, monkeypatch, runs_in_this_process):
    """On SynthReID tiny."""
    generate(tmp_path / "datasets", "tiny", workers=1, progress=False)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.setattr(table_runs, "SYNTHREID", "SynthReIDTiny")
    return runs_in_this_process


def start_warm(arguments, environment=None, output=None):
    printed = Path(output.name)
    return warm.WarmProcess(["-m", "fastreid_ext", *arguments], {**os.environ, **environment}, printed, printed)


@pytest.mark.slow
def test_a_table_from_the_command_to_the_page(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(estimate, "START", "fork")
    call = ["reproduce", "DeepMiner", "table 3", "--size", "synthreid", "--seeds", "0", "1"]
    output = tmp_path / "tables"
    assert main([*call, "--output", str(output), "--opts", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "Deep Miner, table 3, the local branch: rows: 2, runs: 4" in printed
    assert "demo/deepminer.yml with MODEL.DEEPMINER.ATTENTION_BLOCKS [], 1 epoch: seed 0 is to be trained" in printed
    assert len(runs) == 4
    numbers = json.loads((output / "table3_synthreid.json").read_text())
    first, second = numbers["rows"]
    assert first["row"] == "IE branches after blocks 2 and 3"
    assert first["paper"] == {"data": "Market1501", "mAP": 88.5, "Rank-1": 95.3}
    timed = (
        "- estimate for synthreid/ablation/table2_ie23 for each of 2 seeds: less than a minute: 1 epoch of 4 steps of "
    )
    assert timed in printed and " GiB of memory of the process (peak RSS, without the loader's workers)\n" in printed
    assert "\nestimate of all: less than a minute (evaluation, start" in printed
    results = [
        json.loads((output / f"runs/synthreid/ablation/table2_ie23/seed{seed}/results.json").read_text())["results"]
        for seed in (0, 1)
    ]
    by_seed = first["ours"]["mAP"]["by_seed"]
    assert by_seed == {str(seed): results[seed]["SynthReIDTiny"]["mAP"] for seed in (0, 1)}
    text = (output / "table3_synthreid.md").read_text()
    assert text.strip() in printed
    (row,) = (line for line in text.splitlines() if line.startswith("| IE branches after blocks 2 and 3 and the local"))
    assert "89.4" in row and f"{second['ours']['mAP']['mean']:.1f} ± " in row and "(n = 2)" in row
    assert "mAP on Market1501: the paper's order" in text
    page = (output / "table3_synthreid.html").read_text()
    assert f"<td>{second['ours']['mAP']['mean']:.1f} ± " in page and "<caption>Deep Miner, table 3" in page

    # Table 2 has a row of table 3, whose runs are done
    call[2] = "table 2"
    done = [*call, "--only", "IE branches after blocks 2 and 3", "--output", str(output), "--opts", *SMALL]
    assert main(done) == 0 and len(runs) == 4
    printed = capsys.readouterr().out
    assert "seed 0 is done, seed 1 is done" in printed and "estimate: all runs are done" in printed
    shutil.rmtree(output / "runs/synthreid/ablation/table2_ie23/seed1")
    assert main([*done[: -len(SMALL) - 1], "--no-estimate", "--dry-run", "--opts", *SMALL]) == 0 and len(runs) == 4
    printed = capsys.readouterr().out
    assert "seed 0 is done, seed 1 is to be trained" in printed and "estimate" not in printed

    # Side by side, in processes of their own: the same numbers
    monkeypatch.setattr(side_by_side, "start_command", start_warm)
    call[2:] = ["table 3", "--size", "synthreid", "--seeds", "0", "--jobs", "2", "--no-estimate"]
    assert main([*call, "--output", str(tmp_path / "at_once"), "--opts", *SMALL]) == 0 and len(runs) == 4
    at_once = json.loads((tmp_path / "at_once/table3_synthreid.json").read_text())["rows"]
    for one, other in zip(numbers["rows"], at_once, strict=True):
        for metric in ("mAP", "Rank-1"):
            assert other["ours"][metric]["by_seed"] == {"0": one["ours"][metric]["by_seed"]["0"]}


@pytest.mark.parametrize("project", projects())
@pytest.mark.parametrize("size", command.SIZES)
def test_every_row_of_every_table_has_a_run_that_can_be_merged(project, size):
    tables, settings = tables_of(project), {}
    for table in tables.tables.values():
        try:
            rows = rows_of(tables, table, size=size)
        except ConfigError as error:
            assert size == "synthreid" and "is there on SynthReID" in str(error)
            continue
        for row in rows:
            settings[row.run] = settings.get(row.run) or repeat.settings_of(row.run.config, row.run.overrides)
            tests = settings[row.run]["DATASETS.TESTS"] + settings[row.run]["DATASETS.TESTS_OPTIONAL"]
            assert f"'{row.data}'" in tests
    folders, by_settings = {}, {}
    for run, values in settings.items():
        call = (run.config, run.overrides)
        assert folders.setdefault(run.folder, call) == call  # else one would take the other's results
        one = by_settings.setdefault(tuple(sorted(values.items())), run)
        assert one == run or size == "synthreid"  # else one of them is trained in vain


def test_rows_of_the_same_settings_share_a_run():
    tables = tables_of("OccludedReID")
    for size in command.SIZES:
        rows = rows_of(tables, tables.tables["figure 5"], ["OccludedDuke"], size)
        shared = [row.what for row in rows if row.run == rows[1].run]
        assert shared == ["alpha = 0.3 of the BED loss", "beta = 0.9 of momentum elimination"]
        assert len({row.run for row in rows}) == 8
    lengths = tables_of("MGRe")  # the demo's features have 256 numbers each, and the paper's 512
    (row,) = rows_of(lengths, lengths.tables["figure 5"], size="synthreid", only=["four features of 512 numbers each"])
    assert row.run.overrides == ("MODEL.HEADS.EMBEDDING_DIM", "512")


@pytest.mark.parametrize("project", projects())
def test_a_row_that_shares_a_run_has_its_settings(project):
    tables = tables_of(project)
    cells = {(cell.path, cell.trained): cell for _, _, _, cell in tables.cells()}
    shared = 0
    for cell in cells.values():
        if cell.project == project and tables.configs[cell.config].same_as:
            run, shared = table_runs._full(tables, cell), shared + 1
            own = [text for pair in cell.changes.items() for text in map(str, pair)]
            assert run.config != cell.path
            assert repeat.settings_of(run.config, run.overrides) == repeat.settings_of(cell.path, own)
    assert shared


def test_rows_of_some_data_sets():
    tables = tables_of("MGRe")
    table = table_named(tables, " Table  4")
    rows = rows_of(tables, table, data=["DukeMTMC"], only=["+ regions of stage 1"])
    assert [(row.paper_data, row.paper) for row in rows] == [("DukeMTMC", {"mAP": 79.7, "Rank-1": 90.1})]
    (run,) = (row.run for row in rows)
    assert run.config == "MGRe/ablation/table4_s1.yml" and run.folder == "ablation/table4_s1_DukeMTMC"
    assert run.overrides[:2] == ("DATASETS.NAMES", '("DukeMTMC",)')
    small = rows_of(tables, table, size="synthreid")
    assert [row.run.config for row in small][:2] == [f"MGRe/ablation/SynthReID_{n}.yml" for n in ("baseline", "s1")]
    trunks = tables_of("Res2NetMultiTask")
    assert [row.what for row in rows_of(trunks, trunks.tables["table 3"], size="synthreid")] == [
        "ResNet-50",
        "Res2Net-50",
    ]


def comparison(ours, papers=((80.0, 90.0), (82.0, 91.0), (81.0, None))):
    rows = []
    for number, (means, figures) in enumerate(zip(ours, papers, strict=True)):
        paper = {m: f for m, f in zip(("mAP", "Rank-1"), figures, strict=True) if f is not None}
        row = Row(f"<row {number}>", "Market1501", paper, Run("a.yml", (), f"run{number}"), "Market1501")
        summary = {
            metric: {"mean": mean, "spread": 0.5, "by_seed": {"0": mean, "1": mean}}
            for metric, mean in zip(("mAP", "Rank-1"), means or (), strict=means is not None)
        }
        rows.append((row, summary or None))
    return Comparison("Paper, table 1: it", ("mAP", "Rank-1"), rows, "two seeds.")


def test_the_papers_order():
    found = comparison([(70.0, 80.0), (75.0, 79.0), (72.0, 85.0)])
    assert found.order() == [
        "mAP on Market1501: the paper's order holds (3 of 3 pairs of rows)",
        "Rank-1 on Market1501: the paper's order does not hold (0 of 1 pairs of rows)",
    ]
    tie = [(70.0, 80.0), (70.0, 81.0), (72.0, 85.0)]
    assert comparison(tie).order()[0].endswith("(1 of 3 pairs of rows)")  # of 80, 82 and 81
    falling = comparison(tie, ((82.0, 90.0), (80.0, 91.0), (81.0, None)))
    assert falling.order()[0].endswith("(1 of 3 pairs of rows)")  # a tie is no order, whichever way the paper has it


def test_a_row_that_is_missing():
    found = comparison([(70.0, 80.0), None, (72.0, 85.0)])
    assert found.order() == [
        "mAP on Market1501: the paper's order holds (1 of 1 pairs of rows; 1 of 3 rows are missing)",
        "Rank-1 on Market1501: no pair of rows to compare; 1 of 2 rows are missing",
    ]
    assert found.cells()[1] == ["<row 1>", "Market1501", "82.0", "missing", "-", "91.0", "missing", "-"]
    assert found.numbers()["rows"][1]["ours"] is None
    assert comparison([None, None, (72.0, 85.0)]).order()[0].startswith("mAP on Market1501: no pair of rows to compare")


def test_cells_and_page():
    found = comparison([(70.0, 80.0), (75.0, 79.0), (72.0, 85.0)])
    mean = "70.0 ± 0.5 (n = 2)"
    assert found.cells()[0] == ["<row 0>", "Market1501", "80.0", mean, "-10.0", "90.0", "80.0 ± 0.5 (n = 2)", "-10.0"]
    assert found.cells()[2][5:] == ["-", "85.0 ± 0.5 (n = 2)", "-"]
    assert "&lt;row 0&gt;" in found.page() and "<row 0>" not in found.page()
    assert len(found.headers()) == len(found.cells()[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DeepMiner", "table 9"], "DeepMiner has no 'table 9': choose from table 1, table 2"),
        (["DeepMiner", "table 2", "--only", "IE"], "--only is 'IE', and table 2 has 'IE branch after block 3'"),
        (["MGRe", "table 4", "--data", "MSMT17"], "--data is 'MSMT17', and table 4 has 'Market1501', 'DukeMTMC'"),
        (["DeepMiner", "table 2", "--seeds", "1", "1"], "--seeds is 1 1 and must be different numbers"),
        (["DeepMiner", "table 2", "--seeds", "2147483648"], "must be different numbers of at most 2147483647"),
        (["DeepMiner", "table 2", "--opts", "SEED", "3"], "--opts has SEED"),
        (["DeepMiner", "table 2"], "data set Market1501 is missing"),
        (["OccludedReID", "table 3"], "data set OccludedREID is missing"),  # an optional test set of the runs
        (["DeepMiner", "table 2", "--opts", "DATASETS.TESTS", "('MSMT17',)"], "DATASETS.TESTS lacks Market1501, which"),
        (["zoo", "table 2"], "a table is for a paper, and zoo is the shipped model"),
        (["zoo", "--data", "Market1501"], "--data is for a paper"),
        (["zoo", "--num-gpus", "2"], "--num-gpus, --gpus and --jobs are for a paper"),
        (["zoo", "--jobs", "2"], "--num-gpus, --gpus and --jobs are for a paper"),
        (["DeepMiner", "table 2", "--jobs", "0"], "--jobs is 0 and must be 1 or more"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *arguments]) == 1
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_results_of_another_test_set(tmp_path, capsys):
    call = ["reproduce", "DeepMiner", "table 3", "--size", "synthreid", "--seeds", "0", "--output", str(tmp_path)]
    tables = tables_of("DeepMiner")
    for row in rows_of(tables, table_named(tables, "table 3"), size="synthreid"):
        done = tmp_path / "runs" / row.run.folder / "seed0" / "results.json"
        done.parent.mkdir(parents=True)
        done.write_text(json.dumps({"results": {"Another": {"Rank-1": 1.0, "mAP": 1.0}}}))
    assert main(call) == 1
    assert "results.json lacks SynthReID: delete it, and the run is evaluated again" in capsys.readouterr().err


def test_the_tables_of_a_paper_are_listed(capsys):
    assert main(["reproduce", "MSReID"]) == 0
    assert "figure 5: soft attention, local branch and mask; box plots of eight runs; 8 rows" in capsys.readouterr().out
    assert command.PAPERS == tuple(projects()) and command.SIZES == table_runs.SIZES
