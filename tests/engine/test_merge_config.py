"""A config file and KEY VALUE pairs, merged or explained."""

import pytest

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    """``write("SEED: 3")``: the path of a yaml with that text."""

    def write(text, name="run.yml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def merged(config_file="", *overrides):
    cfg = get_cfg()
    merge_config(cfg, config_file, list(overrides))
    return cfg


def test_nothing_to_merge():
    assert merged() == get_cfg()


def test_overrides_win_over_the_file_and_the_file_over_its_base(write):
    write("SEED: 1\nSOLVER: {BASE_LR: 0.1, MAX_EPOCH: 7}", "Base.yml")
    file = write("_BASE_: Base.yml\nSEED: 2\nSOLVER: {BASE_LR: 0.2}")
    cfg = merged(file, "SEED", "3")
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH) == (3, 0.2, 7)


def test_keys_of_the_host_and_of_ours(write):
    file = write("MODEL: {HEADS: {NECK_FEAT: before}, DEEPMINER: {IE_BLOCKS: [1]}}")
    cfg = merged(file, "INPUT.SIZE_TRAIN", "[64, 32]", "MODEL.DEEPMINER.SAM.ENABLED", "False")
    assert cfg.MODEL.HEADS.NECK_FEAT == "before" and cfg.INPUT.SIZE_TRAIN == [64, 32]
    assert cfg.MODEL.DEEPMINER.IE_BLOCKS == [1] and cfg.MODEL.DEEPMINER.SAM.ENABLED is False


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("SOLVER.BASE_LRR", "SOLVER.BASE_LR"),
        ("SOLVER.WARMUP_EPOCH", "SOLVER.WARMUP_EPOCHS"),
        ("MODEL.DEEPMINER.IE_BLOCK", "MODEL.DEEPMINER.IE_BLOCKS"),
        ("MODEL.DEEPMINE.IE_BLOCKS", "MODEL.DEEPMINER.IE_BLOCKS"),
        ("SEEED", "SEED"),
    ],
)
def test_a_misspelt_key_gets_a_suggestion(write, key, suggestion):
    *parents, last = key.split(".")
    text = "".join(f"{'  ' * depth}{parent}:\n" for depth, parent in enumerate(parents))
    file = write(f"{text}{'  ' * len(parents)}{last}: 3\n")
    with pytest.raises(ConfigError, match=f"run.yml: Non-existent .*; did you mean .*{suggestion}"):
        merged(file)
    with pytest.raises(ConfigError, match=f"the command line: Non-existent .*; did you mean .*{suggestion}"):
        merged("", key, "3")


def test_a_key_like_no_other_gets_none():
    with pytest.raises(ConfigError, match="Non-existent key: QWXZ$"):
        merged("", "QWXZ", "3")


@pytest.mark.parametrize(
    ("key", "value"), [("SOLVER.BASE_LR", "fast"), ("MODEL.DEEPMINER.IE_BLOCKS", "2"), ("MODEL.DEEPMINER", "2")]
)
def test_a_value_of_the_wrong_type(write, key, value):
    with pytest.raises(ConfigError, match=f"the command line: Type mismatch.*{key}"):
        merged("", key, value)


def test_a_value_of_the_wrong_type_in_a_file(write):
    with pytest.raises(ConfigError, match="run.yml: Type mismatch.*SOLVER.BASE_LR"):
        merged(write("SOLVER: {BASE_LR: fast}"))


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="there is no config file .*nowhere.yml"):
        merged(str(tmp_path / "nowhere.yml"))


def test_a_missing_base(write):
    with pytest.raises(ConfigError, match="there is no config file .*Base-Nowhere.yml"):
        merged(write("_BASE_: Base-Nowhere.yml"))


@pytest.mark.parametrize("text", ["SOLVER: [1, 2", "SOLVER:\n\t- 1", "a: b: c"])
def test_a_file_that_is_no_yaml(write, text):
    with pytest.raises(ConfigError, match="run.yml: "):
        merged(write(text))


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]"], ids=["empty", "words", "list"])
def test_a_yaml_that_is_no_config(write, text):
    with pytest.raises(ConfigError, match="run.yml"):
        merged(write(text))


def test_a_key_below_a_value():
    with pytest.raises(ConfigError, match="the command line: Non-existent key: SOLVER.BASE_LR.X"):
        merged("", "SOLVER.BASE_LR.X", "3")


def test_an_odd_number_of_overrides():
    with pytest.raises(ConfigError, match="the command line: Override list has odd length"):
        merged("", "SEED")
