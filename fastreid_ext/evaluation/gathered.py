"""The features of a test set, collected batch by batch."""

from collections.abc import Mapping
from typing import Any

from fastreid.evaluation.evaluator import DatasetEvaluator
from torch import Tensor


class GatheredFeatures(DatasetEvaluator):
    """Collects features, identities and cameras in the order of the test set."""

    def reset(self) -> None:
        self.features: list[Tensor] = []
        self.pids: list[Tensor] = []
        self.camids: list[Tensor] = []

    def process(self, inputs: Mapping[str, Any], outputs: Tensor) -> None:
        self.features.append(outputs.cpu())
        self.pids.append(inputs["targets"].cpu())
        self.camids.append(inputs["camids"].cpu())

    def evaluate(self) -> dict[str, Any]:
        return {}
