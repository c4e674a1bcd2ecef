"""--resume with the config.yaml of a run from before a key: it had what was the key's default at first."""

import pytest
import yaml

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.resume import check_same_run
from fastreid_ext.errors import ConfigError


@pytest.fixture
def cfg(tmp_path):
    """A config, whose run in OUTPUT_DIR is from before two keys."""
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    written = yaml.safe_load(cfg.dump())
    del written["MODEL"]["CHANNELS_LAST"], written["SOLVER"]["ACCUMULATION"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(written))
    return cfg


def test_it_goes_on_by_the_defaults(cfg):
    check_same_run(cfg)


@pytest.mark.parametrize(("node", "key", "value"), [("MODEL", "CHANNELS_LAST", True), ("SOLVER", "ACCUMULATION", 2)])
def test_what_would_change_it_is_refused(cfg, node, key, value):
    cfg[node][key] = value
    with pytest.raises(ConfigError, match=rf"{node}.{key} was \S+ and is {value}\)"):
        check_same_run(cfg)


def test_a_run_from_before_a_project_goes_on(cfg, tmp_path):
    """A key whose default changed since is not there with all others of MGRe's."""
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del written["MODEL"]["MGRE"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(written))
    check_same_run(cfg)


def test_the_first_default_is_no_change(cfg):
    cfg.MODEL.CHANNELS_LAST = False
    check_same_run(cfg)
