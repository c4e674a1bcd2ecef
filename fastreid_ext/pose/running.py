"""A pose model on every image of a data set, in chunks that an interruption leaves whole."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.files import file_hash
from fastreid_ext.pose.chunks import SavedChunks
from fastreid_ext.pose.crops import Crop, normalise, read_pose_image
from fastreid_ext.pose.model import PoseModel
from fastreid_ext.pose.options import MEAN, PADDING, STD, THRESHOLD, WORKERS
from fastreid_ext.pose.reading import read_batches
from fastreid_ext.pose.report import TrunksSeen
from fastreid_ext.progress import ProgressBar

ENOUGH = 64  # images, after which few shoulders and hips are no chance


@dataclass(frozen=True)
class Preparation:
    """How images become a model's input; see :class:`Crop` and :func:`normalise`."""

    padding: float = PADDING
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    color: str = "rgb"

    def __call__(self, image: np.ndarray, input_size: tuple[int, int]) -> tuple[Crop, np.ndarray]:
        """Return where the crop of an image (H, W, 3) lies, and the model's input (3, H, W)."""
        crop = Crop(image.shape[1::-1], input_size, self.padding)
        return crop, normalise(crop.cut(image)[None], self.mean, self.std, self.color)[0]


def settings_of(model: PoseModel, root: Path, preparation: Preparation) -> dict[str, Any]:
    """Return all settings that the joints depend on, by the names of the command's options."""
    return {
        "model": file_hash(model.path),
        "images": str(root.resolve()),
        "size": list(model.input_size[::-1]),
        "udp": model.udp,
        **asdict(preparation),
    }


def run_model(
    model: Callable[[np.ndarray], np.ndarray],
    input_size: tuple[int, int],
    batch_size: int,
    root: Path,
    names: Sequence[str],
    chunks: SavedChunks,
    preparation: Preparation,
    save_every: int,
    workers: int = WORKERS,
    threshold: float = THRESHOLD,
) -> tuple[Poses, int]:
    """Return the joints of all images, and how many of them an earlier run had done.

    Args:
        model: normalised images (B, 3, H, W) -> joints (B, J, 3) in its pixels.
        input_size: width and height of its input.
        batch_size: most images at once.
        root: folder of the images.
        names: path of each image below it.
        chunks: what has been done; what is done is added to it, also where an error ends the run.
        preparation: of the images.
        save_every: images after which a chunk is written.
        workers: threads that read images.
        threshold: confidence above which a joint is seen, for a warning beside the progress.

    Raises:
        PoseError: an image that can't be read, or a model that fails.
    """
    rows = chunks.load()
    remaining = [name for name in names if name not in rows]
    done = len(names) - len(remaining)
    new: list[str] = []
    trunks = TrunksSeen(threshold)

    def prepare(name: str) -> tuple[Crop, np.ndarray]:
        return preparation(read_pose_image(root / name), input_size)

    batches = read_batches(remaining, batch_size, prepare, workers)
    with ProgressBar("poses", len(names), done) as bar, closing(batches):
        try:
            for batch, crops, inputs in batches:
                found = _joints(model, inputs, batch)
                for name, crop, joints in zip(batch, crops, found, strict=True):
                    points = np.concatenate([crop.to_image(joints[:, :2]), joints[:, 2:]], axis=1)
                    rows[name] = points.astype(np.float32), crop.size
                    new.append(name)
                trunks.count(found)
                bar.note = trunks.warning() if trunks.images >= ENOUGH else ""
                bar.advance(len(batch))
                if len(new) >= save_every:
                    chunks.add(_poses(new, rows))
                    new = []
        finally:
            if new:
                chunks.add(_poses(new, rows))
    return _poses(names, rows), done


def _joints(model: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, batch: Sequence[str]) -> np.ndarray:
    try:
        return model(inputs)
    except PoseError as error:
        raise PoseError(f"{error} (the first image is {batch[0]}; earlier results are kept)") from error


def _poses(names: Sequence[str], rows: dict[str, tuple[np.ndarray, tuple[int, int]]]) -> Poses:
    return Poses(list(names), np.stack([rows[name][0] for name in names]), np.array([rows[name][1] for name in names]))
