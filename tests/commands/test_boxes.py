"""The command ``boxes`` on SynthReID, with a checkpoint of an untrained MGRe whose boxes are known: its prior ones."""

import json
import shutil

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.data.poses import Poses
from fastreid_ext.errors import ConfigError
from fastreid_ext.mgre import TABLE_1, regions_from_rows
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.regions import RegionBoxes
from fastreid_ext.visual.boxes import boxes_of_images
from fastreid_ext.visual.image_sources import JointImages, files_below, images_with_joints, spread

pytestmark = pytest.mark.slow  # whole runs

TINY = {"NAME": "build_tiny_resnet_backbone", "DEPTH": "50x", "WITH_IBN": "False"}  # it reads neither
PAIRS = ["MODEL.DEVICE", "cpu", "INPUT.SIZE_TEST", "[64,32]", "MODEL.HEADS.EMBEDDING_DIM", "16"]
PAIRS += [word for key, value in TINY.items() for word in (f"MODEL.BACKBONE.{key}", value)]
NAMES = [row[0] for row in TABLE_1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """``weights("mgre")``: a checkpoint; MGRe's location modules ignore the image."""
    folder = tmp_path_factory.mktemp("weights")

    def make(name, *opts):
        path = folder / f"{name}{len(opts)}.pth"
        if not path.exists():
            cfg = get_config(f"demo/{name}.yml")
            cfg.merge_from_list([*PAIRS, "MODEL.HEADS.NUM_CLASSES", 5, *opts])
            model = build_model(cfg).eval()
            for module in getattr(model.heads, "locate", {}).values():
                torch.nn.init.zeros_(module.predict.weight)
            torch.save({"model": model.state_dict()}, path)
        return path

    return make


@pytest.fixture
def call(synth_tiny, weights, tmp_path):
    """``call("--limit", "2", KEY="value")``: exit status of the command."""

    def run(*options, name="mgre", **overrides):
        pairs = {} if "MODEL__WEIGHTS" in overrides else {"MODEL.WEIGHTS": weights(name)}
        pairs |= {"DATASETS.TESTS": "('SynthReIDTiny',)"}
        pairs |= {key.replace("__", "."): value for key, value in overrides.items()}
        arguments = ["boxes", "--config-file", f"demo/{name}.yml", "--output", tmp_path / "out", *options, *PAIRS]
        return main([str(x) for x in [*arguments, *(x for pair in pairs.items() for x in pair)]])

    return run


@pytest.fixture
def record(tmp_path):
    return lambda: json.loads((tmp_path / "out" / "boxes.json").read_text())


def rows_of(record):
    return {row["region"]: row for row in record["regions"]}


def by_hand(dataset, paths, least=2):
    """Region -> IoU of the prior box with the joints' extent + 0.05, in loops over the labels as they are on disk."""
    poses, found = dataset.poses(), {}
    for region in regions_from_rows(TABLE_1):
        (cx, cy), (height, width) = region.center, region.prior
        prior = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        found[region.name] = []
        for path in paths:
            joints, (w, h) = poses.of("/".join(path.replace("\\", "/").split("/")[-2:]))
            places = [((x + 0.5) / w, (y + 0.5) / h, c) for x, y, c in joints[list(region.joints)].tolist()]
            seen = [(x, y) for x, y, c in places if c > 0.2 and 0 <= x <= 1 and 0 <= y <= 1]
            if len(seen) >= least:
                xs, ys = zip(*seen, strict=True)
                box = (min(xs) - 0.05, min(ys) - 0.05, max(xs) + 0.05, max(ys) + 0.05)
                shared = max(0, min(prior[2], box[2]) - max(prior[0], box[0]))
                shared *= max(0, min(prior[3], box[3]) - max(prior[1], box[1]))
                area = (box[2] - box[0]) * (box[3] - box[1])
                found[region.name].append(shared / (area + width * height - shared))
    return found


@pytest.mark.parametrize(
    ("test_set", "part"), [("SynthReIDTiny/train", "train"), ("SynthReIDTiny/query", "query"), ("", "")]
)
def test_the_measures_of_a_data_set(call, record, test_set, part, tmp_path):
    """A model that predicts its prior boxes has their IoU, and both are those of loops over the labels."""
    assert call(*(["--test-set", test_set] if test_set else [])) == 0
    dataset = load_dataset("SynthReIDTiny", (part,) if part else ("query", "gallery"))
    items = getattr(dataset, part) if part else [*dataset.query, *dataset.gallery]
    expected, rows = by_hand(dataset, [item[0] for item in items]), rows_of(record())
    assert list(rows) == [*NAMES, "all regions"] and record()["images"] == len(items)
    for name in NAMES:
        ious = expected[name]
        assert (rows[name]["images"], rows[name]["known"]) == (len(items), len(ious))
        # float32 shares of the labels: 1e-7, over areas of 0.01 and more
        for key in ("predicted", "prior"):
            assert rows[name][key] == pytest.approx(np.mean(ious), abs=1e-5)
        assert rows[name]["prior_found"] == pytest.approx(np.mean([iou > 0.5 for iou in ious]), abs=1e-6)
    every = [iou for ious in expected.values() for iou in ious]
    assert rows["all regions"]["predicted"] == pytest.approx(np.mean(every), abs=1e-5)
    table = (tmp_path / "out" / "boxes.md").read_text()
    assert "the labels of SynthReIDTiny" in table and f"{np.mean(expected['legs']):.3f}" in table


def test_predicted_boxes_are_the_model_s(call, record, weights, tmp_path):
    """Other boxes than the prior ones: the head predicted over the whole image."""
    state = torch.load(weights("mgre"))["model"]
    state = {key: value.clone() for key, value in state.items()}
    state["heads.locate.1.predict.bias"][:4] = torch.tensor([0.0, np.arctanh(5 / 12), 0.0, 0.0])
    torch.save({"model": state}, tmp_path / "moved.pth")
    assert call("--test-set", "SynthReIDTiny/query", MODEL__WEIGHTS=tmp_path / "moved.pth") == 0
    dataset = load_dataset("SynthReIDTiny", ("query",))
    rows = rows_of(record())
    _, known = rows["head"].pop("prior"), rows["head"]["known"]
    areas = []
    for path, *_ in dataset.query:
        joints, (w, h) = dataset.poses().of("/".join(path.split("/")[-2:]))
        seen = [((x + 0.5) / w, (y + 0.5) / h) for x, y, c in joints[:5].tolist() if c > 0.2]
        seen = [(x, y) for x, y in seen if 0 <= x <= 1 and 0 <= y <= 1]
        if len(seen) > 1:
            low, high = np.min(seen, axis=0) - 0.05, np.max(seen, axis=0) + 0.05
            inside = np.prod(np.clip(high, 0, 1) - np.clip(low, 0, 1))
            areas.append(inside / (1 + np.prod(high - low) - inside))
    assert known == len(areas) and rows["head"]["predicted"] == pytest.approx(np.mean(areas), abs=1e-5)
    assert rows["legs"]["predicted"] == pytest.approx(rows["legs"]["prior"], abs=1e-6)


@pytest.fixture
def folder(synth_root, tmp_path):
    """A folder with copies of four query images."""
    target = tmp_path / "images" / "query"
    target.mkdir(parents=True)
    for path in sorted((synth_root / "SynthReID-tiny" / "query").glob("*.jpg"))[:4]:
        shutil.copy(path, target / path.name)
    return target.parent


def test_a_folder_without_joints(call, record, capsys, folder, tmp_path):
    assert call("--images", folder, "--prior") == 0
    said = capsys.readouterr().out
    assert "IoU is unknown: there are no joints of these images; name a pose file with --poses" in said
    assert "4 of 4 images drawn" in said and "nan" not in said
    assert record()["joints"] is None and rows_of(record())["head"] == {
        "region": "head",
        "images": 4,
        "known": 0,
        **dict.fromkeys(("predicted", "prior", "predicted_found", "prior_found")),
    }
    assert Image.open(tmp_path / "out" / "boxes.png").size[0] > 500


def pose_file(synth_root, path, rows):
    poses = load_dataset("SynthReIDTiny", ("query",)).poses()
    names = [name for name in poses.names if name.startswith("query/")][:rows]
    numbers = [poses.names.index(name) for name in names]
    Poses(names, poses.joints[numbers], poses.sizes[numbers]).save(path)
    return path


def test_a_folder_with_a_pose_file(call, record, capsys, folder, synth_tiny, tmp_path):
    """Three of the four images have a row; the same numbers come from INPUT.JOINTS.FILES."""
    file = pose_file(synth_tiny, tmp_path / "poses.npz", 3)
    assert call("--images", folder, "--poses", file) == 0
    rows, said = rows_of(record()), capsys.readouterr().out
    assert rows["whole_body"]["known"] == 3 and rows["whole_body"]["images"] == 4
    assert "1 of 4 images have no row of joints and count as unknown" in said and record()["joints"] == str(file)
    dataset = load_dataset("SynthReIDTiny", ("query",))
    paths = sorted(item[0] for item in dataset.query)[:3]
    assert rows["legs"]["prior"] == pytest.approx(np.mean(by_hand(dataset, paths)["legs"]), abs=1e-5)
    assert call("--images", folder, INPUT__JOINTS__FILES=f"['{file}']") == 0
    assert rows_of(record()) == rows


def test_a_pose_file_beats_the_data_set_s_own_joints(call, record, synth_tiny, tmp_path):
    file = pose_file(synth_tiny, tmp_path / "poses.npz", 2)
    assert call("--test-set", "SynthReIDTiny/query", "--poses", file) == 0
    assert rows_of(record())["whole_body"]["known"] == 2


def test_limit_and_sheet(call, record, capsys):
    assert call("--limit", "5", "--sheet-images", "2") == 0
    assert record()["images"] == 5 and "2 of 5 images drawn" in capsys.readouterr().out


def test_the_model_sees_the_test_images_and_joints_follow(synth_tiny):
    """With joints and without, at the size of the config; a central crop takes the ankles away with the image."""

    class Seen(torch.nn.Module):
        def preprocess_image(self, images):
            self.images = images
            return images

        def locate_regions(self, images, joints=None):
            self.joints = joints
            return {"all": RegionBoxes(torch.zeros(len(images), 4), torch.zeros(4))}

    cfg = get_config("demo/mgre.yml")
    cfg.merge_from_list([*PAIRS, "INPUT.SIZE_TEST", [60, 28], "INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [40, 28]])
    images = images_with_joints(cfg, None, "SynthReIDTiny/query", None, 3)
    model = Seen()
    ((pixels, _),) = boxes_of_images(model, cfg, images)
    alone = [pixels for pixels, _ in boxes_of_images(model, cfg, JointImages(images.paths))]
    assert model.joints is None and torch.equal(alone[0], pixels) and pixels.shape == (3, 3, 40, 28)
    list(boxes_of_images(model, cfg, images))
    # rows 10 to 49 of 60 are left
    moved = (torch.from_numpy(images.joints)[..., 1] * 60 - 10) / 40
    torch.testing.assert_close(model.joints[..., 1], moved, rtol=0, atol=1e-5)
    assert ((model.joints[..., 2] > 0) <= (moved <= 1)).all() and (moved > 1).any()


@pytest.mark.parametrize(
    ("count", "limit", "expected"), [(5, 0, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (9, 1, [0])]
)
def test_spread(count, limit, expected):
    assert spread(count, limit) == expected


def test_files_below(folder):
    assert [path.parent.name for path in files_below(folder)] == ["query"] * 4 and len(files_below(folder, 3)) == 3
    for apart in (folder.parent, folder / "elsewhere"):  # drawn above the images, or nothing yet
        assert len(files_below(folder, without=apart)) == 4
    (folder / "drawn" / "query").mkdir(parents=True)
    (folder / "drawn" / "query" / "a.jpg.png").touch()
    assert len(files_below(folder)) == 5 and len(files_below(folder, without=folder / "drawn")) == 4
    with pytest.raises(ConfigError, match="is the folder of the images"):
        files_below(folder, without=folder / "drawn" / "..")


def test_the_sheet_of_an_earlier_call_is_no_image(call, folder):
    for _ in range(2):
        assert call("--images", folder, "--output", folder / "drawn") == 0
        assert json.loads((folder / "drawn" / "boxes.json").read_text())["images"] == 4


def test_mistakes(fails, folder, weights, tmp_path):
    """Each in one sentence, and no file is written."""
    baseline = {"MODEL__BACKBONE__FEAT_DIM": 64, "MODEL__WEIGHTS": weights("baseline", "MODEL.BACKBONE.FEAT_DIM", 64)}
    assert "Baseline locates no regions, so it has no boxes; those that do: MGRe" in fails(name="baseline", **baseline)
    whole = {"MODEL__MGRE__STAGES": "[]", "MODEL__WEIGHTS": weights("mgre", "MODEL.MGRE.STAGES", [])}
    assert "locates no region, so it has no boxes: MODEL.MGRE.STAGES is empty" in fails("--images", folder, **whole)
    assert "no image" in fails("--images", tmp_path / "nowhere")
    assert "no data set is registered as 'Nowhere'" in fails("--test-set", "Nowhere")
    assert "NAME/train, NAME/query or NAME/gallery" in fails("--test-set", "SynthReIDTiny/val")
    assert "there is no pose file" in fails("--images", folder, "--poses", tmp_path / "no.npz")
    file = tmp_path / "other.npz"
    Poses(["another.jpg"], np.ones((1, 17, 3)), np.ones((1, 2))).save(file)
    assert "has a row for none of the 4 images" in fails("--images", folder, "--poses", file)
    Poses(["query/" + next((folder / "query").iterdir()).name], np.ones((1, 3, 3)), np.ones((1, 2))).save(file)
    assert "joints up to number 16, but the labels have joints 0 to 2" in fails("--images", folder, "--poses", file)
    assert "weights are missing" in fails(MODEL__WEIGHTS="")
    assert "name images with --images or --test-set" in fails(DATASETS__TESTS="()")
