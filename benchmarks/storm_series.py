"""One run that is hit again and again, and whether it ends as if nothing had happened."""

import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storm_disk import free, mount, unmount
from storm_plan import BETWEEN_FILES, DISK_FULL, Blow, Scenario, Series
from storm_probe import NONE, Probe
from storm_runs import Ended, Moment, start, watch
from storm_scenarios import arguments
from storm_state import differences, state

TRACEBACK = "Traceback (most recent call last)"
REFERENCE_LIMIT = 600.0  # seconds
SHOWN = 5  # lines or names in a fault


@dataclass(frozen=True)
class Reference:
    """How an uninterrupted run went and ended.

    Attributes:
        seconds: it took.
        phases: phase -> how often it was entered, and seconds in it in total.
        state: of :func:`storm_state.state`.
    """

    seconds: float
    phases: Mapping[str, tuple[int, float]]
    state: Mapping[str, str]

    @property
    def limit(self) -> float:
        """Seconds after which a start counts as hung, on a machine that does other things too."""
        return 60 + 20 * self.seconds


class Runner:
    """Starts a scenario in folders of its own.

    Args:
        work: the storm's folder.
        probe: of this process.
    """

    def __init__(self, work: Path, probe: Probe):
        self.work, self.probe = work, probe

    def prepare(self, scenario: Scenario, folder: Path) -> None:
        """Lay what the scenario needs into its empty folder."""
        (folder / "data").mkdir()
        if scenario.copied:
            shutil.copytree(self.work / scenario.copied, folder / scenario.copied)
        source = self.work / scenario.data if scenario.data else None
        for path in sorted(source.rglob("*")) if source else ():
            target = folder / "data" / path.relative_to(source)
            if path.is_dir():
                target.mkdir()
            else:
                target.symlink_to(path)

    def once(
        self, scenario: Scenario, folder: Path, again: bool, blow: Blow | None, moment: Moment | None, limit: float
    ) -> Ended:
        """Start it once and wait for its end."""
        output = folder.with_name(f"{folder.name}.txt")
        output.touch()  # a process that is killed at once never opens it
        before = output.stat().st_size
        waiting = moment is not None and moment.phase == BETWEEN_FILES
        self.probe.reset(moment.occurrence if waiting else 0, waiting and moment.seconds > 0)
        line = arguments(scenario, folder, self.work, _free_port(), again)
        pid = start(line, folder, output, {"FASTREID_DATASETS": str(folder / "data")}, self.probe)
        ended = watch(pid, self.probe, blow, moment, folder, limit)
        ended.output = output.read_bytes()[before:].decode(errors="replace")
        return ended

    def reference(self, scenario: Scenario) -> Reference:
        """Run it without interruption.

        Raises:
            RuntimeError: it fails.
        """
        folder = self.work / "reference" / scenario.name
        folder.mkdir(parents=True)
        self.prepare(scenario, folder)
        ended = self.once(scenario, folder, False, None, None, REFERENCE_LIMIT)
        if ended.status or ended.hung:
            raise RuntimeError(f"{scenario.name} fails without a storm ({ended.status}):\n{ended.output[-3000:]}")
        phases = {phase: self.probe.row(phase) for phase in scenario.phases}
        never = [phase for phase, (times, _) in phases.items() if not times]
        if never:
            raise RuntimeError(f"{scenario.name} never says that it is in the phases {never}: is the probe outdated?")
        return Reference(ended.seconds, phases, state(folder))

    def run_series(self, series: Series, scenario: Scenario, reference: Reference) -> dict[str, Any]:
        """Hit a run as the series says, start it again each time, and compare its end with the reference.

        Returns:
            ``met`` (the blows that fell, each with the phase it fell in), ``starts``, ``faults`` (kind, detail and
            what leads there), ``identical`` (None if it came to no end), ``left_over`` (files more than the
            reference's).
        """
        folder = self.work / f"series{series.number:04d}"
        folder.mkdir()
        on_a_disk = any(blow.what == DISK_FULL for blow in series.blows)
        if on_a_disk:
            mount(folder)
        try:
            self.prepare(scenario, folder)
            record = _Record(series, scenario)
            if self._hit(series, scenario, reference, folder, record):
                wrong, more = differences(reference.state, state(folder))
                record.identical, record.left_over = not wrong, more
                if wrong:
                    record.fault("different", f"{len(wrong)} entries, such as {wrong[:SHOWN]}")
        finally:
            if on_a_disk:
                unmount(folder)
        return record.as_dict()

    def _hit(self, series: Series, scenario: Scenario, reference: Reference, folder: Path, record: "_Record") -> bool:
        """Return whether the run came to its end."""
        saved = 0
        for blow in (*series.blows, None):
            moment = moment_of(blow, reference) if blow else None
            ended = self.once(scenario, folder, record.starts > 0, blow, moment, reference.limit)
            record.started(blow, ended)
            if self.probe.started_at not in (NONE, *range(saved, 1000)):
                record.fault("work lost", f"{saved} epochs were saved, it began at epoch {self.probe.started_at}")
            saved = max(saved, self.probe.saved)
            if ended.hung:
                record.fault("hung", _tail(ended.output, 40))
                return False
            if ended.phase is None or ended.status == 0:  # it ended by itself
                if ended.status:
                    record.fault("lost", f"status {ended.status}: {_tail(ended.output, SHOWN)}")
                return ended.status == 0
            if blow.what == DISK_FULL:
                free(folder)
        raise AssertionError("the last start is not hit")


