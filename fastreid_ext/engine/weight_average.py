"""The exponential moving average of a run's weights (SOLVER.EMA), which is evaluated and saved in their place.

Averages of the iterates: Polyak and Juditsky, SIAM Journal on Control and Optimization, 1992; their exponential form:
Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.precision import at_least_float32


class WeightAverage:
    """A float32 average of a model's parameters, moved once after every step of the optimiser.

    It begins at the weights before the first step. Step t = 0, 1, ... takes d * average + (1 - d) * weights with
    d = min(decay, (1 + t) / (10 + t)), so that the first average is not held back by the weights of the start. Buffers,
    such as the statistics of batch norms, are those of the model. All ranks have equal weights and so equal averages.

    Args:
        model: without a wrapper for several processes.
        optimizer: of its weights.
        decay: d in the long run, from 0 to below 1.

    Attributes:
        steps: t, how many steps are in it.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, decay: float):
        self.decay, self.steps = decay, 0
        self._weights = dict(model.named_parameters())
        self._average: dict[str, Tensor] = {}  # empty until it begins
        optimizer.register_step_pre_hook(lambda *_: self._begin())
        optimizer.register_step_post_hook(lambda *_: self._move())

    def _begin(self) -> None:
        """Begin at the present weights: here and not earlier, because MODEL.WEIGHTS are loaded late."""
        if not self._average:
            self._average = {name: at_least_float32(weight.detach()).clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def _move(self) -> None:
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        weights = [at_least_float32(weight.detach()) for weight in self._weights.values()]
        torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)
        self.steps += 1

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """Let the model have the averaged weights, and its own ones again on exit, to the bit."""
        own = {name: self._weights[name].detach().clone() for name in self._average}
        try:
            for name, average in self._average.items():
                self._weights[name].copy_(average)
            yield
        finally:
            for name, weight in own.items():
                self._weights[name].copy_(weight)

    def averaged(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the state dict of the model with the averaged weights in place of its own."""
        averages = {self._weights[name]: average for name, average in self._average.items()}
        state = model.state_dict(keep_vars=True)  # which has a shared weight under each of its names
        return {
            key: averages[value].to(value.dtype) if value in averages else value.detach()
            for key, value in state.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a run needs beside the averaged weights to go on: the model's own ones, and their count."""
        return {"steps": self.steps, "weights": {name: weight.detach() for name, weight in self._weights.items()}}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a checkpoint whose averaged weights the model was just given."""
        self.steps = state["steps"]
        self._average = {}
        self._begin()
        for name, weight in self._weights.items():
            weight.copy_(state["weights"][name])

    def faults_of(self, state: Any) -> list[str]:
        """Return what keeps a state from being loaded, an empty list if nothing does."""
        weights = state.get("weights") if isinstance(state, Mapping) else None
        if not isinstance(weights, Mapping) or weights.keys() != self._weights.keys():
            return ["its average is of another model"]
        steps = state.get("steps")
        if type(steps) is not int or steps < 0:
            return ["its average has no number of steps"]
        odd = [name for name, weight in self._weights.items() if not _fits(weights[name], weight)]
        return [f"its average has {len(odd)} damaged weights, such as {odd[:3]}"] if odd else []


def _fits(saved: Any, own: Tensor) -> bool:
    return (
        isinstance(saved, Tensor)
        and (saved.shape, saved.dtype) == (own.shape, own.dtype)
        and bool(torch.isfinite(saved).all())
    )


def average_of(cfg: CfgNode, model: nn.Module, optimizer: torch.optim.Optimizer) -> WeightAverage | None:
    """Return the average that SOLVER.EMA asks for, None where it is off."""
    node = cfg.SOLVER.EMA
    return WeightAverage(model, optimizer, node.DECAY) if node.ENABLED else None
