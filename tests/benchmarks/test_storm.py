"""The storm's own parts: what it draws, that it sees a changed byte, an orphan, a run that hangs and a full disk."""

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from storm_plan import AIMED_AT, BETWEEN_FILES, DISK_FULL, PHASES, least_per_phase, missing, plan, summary
from storm_probe import NONE, PLACES, Probe, place
from storm_runs import Moment
from storm_scenarios import arguments, scenarios
from storm_series import Reference, has_traceback, moment_of
from storm_state import differences, state

from fastreid_ext.cli import argument_parser
from fastreid_ext.commands.common import merged_config

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


# ---- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disk_full", [False, True])
def test_the_plan_has_every_phase_and_scenario(disk_full):
    drawn = plan(scenarios(), 200, random.Random(0), disk_full, 7, {})
    blows = [blow for series in drawn for blow in series.blows]
    phases = Counter(blow.phase for blow in blows)
    assert len(blows) == 200 and [series.number for series in drawn] == list(range(7, 7 + len(drawn)))
    aimed_at = [phases[phase] for phase in AIMED_AT]
    assert min(aimed_at) >= 0.7 * sum(aimed_at) / len(aimed_at) and sum(aimed_at) >= 130
    assert {series.scenario for series in drawn} == {scenario.name for scenario in scenarios()}
    names = {DISK_FULL} if disk_full else {"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"}
    assert {blow.what for blow in blows} == names
    assert {len(series.blows) for series in drawn} == ({1} if disk_full else {1, 2, 3, 4})
    assert drawn == plan(scenarios(), 200, random.Random(0), disk_full, 7, {})


def test_a_phase_that_got_too_few_is_drawn_again():
    met = dict.fromkeys(AIMED_AT, 20) | {"index": 3}
    assert missing(100, 10, AIMED_AT, met) == 7
    drawn = plan(scenarios(), 7, random.Random(0), True, 0, met)
    assert [blow.phase for series in drawn for blow in series.blows] == ["index"] * 7


def test_least_per_phase_is_15_of_200_kills_and_less_of_fewer():
    assert [least_per_phase(count, scenarios()) for count in (400, 200, 60)] == [15, 15, 4]


def test_summary_counts_phases_and_faults():
    record = {
        "scenario": "a",
        "met": [
            {"phase": "index", "what": "SIGKILL", "group": True},
            {"phase": "start", "what": "SIGINT", "group": False},
        ],
        "starts": 3,
        "faults": [{"kind": "orphans"}, {"kind": "lost"}],
        "identical": False,
        "left_over": ["x"],
    }
    told = summary([record, {**record, "met": [], "faults": [], "identical": True}])
    assert told["by_phase"] == {"start": 1, "index": 1} and told["by_blow"] == {"SIGINT": 1, "SIGKILL": 1}
    assert (told["orphans"], told["lost"], told["hung"], told["on_the_whole_group"]) == (1, 1, 0, 1)
    assert (told["ends_compared"], told["bit_identical"], told["bit_identical_percent"]) == (2, 1, 50.0)


def test_a_moment_follows_from_the_reference():
    reference = Reference(10.0, {"checkpoint": (4, 2.0)}, {})
    blow = plan(scenarios(), 1, random.Random(0), True, 0, {})[0].blows[0]
    aimed = moment_of(type(blow)("checkpoint", 0.6, 0.5, DISK_FULL, False), reference)
    assert (aimed.occurrence, aimed.seconds) == (3, 0.25)
    between = Reference(10.0, {BETWEEN_FILES: (4, 2.0)}, {})
    assert moment_of(type(blow)(BETWEEN_FILES, 0.6, 0.4, "SIGINT", False), between) == Moment(BETWEEN_FILES, 3, 0.0)
    assert moment_of(type(blow)(BETWEEN_FILES, 0.6, 0.5, "SIGINT", False), between).seconds > 0
    assert moment_of(type(blow)(None, 0.6, 0.5, DISK_FULL, False), reference).seconds == 5.0


# ---- the package as the storm knows it ------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "name", "phase"), PLACES)
def test_the_places_of_the_phases_are_there(module, name, phase):
    assert callable(getattr(*place(module, name)))
    assert phase in (*PHASES, "")


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_the_command_lines_are_understood(scenario, tmp_path):
    line = arguments(scenario, tmp_path, tmp_path, 1, again=True)
    args = argument_parser().parse_args(line)
    if args.command != "search":
        assert tuple(merged_config(args.config_file, args.opts).INPUT.SIZE_TEST) == (64, 32)
    assert "{" not in "".join(line)


# ---- what is compared -----------------------------------------------------------------------------------------------


@pytest.fixture
def run_folder(tmp_path):
    def make(name, weight=1.0, text="same"):
        folder = tmp_path / name
        folder.mkdir()
        torch.save({"model": {"w": torch.tensor([weight, 2.0])}, "epoch": 1}, folder / "model_final.pth")
        (folder / "results.json").write_text(f"{folder} {text}")
        (folder / "log.txt").write_text(name)
        return folder

    return make


def test_a_changed_bit_is_found(run_folder):
    reference = state(run_folder("a"))
    assert differences(reference, state(run_folder("b"))) == ([], [])
    other = run_folder("c", weight=torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)), text="other")
    (other / ".model_final.pth.tmp").write_bytes(b"left")
    wrong = ["model_final.pth:/model/w", "results.json"]
    assert differences(reference, state(other)) == (wrong, [".model_final.pth.tmp"])


