"""A config file and KEY VALUE pairs, merged or explained."""

import pytest

from fastreid_ext.config import get_cfg, host_get_cfg
from fastreid_ext.engine.checks.effects import without_effect
from fastreid_ext.engine.key_tracking import given_keys, track
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config_file


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
    with pytest.raises(ConfigError, match=rf"^the command line: {key} (is \S+ and must be|has keys below it)"):
        merged("", key, value)


def test_a_value_of_the_wrong_type_in_a_file(write):
    with pytest.raises(ConfigError, match="run.yml: SOLVER.BASE_LR is 'fast' and must be a finite number"):
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


def test_numbers_and_texts_that_can_be_meant():
    cfg = merged(
        "", "SOLVER.BASE_LR", "1", "OUTPUT_DIR", "2024", "MODEL.HEADS.SCALE", "0.5", "INPUT.SIZE_TRAIN", "(64,32)"
    )
    assert cfg.SOLVER.BASE_LR == 1.0 and type(cfg.SOLVER.BASE_LR) is float
    assert (cfg.OUTPUT_DIR, cfg.MODEL.HEADS.SCALE, cfg.INPUT.SIZE_TRAIN) == ("2024", 0.5, [64, 32])


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("SOLVER.MAX_EPOCH", "9.0", "SOLVER.MAX_EPOCH is 9.0 and must be a whole number from 1 to 100000: write 9"),
        ("SOLVER.MAX_EPOCH", "9.5", "SOLVER.MAX_EPOCH is 9.5 and must be a whole number from 1 to 100000"),
        ("SOLVER.MAX_EPOCH", "True", "SOLVER.MAX_EPOCH is True and must be a whole number"),
        ("SOLVER.AMP.ENABLED", "1", "SOLVER.AMP.ENABLED is 1 and must be True or False"),
        ("DATASETS.NAMES", "Market1501", "DATASETS.NAMES is 'Market1501' and must be a list of names"),
        ("SOLVER.MAX_EPOCH", "None", "SOLVER.MAX_EPOCH has no value: give it one, such as 120"),
        ("SOLVER", "3", "SOLVER has keys below it, and no value of its own: set SOLVER.AMP.ENABLED, say"),
        ("SOLVER.STEPS", "(" * 500 + ")" * 500, "SOLVER.STEPS"),
        ("_BASE_", "x.yml", "the reserved key _BASE_ can only be used in files"),
        ("MODEL.DEEPMINER", "None", "MODEL.DEEPMINER has keys below it"),
        ("SOLVER.BASE_LR\n", "3", "Non-existent key: 'SOLVER.BASE_LR"),
    ],
)
def test_values_that_do_not_fit(key, value, said):
    with pytest.raises(ConfigError) as error:
        merged("", key, value)
    assert str(error.value).startswith(f"the command line: {said}"), error.value
    assert "\n" not in str(error.value)


