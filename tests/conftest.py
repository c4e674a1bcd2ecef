"""What every test may use: the healed host, repeatable randomness, one thread, the smallest SynthReID."""

import random

import fastreid_ext  # noqa: F401  isort:skip  (heals the host, so it comes before anything that imports it)

import numpy as np
import pytest
import torch
from fastreid.utils.events import EventStorage

from fastreid_ext.data.synthetic import generate


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tensors are small: a second thread gains little, and waiting for it on a busy machine costs tenfold."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def storage():
    """The open event storage that a training forward writes into."""
    with EventStorage() as events:
        yield events


@pytest.fixture(scope="session")
def synth_root(tmp_path_factory):
    """A folder of data sets that holds SynthReID-tiny."""
    root = tmp_path_factory.mktemp("datasets")
    generate(root, size="tiny", workers=1, progress=False)
    return root


@pytest.fixture
def synth_tiny(synth_root, monkeypatch):
    """FASTREID_DATASETS names a folder with SynthReIDTiny and SynthReIDOccludedTiny."""
    monkeypatch.setenv("FASTREID_DATASETS", str(synth_root))
    return synth_root
