"""What a storm does: which command is killed, how often, in which phase and by which signal; nothing is run here."""

import random
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

BETWEEN_FILES = "between files"  # just before a file gets its name, or just after; the run waits there to be hit
# In the order in which a run comes by them; "other" is what lies between them.
PHASES = (
    "start",
    "rendering",
    "extraction",
    "first epoch",
    "evaluation",
    "checkpoint",
    "later epoch",
    "extract",
    "index",
    BETWEEN_FILES,
    "other",
)
AIMED_AT = PHASES[:-1]
TRAINING = ("start", "first epoch", "evaluation", "checkpoint", "later epoch", BETWEEN_FILES)
MOST_KILLS = 4  # of one series
ANY_MOMENT = 0.3  # share of the moments that are drawn from the whole length of a run
SIGNALS = {signal.SIGKILL: 0.7, signal.SIGTERM: 0.1, signal.SIGINT: 0.1, signal.SIGHUP: 0.1}
DISK_FULL = "disk full"


@dataclass(frozen=True)
class Scenario:
    """One command that is killed.

    Attributes:
        name: in the result.
        arguments: of ``fastreid-ext``; ``{folder}`` is the series' own, ``{work}`` the storm's, ``{port}`` a free one.
        phases: that it comes by.
        again: what is added to the arguments when it is started again.
        cost: of a start, relative to the others; dear ones are drawn less often.
        data: below FASTREID_DATASETS at the start: "" for nothing, or a folder of the storm's whose content is linked.
        copied: a folder of the storm's that is copied into the series' own.
    """

    name: str
    arguments: tuple[str, ...]
    phases: tuple[str, ...]
    again: tuple[str, ...] = ()
    cost: float = 1.0
    data: str = ""
    copied: str = ""


@dataclass(frozen=True)
class Blow:
    """A moment, and what happens to the run then.

    Attributes:
        phase: in which it falls; None draws it from the whole length of a run.
        occurrence: of the phase, from 0 to 1: the first to the last that an uninterrupted run comes by.
        fraction: of the phase's length, or of the run's, from 0 to 1; between files, below 0.5 is before the renaming.
        what: a signal's name, or "disk full".
        group: all processes of the run get the signal, and not the first alone.
    """

    phase: str | None
    occurrence: float
    fraction: float
    what: str
    group: bool

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "occurrence": round(self.occurrence, 3), "fraction": round(self.fraction, 3)}


@dataclass(frozen=True)
class Series:
    """A run that is hit several times and started again each time."""

    number: int
    scenario: str
    blows: tuple[Blow, ...]


def plan(
    scenarios: Sequence[Scenario], count: int, rng: random.Random, disk_full: bool, first: int, met: Mapping[str, int]
) -> list[Series]:
    """Draw series with ``count`` blows in total, so that all phases get as many as each other.

    Args:
        scenarios: what there is to hit.
        count: of blows.
        rng: what is drawn from.
        disk_full: the disk gets full, once a series; else signals.
        first: number of the first series.
        met: phase -> blows of earlier plans.
    """
    phases, used, drawn = Counter(met), Counter(), []
    aimed_at = phases_of(scenarios)
    unused = [] if met else rng.sample(scenarios, len(scenarios))  # each of them comes once, then the rarest phases
    while count > 0:
        fitting = [unused.pop()] if unused else list(scenarios)
        possible = [phase for phase in aimed_at if any(phase in scenario.phases for scenario in fitting)]
        rarest = min(possible, key=lambda phase: (phases[phase], rng.random()))
        fitting = [scenario for scenario in fitting if rarest in scenario.phases]
        chosen = min(fitting, key=lambda scenario: (used[scenario.name], rng.random()))
        used[chosen.name] += chosen.cost
        number = 1 if disk_full else min(count, rng.randint(1, MOST_KILLS))
        targets: list[str | None] = [rarest]
        for _ in range(number - 1):
            targets.append(None if rng.random() < ANY_MOMENT else rng.choice(chosen.phases))
        # A run that goes on does not come by a phase that lies behind it.
        anywhere = (None, BETWEEN_FILES)
        targets.sort(key=lambda phase: rng.randrange(len(PHASES)) if phase in anywhere else PHASES.index(phase))
        phases.update(target for target in targets if target)
        blows = tuple(_blow(target, rng, disk_full) for target in targets)
        drawn.append(Series(first + len(drawn), chosen.name, blows))
        count -= number
    return drawn


def _blow(phase: str | None, rng: random.Random, disk_full: bool) -> Blow:
    what = DISK_FULL if disk_full else rng.choices([s.name for s in SIGNALS], list(SIGNALS.values()))[0]
    return Blow(phase, rng.random(), rng.random(), what, rng.random() < 0.5)


def least_per_phase(count: int, scenarios: Sequence[Scenario]) -> int:
    """Return how many blows each phase gets at least: three quarters of an equal share, and not more than 15."""
    return min(15, 3 * count // (4 * len(phases_of(scenarios))))


def phases_of(scenarios: Sequence[Scenario]) -> list[str]:
    """Return the phases that blows can be aimed at."""
    return [phase for phase in AIMED_AT if any(phase in scenario.phases for scenario in scenarios)]


def missing(count: int, least: int, aimed_at: Sequence[str], met: Mapping[str, int]) -> int:
    """Return how many blows are still to be drawn: to ``count`` in total and ``least`` in each phase."""
    return max(count - sum(met.values()), sum(max(0, least - met.get(phase, 0)) for phase in aimed_at))


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the records of series.

    Args:
        records: of :func:`storm_series.run_series`.
    """
    blows = [blow for record in records for blow in record["met"]]
    faults = [fault for record in records for fault in record["faults"]]
    compared = [record["identical"] for record in records if record["identical"] is not None]
    kinds = Counter(fault["kind"] for fault in faults)
    return {
        "blows": len(blows),
        "series": len(records),
        "starts": sum(record["starts"] for record in records),
        "lost": kinds["lost"],
        "work_lost": kinds["work lost"],
        "hung": kinds["hung"],
        "orphans": kinds["orphans"],
        "tracebacks": kinds["traceback"],
        "ends_compared": len(compared),
        "bit_identical": sum(compared),
        "bit_identical_percent": round(100 * sum(compared) / max(len(compared), 1), 2),
        "by_phase": {phase: n for phase in PHASES if (n := sum(blow["phase"] == phase for blow in blows))},
        "by_blow": dict(sorted(Counter(blow["what"] for blow in blows).items())),
        "on_the_whole_group": sum(blow["group"] for blow in blows if blow["what"] != DISK_FULL),
        "by_scenario": dict(sorted(Counter(r["scenario"] for r in records for _ in r["met"]).items())),
        "left_over_files": sorted({name for record in records for name in record["left_over"]}),
        "faults": faults,
    }
