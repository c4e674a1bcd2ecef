"""A miniature of CUHK03, large enough that its extraction takes a moment."""

from pathlib import Path

from cuhk03_files import BOXES, SHOTS, write_release, write_splits

PERSONS, HEIGHT, WIDTH = 24, 128, 64
TRAINING_PERSONS = 12
VIEWS = (1, 1, 1, 1, 1, 2, 2, 2, 2, 2)


def write_cuhk03(folder: Path, seed: int) -> None:
    """Write ``cuhk03`` with images of noise into a folder."""
    import numpy as np

    rng = np.random.default_rng(seed)

    def images() -> list[np.ndarray]:
        base = rng.integers(40, 200, (3, 1, 1))
        return [(base + rng.integers(0, 40, (3, WIDTH, HEIGHT))).astype(np.uint8) for _ in range(SHOTS)]

    tested = range(TRAINING_PERSONS + 1, PERSONS + 1)
    persons = {boxes: [images() for _ in range(PERSONS)] for boxes in BOXES}
    write_release(folder / "cuhk03", persons, [[1] * len(tested), list(tested)])
    shots = [(person, view, shot) for person in range(1, PERSONS + 1) for shot, view in enumerate(VIEWS, start=1)]
    listed = list(enumerate(shots, start=1))
    for boxes in BOXES:
        write_splits(
            folder / "cuhk03",
            boxes,
            names=[f"1_{person:03d}_{view}_{shot:02d}.png" for person, view, shot in shots],
            labels=[person for person, _, _ in shots],
            train=[n for n, (person, _, _) in listed if person not in tested],
            query=[n for n, (person, view, _) in listed if person in tested and view == 1][::5],
            gallery=[n for n, (person, view, _) in listed if person in tested and view == 2],
        )
