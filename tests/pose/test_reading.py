"""Images that several workers read: the order, the errors and the end are those of one."""

import threading
import time

import numpy as np
import pytest

from fastreid_ext.cli import main
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.pose.reading import AHEAD, read_batches

NAMES = [f"{n}" for n in range(23)]


def slow_at_first(name):
    time.sleep(0.02 if int(name) % 5 == 0 else 0)
    return f"crop {name}", np.full((3, 2, 1), int(name))


@pytest.mark.parametrize("workers", [1, 2, 9])
@pytest.mark.parametrize("batch_size", [1, 4, 23, 99])
def test_the_order_is_that_of_the_names(workers, batch_size):
    batches = list(read_batches(NAMES, batch_size, slow_at_first, workers))
    assert [len(names) for names, _, _ in batches] == [min(batch_size, 23 - at) for at in range(0, 23, batch_size)]
    assert [name for names, _, _ in batches for name in names] == NAMES
    for names, crops, inputs in batches:
        assert crops == [f"crop {name}" for name in names]
        assert inputs.shape == (len(names), 3, 2, 1) and inputs[:, 0, 0, 0].tolist() == [int(name) for name in names]


def test_nothing_to_read():
    assert list(read_batches([], 4, slow_at_first, 2)) == []


def test_workers_read_at_once_and_not_too_far():
    """Two images are read at the same time, and no more than two batches ahead."""
    together, begun, before = threading.Barrier(2, timeout=20), [], threading.active_count()

    def prepare(name):
        begun.append(name)
        if int(name) < 2:
            together.wait()
        return slow_at_first(name)

    batches = read_batches(NAMES, 3, prepare, 2)
    next(batches)
    time.sleep(0.2)
    assert len(begun) == (1 + AHEAD) * 3
    batches.close()
    assert len(begun) == (1 + AHEAD) * 3 and threading.active_count() == before


def test_the_first_error_by_order_is_raised_and_the_workers_end():
    def prepare(name):
        if name in ("9", "10"):
            time.sleep(0.05 if name == "9" else 0)
            raise PoseError(name)
        return slow_at_first(name)

    before = threading.active_count()
    found = []
    with pytest.raises(PoseError, match="^9$"):
        for names, _, _ in read_batches(NAMES, 4, prepare, 3):
            found += names
    assert found == NAMES[:8] and threading.active_count() == before


@pytest.fixture
def run(tmp_path, ramps, colour_model, capsys):
    """Run a model on the ramps with so many workers; return status, poses and errors."""
    model = colour_model(np.random.RandomState(0).uniform(60, 220, (17, 3)))

    def run(workers, *options):
        output = tmp_path / f"{workers}.npz"
        args = ["--model", model, "--images", ramps.root, "--output", output, "--threads", 1, "--workers", workers]
        status = main(["pose", "run", *map(str, (*args, "--batch-size", 2, *options))])
        return status, Poses.load(output) if output.exists() else None, capsys.readouterr().err

    return run


def test_as_many_workers_as_wanted(run, monkeypatch):
    found = []

    def noted(names, batch_size, prepare, workers):
        found.append(workers)
        return read_batches(names, batch_size, prepare, workers)

    monkeypatch.setattr("fastreid_ext.pose.running.read_batches", noted)
    run(7)
    assert found == [7]


def test_workers_change_nothing(run, ramps):
    (_, one, _), (_, several, _) = run(1), run(5)
    assert one.names == several.names and np.array_equal(one.joints, several.joints)
    broken = ramps.root / ramps.names[3]
    broken.write_bytes(broken.read_bytes()[:50])
    (ramps.root / ramps.names[4]).write_bytes(b"")
    for workers in (2, 3):
        status, poses, errors = run(workers)
        assert (status, poses) == (1, None) and f"{broken} can't be read as an image" in errors


def test_few_shoulders_are_said_beside_the_progress(run, monkeypatch):
    monkeypatch.setattr("fastreid_ext.pose.running.ENOUGH", 6)
    assert "WARNING: only 0% of shoulders and hips are seen" in run(1, "--mean", 900, 900, 900)[2]
    monkeypatch.setattr("fastreid_ext.pose.running.ENOUGH", 8)  # of 7 images
    assert "WARNING" not in run(2, "--mean", 900, 900, 900)[2]
