"""SOLVER.COMPILE: the part of a model that takes the time runs through torch.compile, in place."""

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError, first_line
from fastreid_ext.modeling.branched import BranchedReID

KEY = "SOLVER.COMPILE"
BACKEND = "inductor"  # of torch.compile
# (module.training, gradients are recorded); FastReID's PreciseBN has another mode.
MODES = {(True, True): "training", (False, False): "the test"}
OWN_CACHES = "Dynamo detected a call to a `functools.lru_cache`"  # of names, which never change

logger = logging.getLogger(__name__)


def compile_model(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """Let a model compute its maps and features in compiled kernels if SOLVER.COMPILE says so.

    Names of modules and weights stay. Losses, checks of a batch and augmentation are outside of what is compiled.

    Args:
        cfg: the run's config.
        model: without a wrapper for several processes; it is changed in place and returned.

    Raises:
        ConfigError: a model of another make, without a module ``backbone``.
    """
    if not cfg.SOLVER.COMPILE:
        return model
    if isinstance(model, BranchedReID):
        model.branches = Compiled(model, "branches")
        return model
    trunk = getattr(model, "backbone", None)
    if not isinstance(trunk, nn.Module):
        raise ConfigError(
            f"{KEY} compiles the trunk of a model, and {type(model).__name__} has no module `backbone`: set it False"
        )
    trunk.forward = Compiled(trunk, "forward")
    return model


class Compiled:
    """A method of a module, compiled for the batches of a training step and for those of a test.

    A batch smaller than the largest one so far, as the last one of a test set, runs as it would without, since
    compiling for its size would take longer than it does. So does everything that is neither training nor a test.

    Args:
        module: that the method becomes an attribute of. A copy of the module has a copy, which compiles anew.
        name: of the method; its first argument is (B, ...).
    """

    def __init__(self, module: nn.Module, name: str):
        self.module, self.name = module, name
        self._largest: dict[tuple[bool, bool], int] = {}
        self._function: Callable[..., Any] | None = None
        self._off = False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_largest": {}, "_function": None}

    def __call__(self, images: Tensor, *args: Any, **labels: Any) -> Any:
        """Call the method, compiled or not.

        Raises:
            ConfigError: torch.compile stops at it.
        """
        mode, own = (self.module.training, torch.is_grad_enabled()), getattr(type(self.module), self.name)
        largest = self._largest.get(mode, 0)
        if self._off or mode not in MODES or len(images) < largest or torch.compiler.is_compiling():
            return own(self.module, images, *args, **labels)
        if self._function is None:
            self._function = _compiled(own.__get__(self.module))
        self._largest[mode] = len(images)
        try:
            if len(images) > largest:
                return self._begin(MODES[mode], images, *args, **labels)
            return self._run(images, *args, **labels)
        except torch._dynamo.exc.FailOnRecompileLimitHit:
            self._off = True
            logger.warning(
                "%s: the model was compiled as often as torch allows (%d times), and runs without from now on",
                *(KEY, torch._dynamo.config.recompile_limit),
            )
            return own(self.module, images, *args, **labels)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)  # of what compiles a captured graph
            raise ConfigError(f"torch.compile stops at this model ({first_line(cause)}): set {KEY} False") from error

    def _run(self, *args: Any, **labels: Any) -> Any:
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):  # else it goes on without
            return self._function(*args, **labels)

    def _begin(self, what: str, images: Tensor, *args: Any, **labels: Any) -> Any:
        """Compile, run, and log what that took."""
        before, start = _breaks(), time.perf_counter()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", OWN_CACHES)
            found = self._run(images, *args, **labels)
        logger.info(
            "%s: compiled for %s with batches of %d images in %.1f s, with %d graph breaks",
            *(KEY, what, len(images), time.perf_counter() - start, _breaks() - before),
        )
        return found


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    import torch._dynamo  # seconds, which a run without it does not pay

    # A size of its own for each graph: those with any size are slower. Dropout draws torch's own numbers.
    options = {"fallback_random": True} if BACKEND == "inductor" else {}
    return torch.compile(function, backend=BACKEND, dynamic=False, options=options)


def _breaks() -> int:
    from torch._dynamo.utils import counters

    return sum(counters["graph_break"].values())
