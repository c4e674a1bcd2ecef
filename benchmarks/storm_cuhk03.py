"""A miniature of CUHK03's MATLAB files, large enough that its extraction takes a moment."""

from pathlib import Path

PERSONS, IMAGES, HEIGHT, WIDTH = 24, 10, 128, 64
TRAINING_PERSONS = 12
VIEWS = (1, 1, 1, 1, 1, 2, 2, 2, 2, 2)


def write_cuhk03(folder: Path, seed: int) -> None:
    """Write ``cuhk03`` with images of noise into a folder: cells of cells of images, as MATLAB 7.3 stores them."""
    import h5py
    import numpy as np
    from scipy.io import savemat

    rng = np.random.default_rng(seed)
    (folder / "cuhk03" / "cuhk03_release").mkdir(parents=True)
    with h5py.File(folder / "cuhk03" / "cuhk03_release" / "cuhk-03.mat", "w") as mat:

        def cell(name: str, content: object) -> object:
            data = mat.create_dataset(name, np.shape(content), dtype=h5py.special_dtype(ref=h5py.Reference))
            data[...] = np.array(content, dtype=h5py.special_dtype(ref=h5py.Reference))
            return data.ref

        for boxes in ("detected", "labeled"):
            persons = []
            for person in range(PERSONS):
                base = rng.integers(40, 200, (3, 1, 1))
                images = []
                for image in range(IMAGES):
                    pixels = (base + rng.integers(0, 40, (3, WIDTH, HEIGHT))).astype(np.uint8)  # MATLAB's order
                    images.append(mat.create_dataset(f"{boxes}_{person}_{image}", data=pixels).ref)
                persons.append(images)
            cell(boxes, [[cell(f"{boxes}_pair", np.array(persons, dtype=object).T)]])
        test = np.array([[1.0] * (PERSONS - TRAINING_PERSONS), list(range(TRAINING_PERSONS + 1, PERSONS + 1))])
        cell("testsets", [[mat.create_dataset("split", data=test).ref]])
    names = [
        (person, view, f"1_{person:03d}_{view}_{image:02d}.png")
        for person in range(1, PERSONS + 1)
        for image, view in enumerate(VIEWS, start=1)
    ]
    train = [n for n, (person, _, _) in enumerate(names, start=1) if person <= TRAINING_PERSONS]
    tested = [(n, view) for n, (person, view, _) in enumerate(names, start=1) if person > TRAINING_PERSONS]
    for boxes in ("labeled", "detected"):
        savemat(
            folder / "cuhk03" / f"cuhk03_new_protocol_config_{boxes}.mat",
            {
                "filelist": np.array([[name] for _, _, name in names], dtype=object),
                "labels": np.array([[person for person, _, _ in names]]).T,
                "train_idx": np.array([train]).T,
                "query_idx": np.array([[n for n, view in tested if view == 1][::5]]).T,
                "gallery_idx": np.array([[n for n, view in tested if view == 2]]).T,
            },
        )
