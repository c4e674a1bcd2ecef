"""Runs that a command starts, in the process of the test."""

import pytest
import torch

from fastreid_ext.cli import main
from fastreid_ext.engine import repeat


@pytest.fixture
def runs_in_this_process(monkeypatch, forget_logs):
    """The list of their calls."""
    calls = []

    def run(arguments):
        calls.append(arguments)
        return main(list(arguments))

    monkeypatch.setattr(repeat, "run_command", run)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield calls
    torch.set_num_threads(threads)
