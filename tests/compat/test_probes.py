"""The probes find each fault in the host's own code and none in its healed code, quickly and without a trace."""

import inspect
import os
import random
import types

import numpy as np
import pytest
import torch

from fastreid_ext.compat import distributed, patch, probing, report, trainer

# Faults that need a version of NumPy, torch or torchvision besides FastReID 1.4.0.
OF_SOME_VERSIONS = {"clip-frozen", "euclidean", "gather-bytes", "random-affine", "ranking-cuhk03", "to-tensor"}
# They read the host's source, which healing does not change.
OF_THE_SOURCE = {"best-metric", "torchrun"}

# Heals with the probes watched: what they changed, and how long they took.
WATCHED = """
import os, random, sys, time, warnings
import fastreid_ext
from fastreid_ext.compat import patch
import numpy as np
import torch

apply_all = patch.apply_all


def state():
    return {
        "random": random.getstate(),
        "numpy": tuple(map(str, np.random.get_state())),
        "torch": torch.random.get_rng_state().tolist(),
        "environment": dict(os.environ),
        "files": sorted(os.listdir()),
        "filters": list(warnings.filters),
        "cuda": torch.cuda.is_initialized(),
        "threads": len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0,
    }


def watched(patches):
    patches = list(patches)
    before, start = state(), time.process_time()
    assert all(each.is_needed() in (True, False) for each in patches)
    print("CPU seconds:", time.process_time() - start)
    after = state()
    assert before == after, [key for key in before if before[key] != after[key]]
    return apply_all(patches)


patch.apply_all = watched
import fastreid
"""


def test_the_faults_of_the_release_are_found():
    statuses = {outcome.patch.name: outcome.status for outcome in report()}
    assert statuses.keys() == {each.name for each in patch.PATCHES}
    assert {name for name, status in statuses.items() if status != "applied"} <= OF_SOME_VERSIONS


@pytest.mark.parametrize("each", patch.PATCHES, ids=lambda each: each.name)
def test_a_healed_host_has_no_fault(each):
    if each.name in OF_THE_SOURCE:
        pytest.skip("reads the source of the release")
    with probing.silent():
        assert each.needed() is False


def test_torchrun_is_known_where_the_environment_is_read(monkeypatch):
    monkeypatch.setattr(inspect, "getsource", lambda module: 'rank = int(os.environ["LOCAL_RANK"])')
    assert not distributed._torchrun_is_unknown()


def test_the_best_metric_is_known_where_it_is_named(monkeypatch):
    monkeypatch.setattr(inspect, "getsource", lambda thing: "self.best_metric = checkpoint['best_metric']")
    assert not trainer._best_metric_is_forgotten()


def test_probes_are_quick_and_leave_no_trace(forked):
    *words, seconds = forked(WATCHED)
    assert words == ["CPU", "seconds:"] and float(seconds) < 1  # 0.07 on an idle core


def test_stand_ins_are_withdrawn():
    module = types.SimpleNamespace(value=1)
    with pytest.raises(probing.Asked), probing.swapped(module, value=probing.refuse):
        module.value()
    assert module.value == 1


def test_states_survive_the_probes_of_this_process():
    states = random.getstate(), str(np.random.get_state()), torch.random.get_rng_state().tolist(), dict(os.environ)
    for each in patch.PATCHES:
        each.is_needed()
    assert states == (
        random.getstate(),
        str(np.random.get_state()),
        torch.random.get_rng_state().tolist(),
        dict(os.environ),
    )
