"""The hash of a config stays what it was when keys are added and defaults change: files of models outlive versions."""

import json
from pathlib import Path

from fastreid_ext.config import FIRST_DEFAULTS, get_cfg
from fastreid_ext.engine.key_tracking import leaves
from fastreid_ext.inference import fingerprints
from fastreid_ext.inference.fingerprints import READ_BY_TEST, config_hash

# Of every key that a test may read: the default of the first version that had it. Keys are added, none is changed.
FIRST = json.loads((Path(__file__).parent / "first_defaults.json").read_text())


def test_first_defaults_are_kept():
    """A default that differs from the first one belongs into FIRST_DEFAULTS; a new key belongs into the file."""
    now = {key: value for key, value in leaves(get_cfg()) if key.startswith(READ_BY_TEST)}
    kept = json.loads(json.dumps(now | FIRST_DEFAULTS, default=list))
    assert kept == FIRST
    assert all(now[key] != value for key, value in FIRST_DEFAULTS.items())  # else it is no later default


def test_a_changed_default_changes_no_hash_of_an_earlier_model(monkeypatch):
    earlier = get_cfg()
    earlier.MODEL.MGRE.LOCATION.WEIGHT = 1000.0  # as files of that version say
    monkeypatch.setattr(fingerprints, "FIRST_DEFAULTS", {})
    now, other = config_hash(get_cfg()), config_hash(earlier)
    monkeypatch.undo()
    assert config_hash(earlier) == now != other  # what it was where 1000 was the default
    assert config_hash(get_cfg()) != config_hash(earlier)
