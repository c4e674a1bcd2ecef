"""A real run that is killed: nothing of its session is left after five seconds.

It has all kinds of children that train: ranks, and each rank's workers of the training and of the test set, under the
hardest signal, a SIGKILL of the parent alone. Rendering is killed in tests/data/test_synthetic.py; what the other
signals do and what is said is in tests/test_signals.py and tests/engine/test_launching.py. The ranks are forked, and
watch their parent as spawned ones do, which is in tests/processes/test_worker_call.py.
"""

import signal
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "engine" / "train_tiny.py"
RANKS = 2


@pytest.mark.slow
@pytest.mark.linux("what is left of a session is read in /proc")
def test_no_rank_and_no_worker_trains_on(session, synth_root, tmp_path):
    settings = ("DATALOADER.NUM_WORKERS", 1, "SOLVER.MAX_EPOCH", 400, "SOLVER.STEPS", "[300]")
    command = (TINY, "--config-file", TINY.with_name("tiny.yml"), "--num-gpus", RANKS, "--dist-url", "auto")
    run = session(
        *command, "OUTPUT_DIR", tmp_path / "out", *settings, FASTREID_DATASETS=str(synth_root), FORK_RANKS="1"
    )
    run.wait_for("by groups of queries")  # after an evaluation, whose workers wait for the next one
    run.wait_until(lambda: len(run.alive()) >= 1 + 3 * RANKS)
    assert run.stop(signal.SIGKILL) == -signal.SIGKILL
