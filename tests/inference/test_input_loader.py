"""Files as a loader gets them: a batch at once, also where one can't be read."""

import os

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms
from PIL import Image

from fastreid_ext.config import get_cfg
from fastreid_ext.data.images import ImageError
from fastreid_ext.data.loader import build_test_loader
from fastreid_ext.data.pixels.batch_memory import collate
from fastreid_ext.inference.input_loader import InputImages

COUNT, BROKEN = 90, 4


@pytest.fixture
def listed(tmp_path):
    """``listed(skip, whole)``: the data set of a loader, and its files, all of them whole or not."""
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.SIZE_TEST", [16, 8]])

    def make(skip, whole):
        for number in range(COUNT):
            image = Image.fromarray(np.full((20, 10, 3), 10 + number, np.uint8))
            image.save(tmp_path / f"{number:02d}.png")
        if not whole:
            (tmp_path / f"{BROKEN:02d}.png").write_bytes(b"no image")
        return InputImages(build_transforms(cfg, is_train=False), skip), [str(f) for f in sorted(tmp_path.iterdir())]

    return make


@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_is_in_one_memory(whole, listed):
    images, files = listed(skip=True, whole=whole)
    items = images.fetch([files[7], files[BROKEN], files[2]])
    assert [bool(item["unreadable"]) for item in items] == [False, not whole, False]
    assert [item["images"].unique().tolist() for item in items] == [[17], [10 + BROKEN if whole else 0], [12]]
    batch = collate(items)
    assert batch["images"] is items.images and items[0]["images"].data_ptr() == items.images.data_ptr()


def test_an_unreadable_image_is_an_error_unless_it_is_skipped(listed):
    images, files = listed(skip=False, whole=False)
    with pytest.raises(ImageError, match=r"04\.png can't be read"):
        images.fetch([files[7], files[BROKEN], files[2]])


@pytest.mark.linux("open files are counted in /proc")
def test_workers_hold_few_files_open(listed):
    """A descriptor for each image of a batch would be more than the limit."""
    import resource

    images, files = listed(skip=True, whole=False)
    loader = build_test_loader(images, iter(files), COUNT, 1, torch.device("cpu"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        last = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 60, limits[1]))
        (batch,) = list(loader)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    greys = [10 + number if number != BROKEN else 0 for number in range(COUNT)]
    assert batch["images"][:, 0, 0, 0].tolist() == greys and sum(map(bool, batch["unreadable"])) == 1
