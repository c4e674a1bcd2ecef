"""The test feature of a training batch, with gradients, of any model: what distillation compares with a teacher's."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from fastreid.modeling.heads import EmbeddingHead
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.precision import without_autocast


@dataclass
class Watched:
    """What was seen of one forward.

    Attributes:
        images: (B, 3, H, W) that the trunk was given, on the 0-255 scale: after the model's own augmentation.
        feature: (B, D) test feature in float32; None if the forward took another way.
    """

    images: Tensor | None = None
    feature: Tensor | None = None


class StudentFeatures:
    """Watches the forward of a model in training mode for what its test feature would be.

    A model with ``branches`` and ``embed``, as ours, gives its branches' outputs in training and in a test alike:
    ``embed`` makes the test feature of them. So does a head of ours in a model of FastReID's. FastReID's own heads
    return the output of their ``bottleneck`` in a test: that of all its heads, side by side, is the test feature but
    for the order of its parts, which no distance or product of two features depends on. Nothing is registered in the
    model, and what watches is gone after the forward.

    Args:
        model: without a wrapper for several processes.

    Raises:
        ConfigError: a model that has none of these.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        modules = list(model.modules())
        self._branching = next(filter(_makes_a_test_feature, modules), None)
        self._heads = [m for m in modules if isinstance(m, EmbeddingHead)] if self._branching is None else []
        if self._branching is None and not self._heads:
            raise ConfigError(
                f"{type(model).__name__} does not say what its test feature is made of: distillation needs branches()"
                " and embed(), as BranchedReID has them, or heads that are FastReID's EmbeddingHead"
            )

    @contextmanager
    def watching(self, batch: Mapping[str, Any]) -> Iterator[Watched]:
        """Watch the forward of a batch; what was seen is complete on exit."""
        watched = Watched()
        if self._branching is not self.model:  # FastReID's models write into the batch
            watched.images = batch["images"].detach().clone()
        with ExitStack() as stack:
            if self._branching is not None:
                outputs: list[Mapping[str, Mapping[str, Tensor]]] = []
                stack.enter_context(_replaced(self._branching, "branches", self._kept(outputs, watched)))
                yield watched
                whole = isinstance(self._branching, BranchedReID)  # a head in FastReID's Baseline has embed alone
                feature_of = self._branching.test_feature if whole else self._branching.embed
                watched.feature = self._float32(lambda: feature_of(outputs[-1])) if outputs else None
                return
            necks: list[Tensor] = []
            for head in self._heads:
                handle = head.bottleneck.register_forward_hook(lambda module, inputs, output: necks.append(output))
                stack.callback(handle.remove)
            yield watched
            vectors = [neck.flatten(1) for neck in necks]
            watched.feature = self._float32(lambda: torch.cat([v.float() for v in vectors], dim=1)) if vectors else None

    def _kept(self, outputs: list[Any], watched: Watched) -> Callable[..., Any]:
        branches = self._branching.branches

        def keeping(inputs: Any, *args: Any, **labels: Any) -> Any:
            found = branches(inputs, *args, **labels)
            outputs.append(found)
            if self._branching is self.model:
                watched.images = inputs.detach() * self.model.pixel_std + self.model.pixel_mean
            return found

        return keeping

    def _float32(self, feature: Callable[[], Tensor]) -> Tensor:
        with without_autocast(next(self.model.parameters())):
            return feature().float()


def _makes_a_test_feature(module: nn.Module) -> bool:
    """Whether its class has the two methods; a head of a user's own may keep anything under these names."""
    return all(callable(getattr(type(module), name, None)) for name in ("branches", "embed"))


@contextmanager
def _replaced(module: nn.Module, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Let an instance have another method; it has its own one again on exit, compiled or not."""
    own = vars(module).get(name)
    setattr(module, name, function)
    try:
        yield
    finally:
        delattr(module, name)
        if own is not None:
            setattr(module, name, own)
