"""A pose model on every image of a data set, in chunks that an interruption leaves whole."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.files import file_hash
from fastreid_ext.pose.chunks import SavedChunks
from fastreid_ext.pose.crops import Crop, normalise, read_pose_image
from fastreid_ext.pose.model import PoseModel
from fastreid_ext.pose.options import MEAN, PADDING, STD
from fastreid_ext.progress import ProgressBar


@dataclass(frozen=True)
class Preparation:
    """How images become a model's input; see :class:`Crop` and :func:`normalise`."""

    padding: float = PADDING
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    color: str = "rgb"

    def __call__(self, images: Sequence[np.ndarray], input_size: tuple[int, int]) -> tuple[list[Crop], np.ndarray]:
        """Return where the crops of images (H, W, 3) lie, and the model's input (B, 3, H, W)."""
        crops = [Crop(image.shape[1::-1], input_size, self.padding) for image in images]
        cut = np.stack([crop.cut(image) for crop, image in zip(crops, images, strict=True)])
        return crops, normalise(cut, self.mean, self.std, self.color)


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

    Raises:
        PoseError: an image that can't be read, or a model that fails.
    """
    rows = chunks.load()
    remaining = [name for name in names if name not in rows]
    done = len(names) - len(remaining)
    new: list[str] = []
    with ProgressBar("poses", len(names), done) as bar:
        try:
            for start in range(0, len(remaining), batch_size):
                batch = remaining[start : start + batch_size]
                crops, inputs = preparation([read_pose_image(root / name) for name in batch], input_size)
                for name, crop, joints in zip(batch, crops, _joints(model, inputs, batch), strict=True):
                    points = np.concatenate([crop.to_image(joints[:, :2]), joints[:, 2:]], axis=1)
                    rows[name] = points.astype(np.float32), crop.size
                    new.append(name)
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