def test_all_mistakes_are_said_at_once(write):
    file = write("SOLVER: {BASE_LRR: 1.0, MAX_EPOCH: [3]}\nSEED: 5")
    with pytest.raises(ConfigError) as error:
        merged(file, "TEST.RERANK.K1", "0", "SEEED", "3", "MODEL.MSREID.MASK", "maybe", "TEST")
    first, *others = str(error.value).splitlines()
    assert first == "3 mistakes:" and [line[:5] for line in others] == [f"  {i}. " for i in (1, 2, 3)]
    for part in ("BASE_LRR; did you mean SOLVER.BASE_LR", "MAX_EPOCH is [3]", "odd length", "each KEY has a VALUE"):
        assert part in str(error.value)
    with pytest.raises(ConfigError) as error:
        merged(file, "TEST.RERANK.K1", "0", "SEEED", "3", "MODEL.MSREID.MASK", "maybe")
    for part in ("5 mistakes", "TEST.RERANK.K1 is 0", "SEEED", "MODEL.MSREID.MASK is 'maybe'"):
        assert part in str(error.value)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("_BASE_: run.yml", "is based on itself by its _BASE_ run.yml"),
        ("_BASE_: .", "_BASE_ is ., which is a folder"),
        ("_BASE_: 3", "_BASE_ is 3 and must be the path of a yaml"),
        ("_BASE_: https://example.org/x.yml", "nothing is downloaded"),
        ("SEED: 1\nSEED: 2", "the key SEED stands in line 1 and again in line 2"),
        ("SOLVER:\n  BASE_LR: 0.1\nSOLVER:\n  MAX_EPOCH: 3", "the key SOLVER stands in line 1 and again in line 3"),
        ("SOLVER:\n\tBASE_LR: 1", "line 2, column 1: a tab, where yaml wants spaces"),
        (BOMB, "aliases .* stand for more than"),
        ("SOLVER: &a [*a]", "an alias .* stands below its own anchor"),
        ("SEED: " + "[" * 101 + "]" * 101, "nested too deeply"),
        ("SEED: ~", "SEED has no value"),
        ("SOLVER:", "SOLVER has keys below it"),
        ("SOLVER: {BASE_LR: {X: 1}}", "Non-existent key|SOLVER.BASE_LR is"),
        ("1: 2", "must be keys below each other"),
        ("SOLVER.BASE_LR: 1", "SOLVER.BASE_LR must be keys below each other"),
        ("? [a, b]\n: 1", "a key must be a name"),
        ("SEED: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("SEED: 2024-13-45", "has a value that can't be read"),
        ("DATASETS: {NAMES: ~}", "DATASETS.NAMES has no value"),
        ("just words", "has no keys"),
        ("# nothing", "is empty"),
        ("SEED: \0", "special characters are not allowed"),
    ],
    ids=lambda value: value[:20].encode("unicode_escape").decode(),
)
def test_yamls_that_are_no_config(write, text, said):
    with pytest.raises(ConfigError, match=f"run.yml.*({said})") as error:
        merged(write(text))
    assert "\n" not in str(error.value)


def test_a_loop_of_bases(write):
    write("_BASE_: run.yml", "Base.yml")
    with pytest.raises(ConfigError, match="is based on itself"):
        merged(write("_BASE_: Base.yml"))


def test_anchors_of_ordinary_size(write):
    cfg = merged(write("INPUT:\n  SIZE_TRAIN: &size [64, 32]\n  SIZE_TEST: *size\n"))
    assert cfg.INPUT.SIZE_TEST == [64, 32] and cfg.INPUT.SIZE_TRAIN is not cfg.INPUT.SIZE_TEST


def test_which_keys_the_user_gave(write, tmp_path):
    write("SEED: 1\nSOLVER: {BASE_LR: 0.1, MAX_EPOCH: 7}", "Base.yml")
    file = write("_BASE_: Base.yml\nSEED: 2\nSOLVER: {BASE_LR: 0.2}")
    cfg = merged(file, "TEST.EVAL_PERIOD", "3")
    assert given_keys(cfg) == {"SEED": False, "SOLVER.BASE_LR": False, "TEST.EVAL_PERIOD": True}
    assert given_keys(cfg.clone()) == given_keys(cfg)
    assert given_keys(track(cfg)[0]) == given_keys(cfg)
    assert given_keys(merged(get_config_file("demo/tiny.yml"), "SEED", "3")) == {
        "SEED": True
    }  # a shipped one is not theirs
    assert given_keys(merged(write(cfg.dump(), "config.yaml"))) == {}  # a run wrote it
    assert given_keys(get_cfg()) is None


def test_the_config_of_a_run_of_fastreids_own_trainer_is_nobodys_choice(write):
    """It has all of FastReID's keys and none of ours: SOLVER.STEPS beside a schedule that reads none, for one."""
    theirs = host_get_cfg()
    theirs.SOLVER.SCHED = "CosineAnnealingLR"
    cfg = merged(write(theirs.dump(), "config.yaml"), "TEST.EVAL_PERIOD", "3")
    assert given_keys(cfg) == {"TEST.EVAL_PERIOD": True}
    assert list(without_effect(cfg)) == []
