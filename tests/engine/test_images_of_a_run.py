"""Images that are missing, broken or vanish: one sentence with their names, and what was trained is kept."""

from pathlib import Path

import pytest
import torch

from fastreid_ext.data.datasets.market1501 import Market1501
from fastreid_ext.engine.finite_images import check_finite_images
from fastreid_ext.errors import ConfigError

SHORT = {"SOLVER__MAX_EPOCH": 2, "SOLVER__STEPS": "[]", "SOLVER__IMS_PER_BATCH": 8}


@pytest.mark.parametrize("split", ["bounding_box_train", "query", "bounding_box_test"])
def test_a_listed_image_that_is_missing(split, market, market_keys, fails, monkeypatch):
    """Here in a data set that lists an image more than there is."""
    lost, listed = market() / split / "lost.jpg", Market1501.process_dir

    def with_another(self, folder, is_train=True):
        items = listed(self, folder, is_train)
        return [*items, (str(lost), *items[0][1:])] if Path(folder).name == split else items

    monkeypatch.setattr(Market1501, "process_dir", with_another)
    sentence = fails(**market_keys, **SHORT)
    assert f"images of {'the training set' if 'train' in split else 'Market1501'} are not there: {lost}: " in sentence


def test_a_broken_image_is_found_before_training(market, market_keys, fails, tmp_path):
    path = min((market() / "bounding_box_test").iterdir())
    path.write_bytes(path.read_bytes()[:300])
    sentence = fails(**market_keys, **SHORT, DATALOADER__VERIFY_IMAGES=True)
    assert f"1 of 12 images of Market1501 can't be decoded: {path}: replace or remove them" in sentence
    assert "epoch" not in (tmp_path / "out" / "log.txt").read_text().rpartition("full config")[2]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_in_training(workers, market, market_keys, fails, monkeypatch, tmp_path):
    from fastreid_ext.engine.epoch_checkpoints import EpochCheckpoints

    tree, save = market(), EpochCheckpoints.after_epoch
    path = min((tree / "bounding_box_train").iterdir())

    def after_epoch(self):
        save(self)
        path.unlink(missing_ok=True)

    monkeypatch.setattr(EpochCheckpoints, "after_epoch", after_epoch)
    # As many epochs as it takes for a worker, which reads ahead, to come to that image again.
    more = {**SHORT, "SOLVER__MAX_EPOCH": 4, "DATALOADER__NUM_WORKERS": workers, "TEST__EVAL_PERIOD": 0}
    sentence = fails(**market_keys, **more)
    assert f"the image {path} can't be read (" in sentence and "replace it or remove it" in sentence
    assert torch.load(tmp_path / "out" / "model_latest.pth", weights_only=True)["epoch"] <= workers


def test_a_pixel_that_is_not_finite(market, market_keys, fails, monkeypatch, tmp_path):
    """In the second epoch: the first one's checkpoint is kept, and the sentence names the file."""
    from fastreid_ext.data import loader
    from fastreid_ext.engine.epoch_checkpoints import EpochCheckpoints

    tree, save, as_float32 = market(), EpochCheckpoints.after_epoch, loader.as_float32

    def after_epoch(self):
        save(self)
        monkeypatch.setattr(loader, "as_float32", broken)

    def broken(images):
        images = as_float32(images)
        images[2, 1, 5, 7] = float("nan")
        return images

    monkeypatch.setattr(EpochCheckpoints, "after_epoch", after_epoch)
    sentence = fails(**market_keys, **SHORT, TEST__EVAL_PERIOD=0)
    assert f"1 of 8 images of a batch have pixels that are not finite, the first is {tree}/bounding_box_tr" in sentence
    assert torch.load(tmp_path / "out" / "model_latest.pth", weights_only=True)["epoch"] == 0


def test_a_test_image_that_is_not_finite(market, market_keys, fails, monkeypatch, tmp_path):
    from fastreid_ext.data import loader
    from fastreid_ext.engine.epoch_checkpoints import EpochCheckpoints

    tree, save, as_float32 = market(), EpochCheckpoints.after_epoch, loader.as_float32

    def after_epoch(self):
        save(self)
        monkeypatch.setattr(loader, "as_float32", lambda images: as_float32(images) * float("nan"))

    monkeypatch.setattr(EpochCheckpoints, "after_epoch", after_epoch)
    assert f"{tree}/query/" in fails(**market_keys, **SHORT)
    assert (tmp_path / "out" / "model_latest.pth").is_file()


@pytest.mark.parametrize(("std", "wrong"), [(57.0, False), (1.0, False), (0.1, False), (1e-3, True), (0.0, True)])
def test_a_deviation_that_makes_pixels_huge(std, wrong):
    model = torch.nn.Module()
    model.register_buffer("pixel_std", torch.tensor([57.0, std, 58.0]).view(1, 3, 1, 1))
    batch = {"images": torch.zeros(2, 3, 4, 4), "img_paths": ["a", "b"]}
    if not wrong:
        check_finite_images(batch, model)
        check_finite_images(batch, torch.nn.Module())  # one that does not normalise
        return
    with pytest.raises(ConfigError, match="MODEL.PIXEL_STD .* makes pixels larger than 10000"):
        check_finite_images(batch, model)
