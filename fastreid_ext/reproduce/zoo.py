"""The model that the package ships: trained over several seeds, chosen by people of another drawing style, measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.data.datasets.synthreid import VARIANTS
from fastreid_ext.data.synthetic import SIZES
from fastreid_ext.engine.key_tracking import leaves
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.repeat import (
    TABLE_METRICS,
    check_kept,
    check_overrides,
    check_seeds,
    settings_of,
    train,
)
from fastreid_ext.engine.run_record import NAME as RUN_RECORD
from fastreid_ext.engine.trained import config_file_of, load_trained
from fastreid_ext.errors import ConfigError, FileError, counted
from fastreid_ext.evaluation.spread import Results, summarise
from fastreid_ext.files import make_folder, write_text
from fastreid_ext.foreign_files import is_number, read_json
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.inference.verification import measured_on
from fastreid_ext.inference.weights_file import save_weights_file
from fastreid_ext.reproduce.card import Facts, card_text
from fastreid_ext.reproduce.speed import images_per_second

__all__ = ["MODEL", "Recipe", "augmentations", "plan", "reproduce_zoo"]

FINAL = "model_final.pth"
GROUPS = ("skin tone", "build", "all")  # how the labels of the rows on the card begin
MACHINE = ("torch", "python", "processor")  # of a run's record
# What the card says of every model, whatever the recipe: its network, its start, and whom it is tested on.
ON_THE_CARD = (
    *("MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME", "TEST.METRIC"),
    *("MODEL.BACKBONE.PRETRAIN", "MODEL.WEIGHTS", "KD.TEACHER"),
    *("DATASETS.COMBINEALL", "DATASETS.HOLD_OUT"),
)
# Node of INPUT -> what the card calls it.
AUGMENTATIONS = {
    "FLIP": "mirroring",
    "PADDING": "padding and cropping",
    "CROP": "random crops",
    "CJ": "colour jitter",
    "AUTOAUG": "AutoAugment",
    "AUGMIX": "AugMix",
    "AFFINE": "random affine maps",
    "GRAYSCALE": "grayscale",
    "BLUR": "blur",
    "REA": "random erasing",
    "RPT": "random patches",
}


@dataclass(frozen=True)
class Recipe:
    """How a shipped model is made.

    Attributes:
        name: of its files.
        config: that trains it, by its name among the shipped ones.
        choose_by: the test set whose mAP chooses the seed; none of its images is like those that are trained on.
        calibrate_on: the test set of the people that thresholds and groups are measured on.
    """

    name: str
    config: str
    choose_by: str
    calibrate_on: str


MODEL = Recipe("wide", "zoo/wide.yml", "SynthReID", "SynthReIDWide")


def plan(recipe: Recipe, seeds: Sequence[int], output: Path, overrides: Sequence[str]) -> str:
    """Return what :func:`reproduce_zoo` would do, a line for each step; a UserError if it would refuse to."""
    check_call(recipe, seeds, overrides)
    cfg = _config(recipe, overrides)
    steps = [f"train {recipe.config} with seed {seed} into {_runs(output) / f'seed{seed}'}" for seed in seeds]
    return "\n".join(
        [
            f"{counted(len(seeds), 'run')} of {counted(cfg.SOLVER.MAX_EPOCH, 'epoch')} on"
            f" {', '.join(cfg.DATASETS.NAMES)}; finished ones are kept, an unfinished one is resumed",
            *(f"- {step}" for step in steps),
            f"- choose the seed with the best mAP on {recipe.choose_by}",
            f"- measure thresholds, skin tone and build on {recipe.calibrate_on}, and images/s on this machine",
            f"- write {recipe.name}.safetensors, {recipe.name}.md and {recipe.name}.json into {output}",
        ]
    )


def reproduce_zoo(recipe: Recipe, seeds: Sequence[int], output: Path, overrides: Sequence[str] = ()) -> str:
    """Train, choose and measure the model of a recipe; write its weights, card and numbers, and return the card.

    Args:
        recipe: of the model.
        seeds: a run each; what an earlier call finished is kept.
        output: folder of the runs and the files.
        overrides: KEY VALUE pairs of every run.

    Raises:
        RepeatError: a run failed, or the folder holds runs of other settings.
        RepeatError, ConfigError: a call that :func:`check_call` refuses.
        FileError: what a run wrote is damaged.
    """
    check_call(recipe, seeds, overrides)
    make_folder(output)
    for seed in seeds:  # before hours of others
        check_kept(recipe.config, seed, _runs(output), overrides)
    runs = {seed: train(recipe.config, seed, _runs(output), overrides) for seed in seeds}
    for seed, results in runs.items():
        if missing := {recipe.choose_by, recipe.calibrate_on} - results.keys():
            done = _runs(output) / f"seed{seed}/results.json"
            raise FileError(f"{done} lacks {' and '.join(sorted(missing))}: delete it, and the run is evaluated again")
    chosen = max(seeds, key=lambda seed: runs[seed][recipe.choose_by]["mAP"])  # the first of equals
    return _published(recipe, runs, chosen, output, overrides)


def check_call(recipe: Recipe, seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Raise a RepeatError for seeds that no run can have, a ConfigError for what :func:`check_settings` refuses."""
    check_seeds(seeds)
    check_overrides(overrides)
    check_settings(recipe, _config(recipe, overrides), _config(recipe, ()))


