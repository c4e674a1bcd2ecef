"""``reproduce --only ROW``: the page keeps the other rows of the table, as earlier calls have trained them."""

import json

import pytest
from small_figures import OPTS

from fastreid_ext.cli import main
from fastreid_ext.engine import repeat
from fastreid_ext.reproduce.paper_tables import tables_of
from fastreid_ext.reproduce.table_runs import rows_of, table_named

CALL = ["reproduce", "DeepMiner", "table 3", "--size", "synthreid", "--seeds", "0", "--no-estimate"]


@pytest.fixture
def call(output, tiny, tmp_path, capsys, monkeypatch):
    """``call(*options)``: the rows of the page, row -> seeds, and what was printed."""
    monkeypatch.setattr(repeat, "run_command", lambda arguments: pytest.fail("trained"))

    def run(*options):
        assert main([*CALL, "--output", str(output), *options, "--opts", *OPTS]) == 0
        rows = json.loads((output / "table3_synthreid.json").read_text())["rows"]
        return {row["row"]: list(row["ours"]["mAP"]["by_seed"]) for row in rows}, capsys.readouterr().out

    return run


def test_other_rows_are_kept(call, finished, output, tiny):
    tables = tables_of("DeepMiner")
    first, second = rows_of(tables, table_named(tables, "table 3"), size="synthreid")
    finished(second.run, weights=False)
    rows, printed = call("--only", second.what)
    assert rows == {second.what: ["0"]} and "earlier" not in printed  # nothing of the other yet
    for seed in (0, 2):
        finished(first.run, seed=seed, weights=False)
    rows, printed = call("--only", second.what)
    assert rows == {first.what: ["0", "2"], second.what: ["0"]}
    assert "1 row of earlier calls is there with all seeds so far." in printed
    other = output / "runs" / first.run.folder / "seed0"
    (other / "repeat.json").write_text(json.dumps({"SOLVER.BASE_LR": "7"}))  # of other settings
    (other.parent / "seed2" / "results.json").write_text("{")
    assert call("--only", second.what)[0] == {second.what: ["0"]}
