"""Models without numbers: for structure and refusals, where weights that nobody reads would take most of the time."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._device import DeviceContext

DRAWS = {
    *(torch.Tensor.normal_, torch.Tensor.uniform_),
    *(nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_),  # as torch.nn's modules call them
}


def _tensor(args: tuple, kwargs: dict) -> torch.Tensor:
    return args[0] if args else kwargs["tensor"]


class WithoutDraws(TorchFunctionMode):
    """Leaves out the random numbers of initialisations: a tensor that would be filled with them is filled with 0.01."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in DRAWS:
            with torch.no_grad():
                return _tensor(args, kwargs).fill_(0.01)
        return function(*args, **(kwargs or {}))


class OnMeta(DeviceContext):
    """As ``torch.device("meta")``, without the draws, and with a batch norm that checks its channels and no more.

    The meta device takes these two through decompositions in Python, which are more than half of a model's time.
    """

    def __init__(self):
        super().__init__(torch.device("meta"))

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in DRAWS:
            return _tensor(args, kwargs)
        if function is F.batch_norm and args[1] is not None:
            assert args[0].shape[1:2] == args[1].shape, "a batch norm of another number of channels"
            return args[0]
        return super().__torch_function__(function, types, args, kwargs)