def test_a_missing_and_a_cut_file_are_found(run_folder):
    reference, folder = state(run_folder("a")), run_folder("b")
    (folder / "results.json").unlink()
    checkpoint = folder / "model_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    wrong, _ = differences(reference, state(folder))
    assert wrong == ["model_final.pth:/model/w", "model_final.pth:/epoch", "results.json"]


def test_times_of_a_record_are_no_difference(run_folder):
    folders = [run_folder(name) for name in "ab"]
    for number, folder in enumerate(folders):
        (folder / "report.json").write_text(
            f'{{"finished": "{number}", "command": ["{number}"], "commit": "{number}", "seed": 0}}'
        )
        (folder / "details_a.json").write_text(f'{{"images_per_second": {number}.5, "cmc": []}}')
    assert differences(*map(state, folders)) == ([], [])
    (folders[1] / "report.json").write_text('{"finished": "1", "command": [], "seed": 1}')
    (folders[1] / "details_a.json").write_text('{"images_per_second": 1.5, "cm')
    assert differences(*map(state, folders)) == (["details_a.json", "report.json"], [])


def test_tracebacks():
    assert has_traceback("fine\nTraceback (most recent call last):\n  File")
    assert not has_traceback("Exception ignored in: <f>\nTraceback (most recent call last):\n  File")


# ---- runs -----------------------------------------------------------------------------------------------------------


def test_the_probe_counts_and_goes_back(tmp_path):
    probe = Probe(tmp_path / "page")
    probe.reset()
    assert (probe.phase, probe.saved, probe.started_at) == ("start", 0, NONE)
    probe.move("first epoch")
    for _ in range(2):
        with Probe(tmp_path / "page").within("checkpoint"):  # as another process sees it
            assert probe.phase == "checkpoint"
    probe.note(saved=2)
    probe.note(saved=1, started_at=1)
    assert probe.phase == "first epoch" and (probe.saved, probe.started_at) == (2, 1)
    assert [probe.row(phase)[0] for phase in ("start", "first epoch", "checkpoint", "index")] == [1, 1, 2, 0]
    assert probe.row("first epoch")[1] > 0


RUN = """
import os, signal, sys, time
from pathlib import Path
import storm_plan
import storm_probe
import storm_runs
from storm_plan import Blow
from storm_probe import Probe
from storm_runs import Moment, watch

storm_runs.SECONDS_OF_ORPHANS = storm_runs.SECONDS_TO_STOP = 0.3
folder = Path(sys.argv[1])
probe = Probe(folder / "page")
probe.reset()
storm_runs.adopt_orphans()
if sys.argv[2] in ("before", "behind"):
    (folder / "a").write_text("a")
    probe.reset(2, sys.argv[2] == "behind")
if (pid := os.fork()) == 0:
    os.setsid()
    if sys.argv[2] in ("before", "behind"):
        rename = storm_probe._Wrapped(os.replace, probe, storm_plan.BETWEEN_FILES).call
        rename(folder / "a", folder / "b")
        rename(folder / "b", folder / "c")
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if sys.argv[2] == "orphan" and os.fork() == 0:
        os.setsid()  # it leaves the run's session
        time.sleep(60)
    if sys.argv[2] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.argv[2] != "quick":
        probe.move("index")
        time.sleep(60)
    os._exit(3)
phase = storm_plan.BETWEEN_FILES if sys.argv[2] in ("before", "behind") else "index"
blow = Blow(phase, 0, 0, "SIGTERM", False)
ended = watch(pid, probe, blow, Moment(phase, 1, 0.0), folder, 20)
print(*[name for name in "abc" if (folder / name).exists()], end=" " if phase != "index" else "")
print(ended.status, ended.phase, ended.hung, len(ended.orphans), storm_runs.alive(pid))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("quick", "3 None False 0 {}"),
        ("killed", f"{-signal.SIGTERM} index False 0 {{}}"),
        ("orphan", f"{-signal.SIGTERM} index False 1 {{}}"),
        ("deaf", "0 index True 0 {}"),
        ("before", f"b {-signal.SIGTERM} between files False 0 {{}}"),
        ("behind", f"c {-signal.SIGTERM} between files False 0 {{}}"),
    ],
)
@pytest.mark.linux("the storm finds orphans in /proc")
def test_what_becomes_of_a_start_is_seen(kind, seen, tmp_path):
    assert python(RUN, tmp_path, kind) == seen


DISK = """
import errno, sys
from pathlib import Path
import storm_disk

folder = Path(sys.argv[1])
try:
    storm_disk.private_mounts()
    storm_disk.mount(folder)
except OSError as error:
    sys.exit(print("not allowed") or 0)
(folder / "whole").write_bytes(bytes(100_000))
storm_disk.fill(folder)
try:
    (folder / "more").write_bytes(bytes(10_000))
except OSError as error:
    print(errno.errorcode[error.errno], (folder / "whole").stat().st_size)
storm_disk.free(folder)
print((folder / "more").write_bytes(bytes(10_000)))
storm_disk.unmount(folder)
print(list(folder.iterdir()))
"""


@pytest.mark.linux("the full disk is a tmpfs in mounts of its own")
def test_a_disk_gets_full_and_has_space_again(tmp_path):
    said = python(DISK, tmp_path)
    if said == "not allowed":
        pytest.skip("this system lets the user mount nothing")
    assert said.splitlines() == ["ENOSPC 100000", "10000", "[]"]


def python(script: str, *arguments: object) -> str:
    """Run a script beside the benchmarks; it loads no torch."""
    line = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(line, cwd=BENCHMARKS, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