class _Record:
    """What is known of a series."""

    def __init__(self, series: Series, scenario: Scenario):
        self.series, self.scenario = series, scenario
        self.starts, self.met, self.faults = 0, [], []
        self.identical: bool | None = None
        self.left_over: list[str] = []

    def started(self, blow: Blow | None, ended: Ended) -> None:
        self.starts += 1
        met = ended.phase is not None and not (blow.what == DISK_FULL and ended.status == 0)  # it needed no more space
        if met:
            self.met.append({"phase": ended.phase, "what": blow.what, "group": blow.group, "status": ended.status})
        if ended.orphans:
            self.fault("orphans", f"{len(ended.orphans)} alive: {ended.orphans[:SHOWN]}")
        if has_traceback(ended.output):
            self.fault("traceback", _tail(ended.output, 12))

    def fault(self, kind: str, detail: str) -> None:
        print(f"series {self.series.number}, {self.scenario.name}: {kind}: {detail}", file=sys.stderr, flush=True)
        self.faults.append(
            {
                "kind": kind,
                "detail": detail,
                "series": self.series.number,
                "scenario": self.scenario.name,
                "start": self.starts,
                "met": list(self.met),
            }
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "series": self.series.number,
            "scenario": self.scenario.name,
            "starts": self.starts,
            "met": self.met,
            "faults": self.faults,
            "identical": self.identical,
            "left_over": self.left_over,
        }


def moment_of(blow: Blow, reference: Reference) -> Moment:
    """Return when a blow falls, by the times of an uninterrupted run."""
    if blow.phase is None:
        return Moment(None, 0, blow.fraction * reference.seconds)
    times, seconds = reference.phases[blow.phase]
    if blow.phase == BETWEEN_FILES:
        return Moment(blow.phase, 1 + int(blow.occurrence * times), float(blow.fraction >= 0.5))
    return Moment(blow.phase, 1 + int(blow.occurrence * times), blow.fraction * seconds / times)


def has_traceback(output: str) -> bool:
    """Whether a start printed a traceback, other than Python's own for a signal that arrived in a destructor."""
    lines = output.splitlines()
    return any(
        TRACEBACK in line and not before.startswith("Exception ignored in")
        for before, line in zip(["", *lines], lines, strict=False)
    )


def _tail(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])[-4000:]


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]