def check_settings(recipe: Recipe, cfg: CfgNode, own: CfgNode) -> None:
    """Check, before hours of training, that the runs give what is measured, and that the card will be true.

    Args:
        recipe: of the model.
        cfg: of the runs.
        own: of the recipe alone.

    Raises:
        ConfigError: they don't, or it won't.
    """
    for name in (recipe.choose_by, recipe.calibrate_on):
        if name not in cfg.DATASETS.TESTS:
            raise ConfigError(f"DATASETS.TESTS lacks {name}, which this recipe measures on: add it")
    if not cfg.TEST.REPORT.ENABLED:
        raise ConfigError(
            "TEST.REPORT.ENABLED is False, and the card shows the reports by skin tone and build: leave it on"
        )
    if "final" not in cfg.SOLVER.CHECKPOINT_KEEP:
        raise ConfigError("SOLVER.CHECKPOINT_KEEP lacks final, the weights that are written: add it")
    found, wanted = dict(leaves(cfg)), dict(leaves(own))
    for key in ON_THE_CARD:
        if found[key] != wanted[key]:
            raise ConfigError(
                f"{key} is {found[key]!r} and must stay {wanted[key]!r}: the card is of a narrow ResNet alone that was"
                " trained on drawn people alone, from random numbers, and tested on others by their cosine"
            )
    drawn = [name for name, choice in VARIANTS.items() if SIZES[choice.size].worlds]
    other = [name for name in cfg.DATASETS.NAMES if name not in drawn]
    if other or not cfg.DATASETS.NAMES:
        found = f"has {', '.join(other)}" if other else "is empty"
        raise ConfigError(
            f"DATASETS.NAMES {found}, and the card says that the model was trained on drawn people"
            f" alone, in another style than {recipe.choose_by}: name sets of SynthReIDWide"
        )


def _published(recipe: Recipe, runs: Mapping[int, Results], chosen: int, output: Path, overrides: Sequence[str]) -> str:
    folder = _runs(output) / f"seed{chosen}"
    groups, record = _groups(folder, recipe.calibrate_on), _record(folder)
    cfg = get_cfg()
    merge_config(cfg, str(folder / "config.yaml"), ["MODEL.WEIGHTS", str(folder / FINAL), "MODEL.DEVICE", "cpu"])
    model = load_trained(cfg).eval()
    same_person = measured_on(cfg, model, recipe.calibrate_on)
    weights = output / f"{recipe.name}.safetensors"
    save_weights_file(weights, cfg, model, same_person=same_person.to_dict())
    facts = Facts(
        name=recipe.name,
        config=recipe.config,
        changed=_changed(recipe, overrides),
        data_sets=list(cfg.DATASETS.NAMES),
        epochs=cfg.SOLVER.MAX_EPOCH,
        losses=list(cfg.MODEL.LOSSES.NAME),
        augmentations=augmentations(cfg),
        choose_by=recipe.choose_by,
        chosen=chosen,
        summary=summarise(runs),
        same_person=same_person,
        groups=groups,
        record=record,
        megabytes=weights.stat().st_size / 1e6,
        parameters=_count(model),
        speed=images_per_second(cfg, model),
        size=tuple(cfg.INPUT.SIZE_TEST),
        dim=Extractor.of_model(cfg, model).dim,
    )
    text = card_text(facts)
    write_text(output / f"{recipe.name}.md", text)
    write_text(output / f"{recipe.name}.json", json.dumps(facts.numbers(), indent=1) + "\n")
    return text


def _runs(output: Path) -> Path:
    return output / "runs"


def _config(recipe: Recipe, overrides: Sequence[str]) -> CfgNode:
    cfg = get_cfg()
    merge_config(cfg, config_file_of(recipe.config), list(overrides))
    return cfg


def _changed(recipe: Recipe, overrides: Sequence[str]) -> dict[str, str]:
    """Return the settings that differ from the recipe's own, by key."""
    own = settings_of(recipe.config, ())
    return {key: value for key, value in settings_of(recipe.config, overrides).items() if own[key] != value}


def augmentations(cfg: CfgNode) -> list[str]:
    """Return the augmentations of the training images, in the words of a card."""
    return [name for key, name in AUGMENTATIONS.items() if cfg.INPUT[key].ENABLED] + list(cfg.INPUT.BATCH_AUGMENT.NAME)


def _count(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith("backbone."))


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RUN_RECORD
    found = _read(path)
    environment = found.get("environment")
    texts = [found.get("commit"), found.get("finished")]
    texts += [environment.get(key) for key in MACHINE] if isinstance(environment, dict) else [None]
    if not all(isinstance(text, str) for text in texts) or not isinstance(found.get("seed"), int):
        raise _damaged(path)
    return found


def _groups(folder: Path, test_set: str) -> list[dict[str, Any]]:
    path = folder / f"report_{test_set}.json"
    rows = _read(path).get("groups")
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise _damaged(path)
    shown = [row for row in rows if row["group"].startswith(GROUPS)]
    if {start for start in GROUPS for row in shown if row["group"].startswith(start)} != set(GROUPS):
        raise _damaged(path)
    return shown


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("group"), str)
        and all(is_number(row.get(key)) for key in ("identities", "queries"))
        and all(row.get(key, "") is None or is_number(row.get(key)) for key in TABLE_METRICS)
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except FileError as error:
        raise _damaged(path) from error
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> FileError:
    again = f"delete {path.parent / 'results.json'}, and the run is evaluated again"
    return FileError(f"{path} is {'damaged' if path.exists() else 'missing'}: {again}")
