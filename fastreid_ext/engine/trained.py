"""Trained models: their config, their weights, and how far settings chosen with them can be trusted."""

import os
from pathlib import Path

import torch
import yaml
from fastreid.config import CfgNode

from fastreid_ext import zoo
from fastreid_ext.config import get_cfg
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.checks.listing import raise_together
from fastreid_ext.engine.checks.machine import device_mistakes
from fastreid_ext.engine.checks.paths import weights_mistakes
from fastreid_ext.engine.key_tracking import check_all_read, track
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.engine.training_subsets import training_sets, training_subsets
from fastreid_ext.errors import ConfigError, UserError, first_line
from fastreid_ext.files import read_text
from fastreid_ext.model_zoo import get_config_file
from fastreid_ext.precision import float32_by_default

# Keys below MODEL that only training reads; commands that use a trained model take its config as it is.
OF_TRAINING = {
    "MODEL.BACKBONE.PRETRAIN_PARTIAL",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "MODEL.FREEZE_LAYERS",
    "MODEL.WEIGHTS_PARTIAL",
}


def config_file_of(path: str) -> str:
    """Return a file as it is, otherwise the shipped config of that name, such as DeepMiner/Market1501_R50.yml.

    Raises:
        ConfigError: neither exists, or it names a trained model, which says nothing of a training.
    """
    if zoo.is_name(path) or path.lower().endswith(".safetensors"):
        raise ConfigError(
            f"{path} is a trained model and has no settings of a training: name a config of one, such as"
            f" demo/baseline.yml, and start it from the model's trunk with MODEL.BACKBONE.PRETRAIN_PATH {path}"
        )
    if not path or os.path.isfile(path):
        return path
    try:
        return get_config_file(path)
    except ConfigError as error:
        raise ConfigError(f"there is no config file {path}, and {error}") from error


def load_trained(cfg: CfgNode) -> torch.nn.Module:
    """Build the model of a config and load MODEL.WEIGHTS for its test feature.

    Raises:
        ConfigError: no weights are named, or a model key that nothing reads.
        CheckpointError: the weights do not fit the model.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("weights are missing: add MODEL.WEIGHTS <output folder>/model_best.pth")
    raise_together([*device_mistakes(cfg), *weights_mistakes(cfg)])
    tracked, reads = track(cfg)
    tracked.defrost()
    tracked.MODEL.BACKBONE.PRETRAIN = False
    # Classifiers and centers are not part of the test feature, and their size may match no available data set.
    tracked.MODEL.HEADS.NUM_CLASSES = max(1, tracked.MODEL.HEADS.NUM_CLASSES)
    with float32_by_default():
        model = Trainer.build_model(tracked)
    check_all_read(tracked, get_cfg(), reads | OF_TRAINING, nodes=("MODEL",))
    AtomicCheckpointer(model).load(cfg.MODEL.WEIGHTS, checkpointables=[], complete=True)
    return model


def warnings_of(cfg: CfgNode, test_set: str, chosen: str = "weights") -> list[str]:
    """Return warnings about settings that are chosen on this test set with MODEL.WEIGHTS.

    Args:
        cfg: the config of the choice.
        test_set: what is chosen on.
        chosen: name of the settings in messages.
    """
    if test_set != VALIDATION:
        return [f"{chosen} that are chosen on {test_set} make results on {test_set} look better than they are"]
    path = Path(cfg.MODEL.WEIGHTS).parent / "config.yaml"
    subsets = training_subsets(cfg, training_sets(cfg))
    people = {item[1] for item in [*subsets.query, *subsets.gallery]}
    try:
        trained = _trained_with(cfg, path)
        seen = people & {item[1] for item in training_subsets(trained, training_sets(trained)).train}
    except UserError as error:
        return [f"whether {VALIDATION} was seen in training can't be checked by {path}: {first_line(error)}"]
    if not seen:
        return []
    return [
        f"{len(seen)} of the {len(people)} identities of {VALIDATION} were seen in training ({path} has"
        f" DATASETS.VALIDATION {trained.DATASETS.VALIDATION}), where every part finds them: train with"
        f" DATASETS.VALIDATION {cfg.DATASETS.VALIDATION} to choose {chosen}"
    ]


def _trained_with(cfg: CfgNode, path: Path) -> CfgNode:
    """Return cfg with the training set of the run that wrote config.yaml.

    Raises:
        ConfigError, FileError: no such file, or another one than that of a run.
    """
    if not path.is_file():
        raise ConfigError("there is none")
    try:
        node = yaml.safe_load(read_text(path))["DATASETS"]
        names, combineall, validation = tuple(node["NAMES"]), node["COMBINEALL"], node.get("VALIDATION", 0)
        tests, optional = tuple(node.get("TESTS", ())), tuple(node.get("TESTS_OPTIONAL", ()))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, yaml.YAMLError) as error:
        # another yaml than that of a run
        raise ConfigError(f"it is not the config of a run ({first_line(error)})") from error
    counted = type(validation) is int and validation >= 0
    if not (
        counted and type(combineall) is bool and all(isinstance(name, str) for name in (*names, *tests, *optional))
    ):
        raise ConfigError("it is not the config of a run (DATASETS has values of another kind)")
    trained = cfg.clone()
    trained.defrost()
    trained.DATASETS.NAMES, trained.DATASETS.COMBINEALL = names, combineall
    trained.DATASETS.TESTS, trained.DATASETS.TESTS_OPTIONAL = tests, optional  # which COMBINEALL leaves out
    trained.DATASETS.VALIDATION = validation  # 0 in a run from before this key existed
    trained.DATASETS.HOLD_OUT = 0  # it holds out images, not identities
    return trained
