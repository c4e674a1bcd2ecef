"""A worker watches its parent before it imports what it calls: that takes seconds, in which the parent may go."""

import pickle
import sys

import pytest

from fastreid_ext import processes
from fastreid_ext.processes import WorkerCall


def test_a_spawned_worker_watches_its_parent_first(monkeypatch, capsys):
    spawned, loads, order = pickle.loads(pickle.dumps(WorkerCall(print, "function"))), pickle.loads, []
    monkeypatch.setattr(processes, "as_worker", lambda: order.append("watches"))
    monkeypatch.setattr(processes.pickle, "loads", lambda data: order.append("imports") or loads(data))
    spawned("given")
    assert order == ["watches", "imports"] and capsys.readouterr().out == "function given\n"


def test_a_forked_worker_pickles_nothing(monkeypatch):
    seen = []
    monkeypatch.setattr(processes, "as_worker", lambda: seen.append("watches"))
    WorkerCall(lambda *given: seen.append(given), 1)(2)
    assert seen == ["watches", (1, 2)]


@pytest.mark.parametrize(("error", "waits"), [(EOFError(), True), (ConnectionResetError(), True), (OSError(), False)])
def test_a_worker_whose_parent_closed_its_pipes_may_end_before_it_says_so(error, waits, monkeypatch):
    """multiprocessing's threads hand errors to sys.excepthook."""
    order = []
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "__excepthook__", lambda *given: order.append(given))
    for name in ("leave_signals_to_parent", "end_with_parent"):
        monkeypatch.setattr(processes, name, lambda: None)
    monkeypatch.setattr(processes.multiprocessing, "parent_process", lambda: "a parent")
    monkeypatch.setattr(processes.time, "sleep", order.append)
    processes.as_worker()
    sys.excepthook(type(error), error, None)
    assert order == [processes.SECONDS_TO_END] * waits + [(type(error), error, None)]
