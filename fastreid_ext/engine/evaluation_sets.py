"""What a run evaluates, built once: its test sets' loaders, whose workers wait, and their evaluators."""

from collections.abc import Callable, Iterable

from fastreid.evaluation import DatasetEvaluator

from fastreid_ext.data.images import QueryGalleryImages
from fastreid_ext.data.loader import DeviceLoader


class EvaluationSets:
    """Loader and evaluator of every set that a run evaluates.

    All are built here, before training, so missing data is reported at once and no set is listed twice. Only lists of
    images are kept; the workers of a loader start with its first evaluation and wait for the next.

    Args:
        names: the sets.
        build: name -> loader and evaluator, such as ``build_evaluator`` of a trainer's config.

    Raises:
        DataSetError, ConfigError, PoseError: what a set lacks.
    """

    def __init__(self, names: Iterable[str], build: Callable[[str], tuple[DeviceLoader, DatasetEvaluator]]):
        self._built = {name: build(name) for name in names}
        self._loaders = [loader for loader, _ in self._built.values() if isinstance(loader, DeviceLoader)]
        for loader in self._loaders:
            loader.keep_workers()

    def __getitem__(self, name: str) -> tuple[DeviceLoader, DatasetEvaluator]:
        return self._built[name]

    @property
    def images(self) -> dict[str, QueryGalleryImages]:
        """The images of each set; those of a trainer of the user's own that loads otherwise are left out."""
        images = {name: getattr(loader, "dataset", None) for name, (loader, _) in self._built.items()}
        return {name: found for name, found in images.items() if isinstance(found, QueryGalleryImages)}

    def end_workers(self) -> None:
        """End the workers that wait for another evaluation."""
        for loader in self._loaders:
            loader.end_workers()
