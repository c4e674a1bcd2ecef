"""Errors the user can fix, and how bugs of ours are told from what FastReID or the user's code refuses."""

import inspect

import pytest

from fastreid_ext import errors
from fastreid_ext.data.catalog import DataSetError
from fastreid_ext.data.images import ImageError
from fastreid_ext.data.poses import PoseError
from fastreid_ext.engine.checkpoint import CheckpointError
from fastreid_ext.engine.repeat import RepeatError
from fastreid_ext.errors import UserError, is_ours
from fastreid_ext.modeling.weights import WeightsError
from fastreid_ext.search.features import StoreError

OTHERS = (CheckpointError, DataSetError, ImageError, PoseError, RepeatError, StoreError, WeightsError)


def test_one_kind():
    ours = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert {"ConfigError", "EvaluationError", "FileError"} <= {kind.__name__ for kind in ours}
    assert all(issubclass(kind, UserError) for kind in (*ours, *OTHERS))
    assert not issubclass(UserError, ValueError | OSError | RuntimeError)  # who catches those catches no bug of ours


def raise_from(*modules):
    """Raise a ValueError through one frame for each module name, the last one innermost."""
    code = "def call(rest):\n    if not rest:\n        raise ValueError\n    rest[0](rest[1:])\n"
    frames = []
    for name in modules:
        scope = {"__name__": name}
        exec(code, scope)
        frames.append(scope["call"])
    frames[0](frames[1:])


@pytest.mark.parametrize(
    ("modules", "ours"),
    [
        (["fastreid.modeling.build"], False),
        (["fastreid_ext.mgre.meta_arch"], True),
        (["fastreid.modeling.build", "fastreid_ext.mgre.meta_arch"], True),
        (["fastreid.modeling.build", "fastreid_ext.mgre.meta_arch", "fastreid.layers.norm"], False),
        (["fastreid.modeling.build", "fastreid_ext.mgre.meta_arch", "torch.nn.modules"], True),
        (["fastreid.modeling.build", "torch.nn.modules"], False),
        (["somebody.data"], False),
        (["somebody.data", "json.decoder"], False),
        (["fastreid_extra.data"], False),
    ],
)
def test_whose_frame_raised(modules, ours):
    try:
        raise_from(*modules)
    except ValueError as error:
        assert is_ours(error) is ours


def test_an_error_without_frames():
    assert not is_ours(ValueError())
