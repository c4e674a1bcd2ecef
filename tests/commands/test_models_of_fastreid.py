"""FastReID's own models under our commands: its base configs, weights as its model zoo has them, people and vehicles.

Every model is random: what is compared is what FastReID itself makes of it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.config import get_cfg as host_get_cfg
from fastreid.data import build_reid_test_loader
from fastreid.engine import DefaultTrainer
from fastreid.modeling import build_model
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.resnet import Bottleneck, ResNet
from PIL import Image

from fastreid_ext import Extractor
from fastreid_ext.cli import main

BASES = Path(__file__).parents[1] / "compat" / "host_configs"


@BACKBONE_REGISTRY.register()
def build_short_resnet_backbone(cfg):
    """FastReID's ResNet with few blocks, its non-local blocks and IBN, which have a ResNet-50's channels."""
    node = cfg.MODEL.BACKBONE
    blocks = [1, 1, 1, 3 if cfg.MODEL.META_ARCHITECTURE == "MGN" else 1]  # MGN copies the three of stage 4
    return ResNet(node.LAST_STRIDE, node.NORM, node.WITH_IBN, False, node.WITH_NL, Bottleneck, blocks, [0, 1, 1, 0])


TINY = {"MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone", "MODEL.BACKBONE.FEAT_DIM": 64}
SHORT = {"MODEL.BACKBONE.NAME": "build_short_resnet_backbone", "MODEL.BACKBONE.WITH_IBN": True}
GEM = {"MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPooling"}
STRIPES = {"INPUT.SIZE_TRAIN": [96, 32], "INPUT.SIZE_TEST": [96, 32]}  # six rows of the map, for three stripes
SQUARE = {"INPUT.SIZE_TRAIN": [64, 64], "INPUT.SIZE_TEST": [64, 64]}  # of vehicles
# Base config, test set, what its config sets, and whether the weights have the names of the published files.
MODELS = {
    "bagtricks-people": ("Base-bagtricks", "Market1501", TINY, True),
    "bagtricks-VehicleID": ("Base-bagtricks", "SmallVehicleID", {**TINY, **GEM, **SQUARE}, True),
    "sbs-VeRi": ("Base-SBS", "VeRi", {**SHORT, **SQUARE}, False),
    "agw-VERI-Wild": ("Base-AGW", "SmallVeRiWild", {**SHORT, **SQUARE}, True),
    "mgn-MSMT17": ("Base-MGN", "MSMT17", {**SHORT, **STRIPES}, False),
}
FAST = "bagtricks-VehicleID"
EXPORTED = (FAST, "sbs-VeRi", "mgn-MSMT17")  # it takes seconds
TOLERANCE = 1e-4  # of features, as a share of the largest number in them
EVERYWHERE = {
    "MODEL.DEVICE": "cpu",
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DATALOADER.NUM_WORKERS": 0,
    "TEST.IMS_PER_BATCH": 8,
}


def write_sets(root):
    """Market1501, MSMT17, VeRi, VehicleID and VERI-Wild of noise: four of each, seen by two cameras."""
    rng = np.random.RandomState(0)
    shown = [(person, camera) for person in range(1, 5) for camera in (1, 2)]

    def image(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, (*size, 3)).astype(np.uint8)).save(path)

    def text(path, *lines):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))

    for person, camera in shown:
        trees = {
            "Market-1501-v15.09.15": (
                ("bounding_box_train", "query", "bounding_box_test"),
                "{:04d}_c{}s1_000001_00.jpg",
            ),
            "VeRi": (("image_train", "image_query", "image_test"), "{:04d}_c{:03d}_00000001_0.jpg"),
        }
        for tree, (folders, name) in trees.items():
            for folder in folders:
                image(root / tree / folder / name.format(person, camera), (64, 32 if "Market" in tree else 64))
        image(root / "vehicleid" / "image" / f"{10 * person + camera:07d}.jpg", (64, 64))
        image(root / "VERI-Wild" / "images" / f"{person:05d}" / f"{10 * person + camera:06d}.jpg", (64, 64))
    for number, split in enumerate(("train", "val", "query", "gallery")):
        tree = root / "MSMT17_V1"
        name = "{0:04d}/{0:04d}_{2:03d}_{1:02d}_0303morning_0008_0.jpg"
        names = [name.format(person - 1, camera, number) for person, camera in shown]
        for name in names:
            image(tree / ("train" if number < 2 else "test") / name, (64, 32))
        text(tree / f"list_{split}.txt", *(f"{name} {int(name[:4])}" for name in names))
    listed = [f"{10 * person + camera:07d} {person}" for person, camera in shown]
    split = root / "vehicleid" / "train_test_split"
    text(split / "train_list.txt", *listed)
    text(split / "test_list_800.txt", *listed)
    split = root / "VERI-Wild" / "train_test_split"
    names = [f"{person:05d}/{10 * person + camera:06d}" for person, camera in shown]
    text(
        split / "vehicle_info.txt", "id;camera", *(f"{n};{camera}" for n, (_, camera) in zip(names, shown, strict=True))
    )
    for file in ("train_list", "test_3000_query", "test_3000"):
        text(split / f"{file}.txt", *(f"{name}.jpg" for name in names))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("datasets"))


class OfTheZoo:
    """A config and a file of weights, as FastReID's model zoo pairs them, and the model that they are of."""

    def __init__(self, name, folder):
        self.name = name
        base, self.test_set, settings, earlier = MODELS[name]
        self.config, self.weights = folder / f"{name}.yml", folder / f"{name}.pth"
        sets = {"DATASETS.NAMES": (self.test_set,), "DATASETS.TESTS": (self.test_set,)}
        self.cfg = host_get_cfg()
        self.cfg.merge_from_file(str(BASES / f"{base}.yml"))
        self.cfg.merge_from_list([item for pair in {**EVERYWHERE, **settings, **sets}.items() for item in pair])
        self.cfg.MODEL.BACKBONE.PRETRAIN = False
        given = self.cfg.clone()
        given.MODEL.BACKBONE.PRETRAIN = True  # as in FastReID's configs: who loads weights wants no others
        self.config.write_text(given.dump())
        self.cfg.MODEL.HEADS.NUM_CLASSES = 5
        torch.manual_seed(1)
        self.model = build_model(self.cfg).eval()
        state = {key: self._spread(key, value) for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(state)
        if earlier:
            state = {self._earlier(key): value for key, value in state.items()}
            state |= {"pixel_mean": torch.zeros(1, 3, 1, 1), "pixel_std": torch.ones(1, 3, 1, 1)}
        torch.save({"model": state}, self.weights)

    @staticmethod
    def _spread(key, value):
        """Statistics of a norm that has seen images: a neck that is not loaded shows.

        Their means are small: with larger ones behind each convolution nothing passes a ReLU.
        """
        if key.endswith("running_mean"):
            return torch.randn(value.shape) / 10
        return torch.rand(value.shape) + 0.5 if key.endswith("running_var") else value

    @staticmethod
    def _earlier(key):
        return {"heads.weight": "heads.classifier.weight"}.get(key, key.replace("heads.bottleneck.0.", "heads.bnneck."))

    def command(self, name, *words, **pairs):
        """Run one of our commands with the config and the weights; it must not fail."""
        settings = {"MODEL.WEIGHTS": self.weights, **{key.replace("__", "."): value for key, value in pairs.items()}}
        flat = [str(item) for pair in settings.items() for item in pair]
        assert main([name, "--config-file", str(self.config), *map(str, words), *flat]) == 0


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name == FAST else pytest.mark.slow) for name in MODELS]
)
def zoo(request, tmp_path_factory, root):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(root))
        patch.setattr("fastreid.data.build._root", str(root))
        yield OfTheZoo(request.param, tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def expected(zoo):
    """Paths and features of the test set by FastReID itself, from a batch of its own loader."""
    loader, _ = build_reid_test_loader(zoo.cfg, dataset_name=zoo.test_set)
    paths, features = [], []
    with torch.no_grad():
        for batch in loader:
            paths += batch["img_paths"]
            features.append(zoo.model(batch).clone())
    features = torch.cat(features).numpy()
    each = features[np.unique(paths, return_index=True)[1]]
    apart = np.abs(each[:, None] - each[None]).max(2)[np.triu_indices(len(each), 1)]
    assert apart.min() > 20 * TOLERANCE * np.abs(features).max()  # or those of another image would do
    return paths, features


def close(features, expected):
    np.testing.assert_allclose(features, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_evaluate(zoo, tmp_path, forget_logs):
    zoo.command("train", "--eval-only", OUTPUT_DIR=tmp_path)
    ours = json.loads((tmp_path / "results.json").read_text())["results"][zoo.test_set]
    theirs = DefaultTrainer.test(zoo.cfg, zoo.model)
    for metric in ("Rank-1", "Rank-5", "mAP", "mINP"):
        assert ours[metric] == pytest.approx(theirs[metric], abs=1e-3), metric


def test_features(zoo, expected):
    paths, features = expected
    close(Extractor(zoo.config, zoo.weights, normalise=False)(paths), features)


def test_extract_and_search(zoo, expected, root, tmp_path, capsys):
    paths, features = expected
    folder = Path(paths[0]).parent
    zoo.command("extract", "--images", folder, "--output", tmp_path / "store")
    zoo.command("search", "--gallery", tmp_path / "store", "--image", paths[0], "--topk", 1)
    assert Path(paths[0]).name in capsys.readouterr().out


def test_export(zoo, tmp_path, capsys):
    """The command compares the file with the model and fails if they differ."""
    if zoo.name not in EXPORTED:
        pytest.skip("a model of the same layers is exported")
    zoo.command("export", "--format", "onnx", "--output", tmp_path / "model.onnx", "--images", 4)
    assert (tmp_path / "model.onnx").is_file() and "Rank-1" in capsys.readouterr().out


def test_verify(zoo, expected, tmp_path, capsys):
    same_person = ("--same-person", tmp_path / "same_person.json")
    zoo.command("verify", "--calibrate", "--test-set", zoo.test_set, *same_person)
    zoo.command("verify", *same_person, "--threshold", 0.5, expected[0][0], expected[0][1])
    assert "%" in capsys.readouterr().out


def test_report(zoo, tmp_path, forget_logs):
    zoo.command("train", "--eval-only", OUTPUT_DIR=tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--output", str(tmp_path / "report.html"), "--pictures", "1"]) == 0
    assert zoo.test_set in (tmp_path / "report.html").read_text()
