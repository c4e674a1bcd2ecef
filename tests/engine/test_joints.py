"""INPUT.JOINTS: from labels to the branches of a model, the same in every run, and every mistake in one sentence."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.deepminer import DeepMiner
from fastreid_ext.engine import loaders
from fastreid_ext.engine.joints import files_of, follow_joints, joints_of
from fastreid_ext.engine.key_tracking import track, unread_keys
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config

SEEN = []


@META_ARCH_REGISTRY.register()
class JointReader(DeepMiner):
    """Deep Miner with images as bright as its joints lie far to the right."""

    labels = ("joints",)

    def branches(self, images, targets, joints=None):
        SEEN.append((self.training, joints if joints is None else joints.clone()))
        if joints is not None:
            images = images * (0.5 + joints[..., 0].mean(dim=1))[:, None, None, None]
        return super().branches(images, targets)


READER = {"MODEL__META_ARCHITECTURE": "JointReader", "INPUT__JOINTS__ENABLED": True}
SHORT = {"SOLVER__WARMUP_EPOCHS": 0, "SOLVER__STEPS": "[]", "TEST__EVAL_PERIOD": 0}


@pytest.fixture(autouse=True)
def forget():
    SEEN.clear()
    yield
    SEEN.clear()


def config(name="SynthReIDTiny", **overrides):
    cfg = get_config("demo/deepminer.yml")
    pairs = {
        "MODEL__DEVICE": "cpu",
        "DATASETS__NAMES": (name,),
        "DATASETS__TESTS": (name,),
        "INPUT__JOINTS__ENABLED": True,
        "SOLVER__IMS_PER_BATCH": 16,
        "DATALOADER__NUM_WORKERS": 0,
        **overrides,
    }
    cfg.merge_from_list([x for key, value in pairs.items() for x in (key.replace("__", "."), value)])
    return cfg


def first_batches(cfg, count=2):
    batches = iter(loaders.train_loader(cfg))
    return [next(batches) for _ in range(count)]


def write_poses(path, names, joints=17):
    count = len(names)
    places = np.random.RandomState(0).rand(count, joints, 3) * [63, 127, 1]
    Poses(names, places, np.full((count, 2), [64, 128])).save(path)
    return path


@pytest.fixture
def tiny(datasets, monkeypatch):
    """SynthReIDTiny, and the names of its training images as a pose file has them."""
    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    dataset = load_dataset("SynthReIDTiny", ("train",))
    names = ["/".join(Path(item[0]).parts[-2:]) for item in sorted(dataset.train)]
    return SimpleNamespace(dataset=dataset, names=names)


# ---- loading --------------------------------------------------------------------------------------------------------


def test_batches_with_joints_have_the_images_of_batches_without(tiny):
    with_joints = config(INPUT__PADDING__ENABLED=True, INPUT__AFFINE__ENABLED=True)
    without = config(INPUT__PADDING__ENABLED=True, INPUT__AFFINE__ENABLED=True, INPUT__JOINTS__ENABLED=False)
    for a, b in zip(first_batches(with_joints), first_batches(without), strict=True):
        assert a.keys() - b.keys() == {"joints"} and b.keys() <= a.keys()
        assert torch.equal(a["images"], b["images"]) and torch.equal(a["targets"], b["targets"])
        assert a["joints"].shape == (16, 17, 3) and a["joints"].dtype is torch.float32


def test_workers_do_not_change_joints(tiny):
    for a, b in zip(first_batches(config()), first_batches(config(DATALOADER__NUM_WORKERS=2)), strict=True):
        assert a["img_paths"] == b["img_paths"] and torch.equal(a["joints"], b["joints"])


def test_the_joints_of_a_training_image(tiny):
    """Where nothing moves, they are the labels; a seed that flips and crops moves them."""
    still = config(INPUT__FLIP__ENABLED=False, INPUT__PADDING__ENABLED=False)
    images = loaders.train_loader(still).dataset
    labels = tiny.dataset.poses()
    for index in (0, 17, 71):
        item = images[index, 5]
        pixels, (width, height) = labels.of("/".join(Path(item["img_paths"]).parts[-2:]))
        expected = (pixels[:, :2] + 0.5) / [width, height]
        np.testing.assert_allclose(item["joints"][:, :2], expected, atol=1e-6)
        assert np.array_equal(item["joints"][:, 2], pixels[:, 2])
    images = loaders.train_loader(config(INPUT__PADDING__ENABLED=True)).dataset
    assert torch.equal(images[3, 5]["joints"], images[3, 5]["joints"])
    assert len({tuple(images[3, seed]["joints"].flatten().tolist()) for seed in range(8)}) == 8


def test_a_pose_file_beats_the_labels_of_the_data_set(tiny, datasets):
    """Its name counts from the folder of all data sets where there is no such file here."""
    path = write_poses(datasets / "poses" / "mine.npz", tiny.names, joints=5)
    pairs = [[1, 2], [3, 4]]
    for name in (str(path), "poses/mine.npz"):
        cfg = config(INPUT__JOINTS__FILES=[name], INPUT__JOINTS__FLIP_PAIRS=pairs)
        assert first_batches(cfg, 1)[0]["joints"].shape == (16, 5, 3)


def test_test_images_have_joints_where_they_are_wanted(tiny):
    for wanted in (False, True):
        loader, queries = loaders.eval_loader(config(INPUT__JOINTS__TEST=wanted), "SynthReIDTiny")
        batch = next(iter(loader))
        assert ("joints" in batch) == wanted
    labels = load_dataset("SynthReIDTiny", ("query",)).poses()
    pixels, (width, height) = labels.of("query/" + batch["img_paths"][0].rsplit("/", 1)[1])
    np.testing.assert_allclose(batch["joints"][0, :, :2], (pixels[:, :2] + 0.5) / [width, height], atol=1e-6)
    joints = []
    for evaluator in ("streamed", "host"):  # each image once, and twice
        cfg = config(INPUT__JOINTS__TEST=True, DATASETS__HOLD_OUT=2, TEST__EVALUATOR=evaluator)
        held, queries = loaders.eval_loader(cfg, loaders.HELD_OUT)
        joints.append(torch.cat([batch["joints"] for batch in held]))
    assert joints[0].shape == (queries, 17, 3) and torch.equal(joints[0].repeat(2, 1, 1), joints[1])


def test_joints_of_what_is_held_out(tiny):
    still = {"INPUT__FLIP__ENABLED": False}
    whole, part = (loaders.train_loader(config(DATASETS__HOLD_OUT=count, **still)).dataset for count in (0, 2))
    assert len(part) == len(part.joints) < len(whole)
    known = {whole.img_items[index][0]: whole[index]["joints"] for index in range(len(whole))}
    for item in (part[index] for index in range(len(part))):
        assert torch.equal(item["joints"], known[item["img_paths"]])


def test_each_data_set_has_its_own_labels():
    """Two sets with images of the same name below their folders; the second one has 2 joints."""
    labels = [Poses(["train/1.jpg"], np.full((1, 3, 3), n), [[10, 20]]) for n in (1, 4)]
    sets = {
        name: SimpleNamespace(train=[(f"/data/{name}/train/1.jpg", name, 0)], poses=lambda poses=poses: poses)
        for name, poses in zip("ab", labels, strict=True)
    }
    items = [item for dataset in sets.values() for item in dataset.train]
    cfg = config(DATASETS__NAMES=("a", "b"))
    found = joints_of(cfg, sets, ("train",), items)
    assert found[0, 0].tolist() == pytest.approx([0.15, 0.075, 1]) and found[1, 0, 0] == pytest.approx(0.45)
    sets["b"].poses = lambda: Poses(["train/1.jpg"], np.zeros((1, 2, 3)), [[10, 20]])
    with pytest.raises(PoseError, match=r"same joints.*labels of a \(3 joints\), the labels of b \(2 joints\)"):
        joints_of(cfg, sets, ("train",), items)


def test_files_of_other_data_sets():
    cfg = get_cfg()
    cfg.DATASETS.NAMES = ("a", "b")
    assert files_of(cfg, ("b", "c")) == ["", ""]
    cfg.INPUT.JOINTS.FILES = ["", "b.npz"]
    assert files_of(cfg, ("b", "c", "a")) == ["b.npz", "", ""]


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_trains_with_joints_and_resumes_to_the_bit(run_main, tmp_path, differences):
    two = {**READER, **SHORT, "SOLVER__MAX_EPOCH": 2}
    straight = run_main(OUTPUT_DIR=tmp_path / "straight", **two)
    training = [joints for train, joints in SEEN if train]
    assert len(training) == 2 * 4 and all(joints.shape == (16, 17, 3) for joints in training)
    assert {joints is None for train, joints in SEEN if not train} == {True}
    expected = [batch["joints"] for batch in first_batches(config(SEED=0, INPUT__SIZE_TRAIN=[64, 32]))]
    assert all(torch.equal(a, b) for a, b in zip(training, expected, strict=False))  # up to the size in pixels

    run_main(OUTPUT_DIR=tmp_path / "parts", **{**two, "SOLVER__MAX_EPOCH": 1})
    parts = run_main("--resume", OUTPUT_DIR=tmp_path / "parts", **two)
    a, b = (torch.load(path / "model_latest.pth", weights_only=True) for path in (straight, parts))
    assert differences(a["model"], b["model"]) == [] and differences(a["optimizer"], b["optimizer"]) == []


@pytest.mark.slow
def test_joints_at_the_test_doubled_batches_and_precise_batch_norms(run_main):
    run_main(
        **READER,
        **SHORT,
        SOLVER__MAX_EPOCH=1,
        INPUT__JOINTS__TEST=True,
        DATASETS__NAMES="('SynthReIDTiny', 'SynthReIDOccludedTiny')",  # the same 72 images twice
        INPUT__JOINTS__FILES="['', '']",
        INPUT__REA__ENABLED=False,
        INPUT__BATCH_AUGMENT__NAME="['CompoundBatchErasing']",
        TEST__PRECISE_BN__ENABLED=True,
        TEST__PRECISE_BN__DATASET="SynthReIDTiny",
        TEST__PRECISE_BN__NUM_ITER=2,
        TEST__OCCLUSION__ENABLED=True,
        TEST__RANK_LIST__ENABLED=True,  # pictures of the erased images too
    )
    training = [joints for train, joints in SEEN if train]
    doubled = [joints for joints in training if len(joints) == 32]
    assert len(doubled) == 9 and all(torch.equal(joints[:16], joints[16:]) for joints in doubled)
    assert len(training) == 11  # two batches for the batch norms, which nothing augments
    # An image alone, on which the model is tried as it is built, and one whose operations are counted at the end.
    (first, _), *batches, (last, _) = SEEN
    assert not first and not last and not any(joints is None for _, joints in batches)


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_a_model_without_its_joints(fails):
    sentence = fails(MODEL__META_ARCHITECTURE="JointReader")
    assert "JointReader trains with joints: set INPUT.JOINTS.ENABLED True" in sentence


def test_a_test_without_its_joints(fails):
    without_jo = {"MODEL__META_ARCHITECTURE": "MGRe", "MODEL__HEADS__NAME": "MGReLocationHead"}
    without_jo |= {"MODEL__MGRE__BOXES": "labelled", "INPUT__JOINTS__ENABLED": True}
    assert "MGRe reads joints at the test: set INPUT.JOINTS.TEST True" in fails(**without_jo)
    sentence = fails(**without_jo, INPUT__JOINTS__TEST=True, TEST__FLIP__ENABLED=True)
    assert "which TEST.FLIP does not flip: set TEST.FLIP.ENABLED False" in sentence


def test_joints_without_a_model(fails):
    assert "DeepMiner reads no joints: set INPUT.JOINTS.ENABLED False" in fails(INPUT__JOINTS__ENABLED=True)


@pytest.mark.parametrize(
    ("key", "value"), [("FILES", "['x.npz']"), ("TEST", True), ("FLIP_PAIRS", "[[5,6]]")], ids=["file", "test", "pairs"]
)
def test_keys_that_nothing_reads(key, value, fails):
    assert f"INPUT.JOINTS.{key} has no effect here: INPUT.JOINTS.ENABLED is False" in fails(
        **{f"INPUT__JOINTS__{key}": value}
    )


def test_all_keys_are_read_with_joints(tiny):
    cfg, log = track(config(INPUT__JOINTS__FLIP_PAIRS=[[5, 6]], INPUT__JOINTS__FILES=[""], INPUT__JOINTS__TEST=True))
    loaders.train_loader(cfg)
    loaders.eval_loader(cfg, "SynthReIDTiny")
    assert [key for key in unread_keys(cfg, get_cfg(), log) if "JOINTS" in key] == []


def test_images_without_a_row(fails, tiny, tmp_path):
    path = write_poses(tmp_path / "poses.npz", tiny.names[2:])
    sentence = fails(**READER, INPUT__JOINTS__FILES=f"['{path}']")
    assert f"2 of 72 images have no row of joints in {path} (17 joints); the first are" in sentence
    for name in tiny.names[:2]:
        assert name in sentence
    assert tiny.names[2] not in sentence and "\n" not in sentence
    assert "make a pose file with fastreid-ext pose run or pose import and name it in INPUT.JOINTS.FILES" in sentence


def test_no_file(fails):
    sentence = fails(**READER, INPUT__JOINTS__FILES="['nowhere.npz']")
    assert "there is no pose file" in sentence and "nowhere.npz" in sentence
    assert "make it with fastreid-ext pose run or pose import" in sentence


def test_no_pose_file_but_another(fails, tmp_path):
    (tmp_path / "poses.npz").write_text("no")
    assert "is not a pose file" in fails(**READER, INPUT__JOINTS__FILES=f"['{tmp_path / 'poses.npz'}']")


def test_a_data_set_without_labels(fails, market, market_keys):
    market()
    sentence = fails(**READER, **market_keys)
    assert "Market1501 has no joints of its own: make a pose file with fastreid-ext pose run or pose import" in sentence


def test_test_labels_are_missed_before_training(fails, tiny, tmp_path):
    """The file has the training images alone."""
    path = write_poses(tmp_path / "poses.npz", tiny.names)
    sentence = fails(**READER, INPUT__JOINTS__FILES=f"['{path}']", INPUT__JOINTS__TEST=True)
    assert "of 104 images have no row" in sentence and "query/" in sentence
    assert "Starting training" not in (tmp_path / "out" / "log.txt").read_text()


def test_as_many_files_as_data_sets(fails):
    sentence = fails(**READER, INPUT__JOINTS__FILES="['a','b']")
    assert "INPUT.JOINTS.FILES has 2 files for the 1 data sets" in sentence


@pytest.mark.parametrize("key", ["AUTOAUG", "AUGMIX"])
def test_augmentation_that_joints_cannot_follow(key, fails):
    sentence = fails(**READER, **{f"INPUT__{key}__ENABLED": True, f"INPUT__{key}__PROB": 0.5})
    assert f"INPUT.{key}.ENABLED" in sentence and "joints can't follow" in sentence


@pytest.mark.parametrize(("pairs", "part"), [("[[1,17]]", "[17]"), ("[[1,2],[2,3]]", "[2] more than once")])
def test_flip_pairs(pairs, part, fails):
    sentence = fails(**READER, INPUT__JOINTS__FLIP_PAIRS=pairs)
    assert "INPUT.JOINTS.FLIP_PAIRS" in sentence and part in sentence


def test_flip_pairs_of_fewer_joints():
    with pytest.raises(ConfigError, match=r"FLIP_PAIRS has \[5, 6, .* joints 0 to 4"):
        follow_joints(config(), SimpleNamespace(transforms=[]), np.zeros((1, 5, 3)))
