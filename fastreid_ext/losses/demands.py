"""What a loss demands of a batch's identities: an error where it is looked at, and an assertion in a compiled graph."""

import torch

from fastreid_ext.errors import ConfigError


def demand(holds: torch.Tensor, sentence: str) -> None:
    """Refuse a batch that lacks what a loss needs.

    Whether it holds is read off the tensor, for which the processor waits if the tensor is on a GPU. In a graph that
    torch.compile captures nothing can be read: there it becomes an assertion on the device, a RuntimeError with the
    same sentence.

    Args:
        holds: a tensor of one bool.
        sentence: what is missing, and what to change.

    Raises:
        ConfigError: it does not hold.
    """
    if torch.compiler.is_compiling():
        torch._assert_async(holds, sentence)
    elif not bool(holds):
        raise ConfigError(sentence)
