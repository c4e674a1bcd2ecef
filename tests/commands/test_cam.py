"""The commands ``masks`` and ``cam`` on images of SynthReID, with checkpoints of untrained models."""

import re

import numpy as np
import pytest
import torch
from fastreid.data.data_utils import read_image
from fastreid.modeling import build_model
from PIL import Image, ImageDraw
from torch import nn

from fastreid_ext.cli import main
from fastreid_ext.deepminer.erasing import keep_mask
from fastreid_ext.model_zoo import get_config
from fastreid_ext.visual.drawing import HEIGHT as LARGE
from fastreid_ext.visual.grad_cam import grad_cam, similarity_to
from fastreid_ext.visual.granularity_cam import branch_lengths, granularity_cams
from fastreid_ext.visual.pictures import CAPTION, GAP, WIDEST, darken, enlarge, overlay

HEIGHT, WIDTH = 64, 32
OVERRIDES = {
    "MODEL.DEVICE": "cpu",
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
}
PAIRS = [str(item) for pair in OVERRIDES.items() for item in pair]


@pytest.fixture(scope="module")
def images(synth_root, tmp_path_factory):
    """A folder with three images, one of them in a folder of its own."""
    folder = tmp_path_factory.mktemp("images")
    source = sorted((synth_root / "SynthReID-tiny").rglob("*.jpg"))[:3] or sorted(synth_root.rglob("*.png"))[:3]
    (folder / "inner").mkdir()
    for path, name in zip(source, ("a.jpg", "b.JPG", "inner/c.jpg"), strict=True):
        (folder / name).write_bytes(path.read_bytes())
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """``trained("msreid")``: (model, its checkpoint), of random weights."""
    folder, made = tmp_path_factory.mktemp("weights"), {}

    def make(name):
        if name not in made:
            torch.manual_seed(0)
            cfg = get_config(f"demo/{name}.yml")
            cfg.merge_from_list([*PAIRS, "MODEL.HEADS.NUM_CLASSES", "7"])
            model = build_model(cfg).eval()
            if name == "occluded":
                nn.init.normal_(model.heads.momentum_elimination.mu, std=0.02)
            torch.save({"model": model.state_dict()}, folder / f"{name}.pth")
            made[name] = model, folder / f"{name}.pth"
        return made[name]

    return make


@pytest.fixture
def call(images, trained, tmp_path):
    """``call("cam", "msreid", "--limit", "1", KEY="value")``: exit status of the command."""

    def run(command, name, *options, source=images, **overrides):
        pairs = {"MODEL.WEIGHTS": trained(name)[1], **{k.replace("__", "."): v for k, v in overrides.items()}}
        arguments = [command, "--config-file", f"demo/{name}.yml", "--images", source, "--output", tmp_path / "out"]
        return main([str(x) for x in [*arguments, *options, *PAIRS, *(x for pair in pairs.items() for x in pair)]])

    return run


def pixels_of(path):
    """What the model is shown: the image at the size of the config (FastReID's bicubic)."""
    return np.asarray(read_image(str(path), "RGB").resize((WIDTH, HEIGHT), Image.BICUBIC))


def enlarged(path):
    return enlarge(pixels_of(path), LARGE)


