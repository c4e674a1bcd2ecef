"""What a data set may know of its images beyond identity and camera, as Protocols: a class that defines one has it."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from fastreid_ext.data.poses import Poses


@runtime_checkable
class HasPoses(Protocol):
    """Has joints of its own: INPUT.JOINTS and ``fastreid-ext boxes`` do without a pose file."""

    def poses(self) -> Poses:
        """Return the joints of its images.

        Raises:
            PoseError: labels that are missing or broken.
        """
        ...


@runtime_checkable
class KnowsOcclusion(Protocol):
    """Knows how much of a person is hidden: reports of an evaluation (TEST.REPORT) group the queries by it."""

    def occlusion_of(self, path: str) -> float | None:
        """Return the hidden share of the person in an image, from 0 to 1; None for an image that it does not know."""
        ...


@runtime_checkable
class KnowsTraits(Protocol):
    """Knows numbers of a person, such as build: reports of an evaluation (TEST.REPORT) group the queries by each."""

    def traits_of(self, path: str) -> Mapping[str, float]:
        """Return name -> number of the person in an image; {} for an image that it does not know."""
        ...


@runtime_checkable
class NamesLabels(Protocol):
    """Has persons and cameras that are texts, which a feature store keeps (``fastreid-ext extract``)."""

    def read_words(self, split: str) -> list[tuple[str, str, str]]:
        """List (path, person, camera) of a split by path, the latter two as their files write them."""
        ...
