"""The figures that are pictures: which ones there are, what they need, and how each is drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.errors import ConfigError
from fastreid_ext.files import make_folder, write_picture
from fastreid_ext.reproduce.figures.drawn_tables import file_name
from fastreid_ext.reproduce.figures.figure_models import (
    FigureModel,
    Given,
    check_given,
    data_of,
    given_config,
    runs_of,
    tested,
    trained_models,
)
from fastreid_ext.reproduce.figures.loss_curves import draw_loss_curves
from fastreid_ext.reproduce.figures.sheets import (
    attention_sheet,
    branch_sheet,
    granularity_sheet,
    mask_sheet,
    rank_sheet,
)
from fastreid_ext.reproduce.paper import check_call, missing
from fastreid_ext.reproduce.paper_tables import PaperTables, Picture
from fastreid_ext.reproduce.requirements import RENDERED
from fastreid_ext.reproduce.table_runs import Row, Run
from fastreid_ext.visual.image_sources import files_below, spread

Draw = Callable[[Mapping[str, FigureModel], Sequence[Path], str], Image.Image]
NO_MODEL = "losses"
RANKS = "ranks"


@dataclass(frozen=True)
class Kind:
    """How a picture is made.

    Attributes:
        draw: of models and images, under a title.
        count: images, or queries, that are shown.
    """

    draw: Draw
    count: int


KINDS = {
    "branches": Kind(branch_sheet, 3),
    "masks": Kind(mask_sheet, 3),
    "attention": Kind(attention_sheet, 1),
    "granularities": Kind(granularity_sheet, 3),
}


@dataclass(frozen=True)
class Call:
    """What a user asks for.

    Attributes:
        size: "paper" or "synthreid".
        seed: of the runs.
        output: folder of runs and pictures.
        opts: KEY VALUE pairs of every run.
        given: trained models of the user's, by their names on the picture.
        images: folder of images that are shown; None = queries of the test set.
        count: of images or queries; None = as many as suit the figure.
        num_gpus: processes of each run.
    """

    size: str
    seed: int
    output: Path
    opts: Sequence[str] = ()
    given: Given = field(default_factory=dict)
    images: Path | None = None
    count: int | None = None
    num_gpus: int = 1


def plan(tables: PaperTables, picture: Picture, call: Call) -> str:
    """Return what :func:`draw_picture` would do, a line for each model.

    Raises:
        ConfigError: a call that can't be carried out, whatever data there is.
    """
    runs = _checked(tables, picture, call)
    lines = [f"{tables.written}, {picture.name}, {picture.what}"]
    for name, run in runs.items():
        if name in call.given:
            lines.append(f"- {name}: {' '.join(call.given[name])}")
            continue
        changes = f" with {' '.join(run.overrides)}" if run.overrides else ""
        folder = call.output / "runs" / run.folder / f"seed{call.seed}"
        state = "is done" if (folder / "results.json").is_file() else "is to be trained"
        lines.append(f"- {name}: {run.config}{changes}, seed {call.seed}, {state}")
    return "\n".join([*lines, *(f"- missing: {sentence}" for sentence in _missing(picture, call, runs))])


def draw_picture(tables: PaperTables, picture: Picture, call: Call) -> Path:
    """Train what is missing, draw the picture, and return its path.

    Raises:
        ConfigError: a call that can't be carried out, data sets that are not there, a model that the figure is not of.
        RepeatError: a run failed.
        FileError: a file can't be written.
    """
    runs = _checked(tables, picture, call)
    if absent := _missing(picture, call, runs):
        raise ConfigError("\n".join(absent))
    path = call.output / f"{file_name(picture.name, call.size == 'synthreid' and picture.kind != NO_MODEL)}.png"
    if picture.kind == NO_MODEL:
        draw_loss_curves(path)
        return path
    data = data_of(picture, call.size)
    kind = KINDS.get(picture.kind)
    files = files_below(call.images, without=call.output) if call.images else []
    make_folder(call.output)
    models = trained_models(runs, call.given, call.seed, call.output, call.opts, call.num_gpus)
    title = f"{tables.written}, {picture.name}: {picture.what} ({call.images or data})"
    if kind is None:
        drawn = rank_sheet(models, data, title, call.count)
    else:
        files = files or [Path(item[0]) for item in sorted(load_dataset(data, ("query",)).query)]
        count = kind.count if call.count is None else call.count
        drawn = kind.draw(models, [files[number] for number in spread(len(files), count)], title)
    write_picture(path, drawn)
    return path


def _checked(tables: PaperTables, picture: Picture, call: Call) -> dict[str, Run]:
    """Return name -> run of a call that can be carried out."""
    check_given(picture, call.given)
    if picture.kind == NO_MODEL and (call.images is not None or call.count is not None):
        given = "--images" if call.images is not None else "--count"
        raise ConfigError(f"{given} is for pictures of images, and {picture.name} is drawn from formulas: leave it out")
    if picture.kind == RANKS and call.images is not None:
        raise ConfigError(
            f"--images is for pictures of images, and {picture.name} ranks the gallery of a test set: leave it out"
        )
    runs = runs_of(tables, picture, call.size)
    for config, weights in call.given.values():
        given_config(config, weights)
    check_call(_trained(picture, runs, call), [call.seed], call.opts)
    return runs


def _missing(picture: Picture, call: Call, runs: Mapping[str, Run]) -> list[str]:
    """Return, a sentence each, which data sets are not there."""
    sentences = missing(_trained(picture, runs, call), call.opts)
    data = data_of(picture, call.size)
    if data and call.images is None and not data.startswith(RENDERED):
        try:
            load_dataset(data, ("query", "gallery"))
        except DataSetError as error:
            sentences.append(str(error))
    return list(dict.fromkeys(sentences))


def _trained(picture: Picture, runs: Mapping[str, Run], call: Call) -> list[Row]:
    """Return what has to be trained for the picture, as rows of a table without figures."""
    data = tested(picture, call.size)
    return [Row(name, data, {}, run, data) for name, run in runs.items() if name not in call.given]
