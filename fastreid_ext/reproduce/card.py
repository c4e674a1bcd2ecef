"""The model card of a shipped model: what it is, what it was measured on, and what it must not be used for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tabulate import tabulate

from fastreid_ext.errors import counted
from fastreid_ext.evaluation.same_person import SamePerson
from fastreid_ext.evaluation.similarity_report import threshold_table
from fastreid_ext.reproduce.speed import Speed

__all__ = ["HEADINGS", "Facts", "card_text"]

HEADINGS = ("Data", "Recipe", "Measured", "Thresholds", "Behaviour by skin tone and build", "Limits", "Not for")
METRICS = ("Rank-1", "mAP")

LIMITS = """\
- It knows people by what they wear and carry. The same person in other clothes is another one.
- It has seen drawn people alone. How well it does on your cameras is not known until you measure it on them.
- It was not trained on crowds, infrared or thermal images, people who sit, lie or ride, children, or animals.
- Its thresholds hold for drawn people. Measure your own: `fastreid-ext verify --calibrate`."""

NOT_FOR = """\
Decisions about people: access, identification by police or border control, surveillance of staff or of public places,
scoring. It can't tell who somebody is, and it is often wrong."""


@dataclass(frozen=True)
class Facts:
    """What was measured of a model.

    Attributes:
        name: of its files.
        config: that trained it.
        changed: its keys that ``--opts`` changed, with their values.
        data_sets: that it was trained on.
        epochs: of the training.
        losses: of MODEL.LOSSES.NAME.
        augmentations: of the training images, in words.
        choose_by: the test set that chose the seed.
        chosen: the seed.
        summary: of all seeds, by :func:`fastreid_ext.evaluation.spread.summarise`.
        same_person: its thresholds.
        groups: rows of the report by groups, of skin tone, build and all.
        record: of the chosen run (report.json).
        megabytes, parameters: of the file, and of the backbone.
        speed: on the machine that measured it, which need not be the one that trained.
        size: (height, width) of its images.
        dim: D of its features.
    """

    name: str
    config: str
    changed: Mapping[str, str]
    data_sets: Sequence[str]
    epochs: int
    losses: Sequence[str]
    augmentations: Sequence[str]
    choose_by: str
    chosen: int
    summary: Mapping[str, Mapping[str, Mapping[str, Any]]]
    same_person: SamePerson
    groups: Sequence[Mapping[str, Any]]
    record: Mapping[str, Any]
    megabytes: float
    parameters: int
    speed: Speed
    size: tuple[int, int]
    dim: int

    @property
    def seeds(self) -> list[str]:
        """Of the runs."""
        return list(self.summary[self.choose_by]["mAP"]["by_seed"])

    def numbers(self) -> dict[str, Any]:
        """Return all of it for a JSON file; of the run's record, what says where the numbers are from."""
        kept = {key: self.record[key] for key in ("commit", "environment", "finished", "seed")}
        return asdict(self) | {"same_person": self.same_person.to_dict(), "record": kept}


def card_text(facts: Facts) -> str:
    """Return the card in Markdown."""
    texts = (_data(facts), _recipe(facts), _measured(facts), _thresholds(facts), _behaviour(facts), LIMITS, NOT_FOR)
    sections = [f"## {heading}\n\n{text}" for heading, text in zip(HEADINGS, texts, strict=True)]
    return "\n\n".join([f"# {facts.name}", _summary(facts), *sections]) + "\n"


def _summary(facts: Facts) -> str:
    height, width = facts.size
    return (
        f"A narrow ResNet of {facts.parameters / 1e6:.2f} million parameters in {facts.megabytes:.1f} MB, Apache-2.0."
        f" It takes images of {height}x{width} (height x width) and gives {facts.dim} numbers, which are"
        " compared by their cosine."
    )


def _data(facts: Facts) -> str:
    return (
        f"{' and '.join(facts.data_sets)} ([docs/wide.md](../../docs/wide.md)): drawn people alone. No photograph"
        " and no real person was used, in training or before it. The weights started from random numbers."
    )


def _recipe(facts: Facts) -> str:
    environment = facts.record["environment"]
    versions = ", ".join(f"{name} {environment[name]}" for name in ("torch", "python"))
    changed = ", ".join(f"`{key} {value}`" for key, value in facts.changed.items())
    by = f"`configs/{facts.config}`{' with ' if changed else ''}{changed}"
    return (
        f"`fastreid-ext reproduce zoo` by {by}: {counted(facts.epochs, 'epoch')} with {' and '.join(facts.losses)};"
        f" {', '.join(facts.augmentations) or 'no augmentation'}. The model file has MODEL, INPUT and TEST of this"
        " config; the rest is in the commit.\n\n"
        f"Commit {facts.record['commit'] or 'unknown'}, {versions}, {environment['processor']}."
    )


def _measured(facts: Facts) -> str:
    seeds = facts.seeds
    of = f"One run, seed {seeds[0]}"
    if len(seeds) > 1:
        of = (
            f"Mean and standard deviation of {len(seeds)} runs, seeds {', '.join(seeds)}; seed {facts.chosen} is"
            f" shipped, the best of them on {facts.choose_by}"
        )
    return (
        f"People that it was not trained on. {of}.\n\n{_results(facts)}\n\n"
        f"{facts.choose_by} is drawn in another style, of which the model has seen nothing.\n\n"
        f"{facts.speed.images_per_second:.0f} images/s from pixels to features, in batches of 32 by PyTorch, with"
        f" {facts.speed.threads} threads of {facts.speed.processor}."
    )


def _thresholds(facts: Facts) -> str:
    found = facts.same_person
    return (
        f"In the file; measured on {found.people} people of {found.measured_on}: {found.positives:,} pairs of one"
        f" person, {found.negatives:,} of two.\n\n{threshold_table(found)}"
    )


def _behaviour(facts: Facts) -> str:
    return (
        f"On {facts.same_person.measured_on}, where both are known of everybody: thirds of the people by each. Skin"
        " tone is from 0 (light) to 1 (dark), build from 0.78 (thin) to 1.30 (stout).\n\n"
        f"{_groups(facts.groups)}"
    )


def _results(facts: Facts) -> str:
    several = len(facts.seeds) > 1
    rows = []
    for name, metrics in facts.summary.items():
        cells = [name]
        for value in (metrics[metric] for metric in METRICS):
            cells += [f"{value['mean']:.1f} ± {value['spread']:.1f}"] if several else []
            cells.append(f"{value['by_seed'][str(facts.chosen)]:.1f}")
        rows.append(cells)
    ends = (", all seeds", ", shipped") if several else ("",)
    headers = ["test set", *(f"{metric}{end}" for metric in METRICS for end in ends)]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _groups(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [row["group"], row["identities"], row["queries"], *(_percent(row[metric]) for metric in METRICS)]
        for row in rows
    ]
    headers = ["group", "people", "queries", *METRICS]
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
