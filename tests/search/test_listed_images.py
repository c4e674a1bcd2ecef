"""The images of a list as a loader gets them: a batch at once, also where one can't be read."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import SequentialSampler

from fastreid_ext.config import get_cfg
from fastreid_ext.data.images import ImageError
from fastreid_ext.data.loader import build_test_loader
from fastreid_ext.data.pixels.batch_memory import collate
from fastreid_ext.search.extract import ListedImages
from fastreid_ext.search.image_list import images_of_folder

COUNT, BROKEN = 90, 4


@pytest.fixture
def listed(tmp_path):
    """``listed(skip, whole=True)``: the images, all of them whole or not."""
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.SIZE_TEST", [16, 8]])

    def make(skip, whole):
        for number in range(COUNT):
            image = Image.fromarray(np.full((20, 10, 3), 10 + number, np.uint8))
            image.save(tmp_path / f"{number:02d}.png")
        if not whole:
            (tmp_path / f"{BROKEN:02d}.png").write_bytes(b"no image")
        return ListedImages(cfg, images_of_folder(tmp_path), skip)

    return make


@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_is_in_one_memory(whole, listed):
    items = listed(skip=True, whole=whole).fetch([7, BROKEN, 2])
    assert [item["indices"] for item in items] == [7, BROKEN, 2]
    assert [bool(item["unreadable"]) for item in items] == [False, not whole, False]
    assert [item["images"].unique().tolist() for item in items] == [[17], [10 + BROKEN if whole else 0], [12]]
    batch = collate(items)
    assert batch["images"] is items.images and batch["indices"].tolist() == [7, BROKEN, 2]


def test_an_unreadable_image_is_an_error_unless_it_is_skipped(listed):
    with pytest.raises(ImageError, match=r"04\.png can't be read"):
        listed(skip=False, whole=False).fetch([7, BROKEN, 2])


@pytest.mark.linux("open files are counted in /proc")
def test_workers_hold_few_files_open(listed):
    """A descriptor for each image of a batch would be more than the limit."""
    import resource

    images = listed(skip=True, whole=False)
    loader = build_test_loader(images, SequentialSampler(images), COUNT, 1, torch.device("cpu"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        last = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 60, limits[1]))
        (batch,) = list(loader)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert batch["indices"].tolist() == list(range(COUNT)) and sum(map(bool, batch["unreadable"])) == 1