def cells(path, columns, rows=1):
    """The pictures of a sheet whose columns are wider than their names or not; found by the left edge.

    An overview of several images has them beside each other where there is room, their names below.
    """
    canvas, width = np.asarray(Image.open(path).convert("RGB")), WIDTH * LARGE // HEIGHT
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    step = GAP + max(width, *(int(pen.textlength(name)) for name in columns))
    across = 1 if rows == 1 else max(1, WIDEST // (step * len(columns) + 2 * GAP))
    down, each = -(-rows // across), CAPTION + LARGE + (CAPTION if rows > 1 else 0) + GAP
    across = -(-rows // down)
    assert canvas.shape[0] == CAPTION + down * each + GAP
    assert canvas.shape[1] >= GAP + across * step * len(columns)
    found = []
    for r in range(rows):
        top, left = CAPTION + r // across * each + CAPTION, GAP + r % across * (step * len(columns) + 2 * GAP)
        found.append({name: canvas[top:, left + c * step :][:LARGE, :width] for c, name in enumerate(columns)})
    return found


def drawn(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


MASKS = {"msreid": ("global mask", "local mask"), "deepminer": ("ie2 keeps", "ie3 keeps")}
FILES = {"a.jpg": "a.jpg.png", "b.JPG": "b.JPG.png", "inner/c.jpg": "inner/c.jpg.png"}


@pytest.mark.parametrize("name", MASKS)
def test_masks(call, images, trained, tmp_path, capsys, name):
    assert call("masks", name) == 0
    out = tmp_path / "out"
    assert drawn(out) == {*FILES.values(), "overview.png"}
    assert f"3 pictures and {out / 'overview.png'}" in capsys.readouterr().out
    columns = ["image", *(c for mask in MASKS[name] for c in (mask, f"{mask}, kept"))]
    overview = cells(out / "overview.png", columns, rows=3)
    model, _ = trained(name)
    for row, (source, file) in zip(overview, FILES.items(), strict=True):
        (alone,) = cells(out / file, columns)
        pixels = enlarged(images / source)
        assert np.array_equal(alone["image"], pixels) and np.array_equal(row["image"], pixels)
        with torch.no_grad():
            shown = torch.from_numpy(pixels_of(images / source).copy()).permute(2, 0, 1)[None].float()
            masks = model.spatial_masks(model.preprocess_image(shown))
        assert tuple(masks) == MASKS[name]
        for mask, values in masks.items():
            size = {"mode": "bilinear", "align_corners": False}
            heat = nn.functional.interpolate(values.float(), (HEIGHT, WIDTH), **size)[0, 0].numpy()
            heat = enlarge(heat, LARGE)
            # one image or three at a time: the heat may fall on the next of 256 colours
            assert np.abs(alone[mask].astype(int) - overlay(pixels, heat)).max() <= 4
            assert np.abs(alone[f"{mask}, kept"].astype(int) - darken(pixels, heat)).max() <= 1
            assert np.array_equal(alone[mask], row[mask])


def test_deep_miners_masks_are_equation_1(trained):
    """What is drawn is what the branches of the model are given: zeros and ones, 1 where the branch may look."""
    model, _ = trained("deepminer")
    images = model.preprocess_image(torch.rand(2, 3, HEIGHT, WIDTH) * 255)
    with torch.no_grad():
        masks, maps = model.spatial_masks(images), model.stage_maps(images)
    for i in (2, 3):
        mask = masks[f"ie{i} keeps"]
        assert torch.equal(mask, keep_mask(maps[i], model.side_branches[f"ie{i}"].threshold))
        assert mask.shape == (2, 1, *maps[i].shape[2:]) and set(mask.unique().tolist()) == {0.0, 1.0}
    model.side_branches, kept = nn.ModuleDict(), model.side_branches
    with pytest.raises(ValueError, match=r"this model erases nothing \(MODEL.DEEPMINER.IE_BLOCKS is empty\)"):
        model.spatial_masks(images)
    model.side_branches = kept


@pytest.mark.parametrize("name", ["baseline", "deepminer", "msreid", "mgre", "occluded"])
def test_cam(call, images, tmp_path, name):
    assert call("cam", name, "--layer", "backbone.layer3") == 0
    for source, file in FILES.items():
        (row,) = cells(tmp_path / "out" / file, ["image", "backbone.layer3"])
        assert np.array_equal(row["image"], enlarged(images / source))
        assert not np.array_equal(row["backbone.layer3"], row["image"])


def test_cam_of_a_query(call, images, tmp_path):
    """The query stands unaltered beside every image; another query gives another map."""
    pictures = []
    for query in ("a.jpg", "inner/c.jpg"):
        assert call("cam", "baseline", "--query", str(images / query)) == 0
        (row,) = cells(tmp_path / "out" / "b.JPG.png", ["query", "image", "backbone.layer4"])
        assert np.array_equal(row["query"], enlarged(images / query))
        assert np.array_equal(row["image"], enlarged(images / "b.JPG"))
        pictures.append(row["backbone.layer4"])
    assert not np.array_equal(*pictures)


@pytest.mark.slow
def test_several_models_side_by_side(call, images, trained, tmp_path):
    """Figure 6 of MSReID: a column for each model, and each column is what that model alone gives."""
    configs = {}
    for name, switch in (("M", "ATTENTION"), ("AM", "LOCAL")):
        cfg = get_config("demo/msreid.yml")
        cfg.merge_from_list([*PAIRS, f"MODEL.MSREID.{switch}", "False", "MODEL.HEADS.NUM_CLASSES", "7"])
        torch.manual_seed(1)
        torch.save({"model": build_model(cfg).state_dict()}, tmp_path / f"{name}.pth")
        configs[name] = tmp_path / f"{name}.yml"
        configs[name].write_text(cfg.dump())
    layer = "heads.separated.global_"
    beside = [x for name, config in configs.items() for x in ("--beside", config, tmp_path / f"{name}.pth")]
    assert call("cam", "msreid", "--layer", layer, *beside) == 0
    columns = [f"{name}, {layer}" for name in ("msreid", "M", "AM")]
    (row,) = cells(tmp_path / "out" / "a.jpg.png", ["image", *columns])
    assert len({row[name].tobytes() for name in columns}) == 3
    arguments = ["cam", "--config-file", configs["M"], "--images", images, "--output", tmp_path / "alone"]
    assert main([str(x) for x in [*arguments, "--layer", layer, "MODEL.WEIGHTS", tmp_path / "M.pth"]]) == 0
    (alone,) = cells(tmp_path / "alone" / "a.jpg.png", ["image", layer])
    assert np.abs(alone[layer].astype(int) - row[f"M, {layer}"]).max() <= 8


def test_one_config_with_other_weights_is_named_by_them(images, trained, tmp_path):
    cfg = get_config("demo/baseline.yml")
    cfg.merge_from_list([*PAIRS, "TEST.IMS_PER_BATCH", 1])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    for name in ("first", "second"):
        (tmp_path / f"{name}.pth").write_bytes(trained("baseline")[1].read_bytes())
    arguments = ["cam", "--config-file", tmp_path / "config.yaml", "--images", images, "--output", tmp_path / "out"]
    arguments += ["--beside", tmp_path / "config.yaml", tmp_path / "second.pth"]
    assert main([str(x) for x in [*arguments, "MODEL.WEIGHTS", tmp_path / "first.pth"]]) == 0
    columns = ["first, backbone.layer4", "second, backbone.layer4"]
    (row,) = cells(tmp_path / "out" / "a.jpg.png", ["image", *columns])
    assert np.array_equal(row[columns[0]], row[columns[1]]) and not np.array_equal(row[columns[0]], row["image"])


def test_pictures_are_not_drawn_of_pictures(call, images, tmp_path):
    """A second call with the output below the images; and two names that differ in a slash alone are two pictures."""
    folder = tmp_path / "copy"
    (folder / "inner").mkdir(parents=True)
    for name in ("inner/c.jpg", "inner_c.jpg"):
        (folder / name).write_bytes((images / "inner/c.jpg").read_bytes())
    for _ in range(2):
        assert call("cam", "baseline", "--output", folder / "drawn", source=folder) == 0
        assert drawn(folder / "drawn") == {"inner/c.jpg.png", "inner_c.jpg.png", "overview.png"}


STAGES = ("stage 1", "stage 2", "stage 3", "stage 4", "all together")


def test_cam_of_granularities(call, images, trained, tmp_path):
    """Figure 4: the image, its four granularities, and their synthesis, enlarged; they differ from each other."""
    assert call("cam", "mgre", "--granularities") == 0
    assert drawn(tmp_path / "out") == {*FILES.values(), "overview.png"}
    model, _ = trained("mgre")
    for source, file in FILES.items():
        (row,) = cells(tmp_path / "out" / file, ["image", *STAGES])
        assert np.array_equal(row["image"], enlarged(images / source))
        shown = torch.from_numpy(pixels_of(images / source).copy()).permute(2, 0, 1)[None].float()
        parts = model.granularities()
        for name, heat in granularity_cams(model, shown, branch_lengths(parts), parts).items():
            expected = overlay(row["image"], enlarge(heat[0].numpy(), LARGE))
            # one image or three at a time: the heat may fall on the next of 256 colours
            assert np.abs(row[name].astype(int) - expected).max() <= 8
    assert len({row[name].tobytes() for name in STAGES}) == len(STAGES)


@pytest.mark.slow
def test_granularities_of_a_query_beside_a_baseline(call, images, trained, tmp_path):
    """The second model is that of its own config, and its map that of its own similarity to the query."""
    cfg = get_config("demo/baseline.yml")
    cfg.merge_from_list(PAIRS)
    (tmp_path / "baseline.yaml").write_text(cfg.dump())  # as a run leaves it, but for the name
    beside = ["--beside", tmp_path / "baseline.yaml", trained("baseline")[1], "--layer", "backbone.layer3"]
    columns = ["query", "image", *STAGES, "baseline, backbone.layer3"]
    found = []
    for query in ("a.jpg", "inner/c.jpg"):
        assert call("cam", "mgre", "--granularities", *beside, "--query", images / query) == 0
        found += cells(tmp_path / "out" / "b.JPG.png", columns)
    first, second = found
    assert np.array_equal(first["query"], enlarged(images / "a.jpg"))
    assert np.array_equal(second["query"], enlarged(images / "inner/c.jpg"))
    for name in ("all together", "baseline, backbone.layer3"):
        assert not np.array_equal(first[name], second[name])
    model, _ = trained("baseline")
    a, b = (torch.from_numpy(pixels_of(images / f).copy()).permute(2, 0, 1)[None].float() for f in ("a.jpg", "b.JPG"))
    with torch.no_grad():
        score = similarity_to(model(a)[0])
    heat = enlarge(grad_cam(model, "backbone.layer3", b, score)[0].numpy(), LARGE)
    assert np.abs(first["baseline, backbone.layer3"].astype(int) - overlay(first["image"], heat)).max() <= 8


def test_limit(call, tmp_path):
    assert call("masks", "msreid", "--limit", "2") == 0
    assert drawn(tmp_path / "out") == {"a.jpg.png", "b.JPG.png", "overview.png"}


@pytest.mark.slow
def test_mistakes(fails, images, trained, tmp_path):
    """Each in one sentence."""
    sentence = fails("masks", "msreid", source=tmp_path / "nowhere")
    assert f"the folder {tmp_path / 'nowhere'} holds no image" in sentence and not (tmp_path / "nowhere").exists()
    sentence = fails("masks", "occluded")
    wanted = "OccludedReID has no spatial masks; those that do: DeepMiner, .*MSReID.*; fastreid-ext cam draws any"
    assert re.search(wanted, sentence)  # other tests register architectures, too
    assert "Baseline has no spatial masks" in fails("masks", "baseline")
    assert "the model has no layer 'backbone.layer5'" in fails("cam", "msreid", "--layer", "backbone.layer5")
    assert "Baseline has no granularities; those that do: MGRe" in fails("cam", "baseline", "--granularities")
    beside = ["--beside", "demo/baseline.yml", str(trained("baseline")[1])]
    assert "one model is drawn twice" in fails("cam", "baseline", *beside)
    assert "the model has no layer 'fe'" in fails("cam", "mgre", "--layer", "fe", *beside)
    assert "there is no checkpoint no.pth" in fails("cam", "mgre", "--granularities", *beside[:2], "no.pth")
    assert "gives no feature map (B, C, h, w)" in fails("cam", "msreid", "--layer", "heads.necks.global_")
    assert "without the joints that this model's test reads" in fails("cam", "mgre", MODEL__MGRE__BOXES="labelled")
    assert "there is no checkpoint nowhere.pth" in fails("cam", "msreid", MODEL__WEIGHTS="nowhere.pth")
    assert "weights are missing: add MODEL.WEIGHTS" in fails("cam", "msreid", MODEL__WEIGHTS="")
    assert "Non-existent key" in fails("cam", "msreid", MODEL__WEIHGTS="x")
    assert "such as" in fails("cam", "msreid", MODEL__WEIGHTS=trained("deepminer")[1])
    assert "torch does not know" in fails("cam", "msreid", MODEL__DEVICE="gpu")
    if not torch.cuda.is_available():
        assert "sees no GPU here" in fails("cam", "msreid", MODEL__DEVICE="cuda")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.jpg").write_bytes(b"no image")
    assert f"the image {broken / 'a.jpg'} can't be read" in fails("masks", "msreid", source=broken)
    assert "no-image.jpg" in fails("cam", "msreid", "--query", "no-image.jpg")
    assert "has no mask" in fails("masks", "msreid", MODEL__MSREID__MASK="False")
    (tmp_path / "out").rmdir() if (tmp_path / "out").is_dir() else None
    (tmp_path / "out").write_text("a file")
    assert str(tmp_path / "out") in fails("masks", "msreid")


def test_a_config_that_does_not_exist(capsys, images, tmp_path):
    command = ["cam", "--config-file", "nowhere.yml", "--images", str(images), "--output", str(tmp_path)]
    assert main(command) == 1
    assert capsys.readouterr().err.startswith("fastreid-ext cam: there is no config file nowhere.yml")
