"""A worker watches its parent before it imports what it calls: that takes seconds, in which the parent may go."""

import pickle

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
