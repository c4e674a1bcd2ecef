"""The tables of the papers: what is written from them is up to date, and every row is a config that can be merged."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config_file, list_config_files
from fastreid_ext.reproduce import paper_tables
from fastreid_ext.reproduce.paper_tables import projects, tables_of

ROOT = Path(__file__).parents[2]
PAPERS = ("DeepMiner", "MGRe", "MSReID", "OccludedReID", "Res2NetMultiTask")


def test_configs_and_readmes_are_those_of_the_tables():
    """The command that writes them, too, is tried: it names what differs, and nothing does."""
    done = subprocess.run(
        [sys.executable, "tools/write_tables.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), f"{done.stdout}{done.stderr}: run python tools/write_tables.py"


def test_every_paper_has_tables():
    assert tuple(projects()) == PAPERS
    with pytest.raises(ConfigError, match=r"Baseline has no tables.yml: choose from DeepMiner, MGRe, "):
        tables_of("Baseline")


@pytest.mark.parametrize("project", PAPERS)
def test_every_config_of_a_project_is_written_from_its_tables(project):
    shipped = {name[:-4] for name in list_config_files() if name.startswith(f"{project}/")}
    assert {f"{project}/{name}" for name in tables_of(project).configs} == shipped


@pytest.mark.parametrize("project", PAPERS)
def test_rows_and_figures(project):
    tables = tables_of(project)
    data = "OccludedDuke" if project == "OccludedReID" else "Market1501"
    for config in tables.configs.values():
        assert not config.small_of or config.small_of.replace("{set}", data) in tables.configs
    for table, what, data, cell in tables.cells():
        figures = cell.paper.split(" / ") if cell.paper else []
        assert len(figures) in (0, len(table.metrics)), (table.name, what)
        assert all(0 < float(figure) < 100 for figure in figures)
        cfg = get_cfg()
        changes = [item for pair in cell.changes.items() for item in pair]
        merge_config(cfg, get_config_file(cell.path), changes)
        assert data in (*cfg.DATASETS.TESTS, *cfg.DATASETS.TESTS_OPTIONAL), (cell, data)


def test_some_cells_by_hand():
    tables = tables_of("MGRe").tables
    duke = tables["table 4"].rows["+ regions of stages 2 and 3"]["DukeMTMC"]
    assert duke.config == "ablation/table4_s23" and duke.paper == "81.7 / 90.7"
    assert duke.changes == {"DATASETS.NAMES": '("DukeMTMC",)', "DATASETS.TESTS": '("DukeMTMC",)'}
    assert tables["table 4"].rows["the full model"]["Market1501"].changes == {}
    assert tables["table 7"].metrics == ("mAP", "Rank-1", "Rank-5")
    curve = tables_of("DeepMiner").tables["figure 7"].rows
    assert len(curve) == 10 and [cells["Market1501"].paper for cells in curve.values()].count("") == 8
    occluded = tables_of("OccludedReID").tables["table 5"].rows["+ CBE"]
    assert occluded["OPReID"].config == "ablation/OPReID_cbe" and occluded["OPReID"].changes == {}
    from_market = tables_of("OccludedReID").tables["table 3"].rows["the strong baseline"]["OccludedREID"]
    assert (from_market.path, from_market.changes) == ("OccludedReID/ablation/Market1501_baseline.yml", {})
    compared = tables_of("MSReID").tables["table 1"].rows["FastReID's MGN"]["CUHK03Detected"]
    assert (compared.path, compared.paper) == ("Baseline/Market1501_MGN.yml", "66.8 / 66.0")
    assert set(compared.changes) == {"DATASETS.NAMES", "DATASETS.TESTS"}  # no margin, which is MSReID's


def test_a_row_without_a_config(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_tables, "config_folder", lambda: tmp_path)
    (tmp_path / "Own").mkdir()
    (tmp_path / "Own" / "tables.yml").write_text(
        "paper: Own\nmetrics: mAP\nsets: {A: {changes: {}}}\nconfigs: {one: {base: b.yml, what: it}}\n"
        "tables: {table 1: {what: w, set: A, rows: {'{set}_x': {A: '3'}}}}\n"
    )
    with pytest.raises(ValueError, match="table 1 has a row A_x, which is no config"):
        tables_of("Own")
