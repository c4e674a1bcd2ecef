"""``fastreid-ext pose``: from SynthReID's JSON to a pose file, a report and a sheet; every error is one sentence."""

import json

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.data.poses import Poses
from fastreid_ext.pose.sheet import HEIGHT, LEFT, RIGHT, draw_pose


@pytest.fixture
def imported(tmp_path, capsys):
    """Import into a pose file and return it with what was printed."""

    def run(*args):
        target = tmp_path / "poses.npz"
        assert main(["pose", "import", *map(str, args), "--output", str(target)]) == 0
        return Poses.load(target), capsys.readouterr().out.splitlines()

    return run


def test_synthreid_comes_back(synth_root, imported, tmp_path):
    folder = synth_root / "SynthReID-tiny"
    sources = sorted((folder / "keypoints").glob("*.json"))
    sheet = tmp_path / "below" / "sheet.png"
    poses, lines = imported(*sources, "--images", folder, "--sheet", sheet, "--sheet-images", 3)
    count = 0
    for source in sources:
        content = json.loads(source.read_text(encoding="ascii"))
        for image, annotation in zip(content["images"], content["annotations"], strict=True):
            joints, size = poses.of(f"{source.stem}/{image['file_name']}")
            expected = np.array(annotation["keypoints"], dtype=np.float32).reshape(17, 3)
            expected[:, 2] /= 2  # visibility 0, 1, 2
            assert np.array_equal(joints, expected) and size == (image["width"], image["height"])
            count += 1
    assert len(poses) == count == len(list(folder.glob("*/*.jpg")))
    assert lines[0] == f"{count} of {count} images below {folder} have a pose"
    assert lines[-2:] == [f"drawn: {sheet}", f"written: {tmp_path / 'poses.npz'}"]
    assert "regions of MGRe, images with 2 or more of the joints seen:" in lines
    assert not any("WARNING" in line for line in lines)
    with Image.open(sheet) as picture:
        assert picture.format == "PNG" and picture.height > HEIGHT
    assert [path.name for path in sheet.parent.iterdir()] == ["sheet.png"]


def test_the_summary(root, write, upright, flat, imported):
    entries = [
        {"image_id": name, "keypoints": flat(upright(top=top)), "score": 1}
        for name, top in [("0002_c1.jpg", 8), ("0002_c1.jpg", 9), *((f"gone{n}.jpg", 8) for n in range(4))]
    ]
    poses, lines = imported(write(entries), "--images", root)
    assert list(poses.names) == ["train/0002_c1.jpg"]
    assert lines[:4] == [
        f"1 of 5 images below {root} have a pose",
        "without a pose: 4 (2 in query, 2 in train): query/0001_c1.jpg, query/0009_c3.jpg, train/0001_c1.jpg, ...",
        "poses of images that are not there: 4: gone0.jpg, gone1.jpg, gone2.jpg, ...",
        "several people: in 1 images, of which the head at the top centre was taken",
    ]


def test_numbered_results_openpose_and_alphapose_agree(root, write, upright, flat, imported):
    images = write({"images": [{"id": 4, "file_name": "train/0002_c1.jpg", "width": 40, "height": 80}]}, "images.json")
    results = write([{"image_id": 4, "category_id": 1, "keypoints": flat(upright()), "score": 1}], "results.json")
    alpha = write(
        [{"image_id": "0002_c1.jpg", "category_id": 1, "keypoints": flat(upright()), "score": 1}], "alpha.json"
    )
    body = np.zeros((25, 3))
    body[[0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11]] = upright()
    people = {"people": [{"pose_keypoints_2d": flat(body)}]}
    folder = write(people, "openpose/0002_c1_keypoints.json").parent
    expected, _ = imported(results, "--annotations", images, "--images", root)
    assert expected.joints[0] == pytest.approx(upright())
    for source, *more in ((alpha,), (folder,), (alpha, "--format", "alphapose"), (folder, "--format", "openpose")):
        poses, _ = imported(source, "--images", root, *more)
        assert poses.names == expected.names and np.array_equal(poses.joints, expected.joints)


def test_report_says_the_same(synth_root, imported, tmp_path, capsys):
    folder = synth_root / "SynthReID-tiny"
    _, lines = imported(folder / "keypoints" / "query.json", "--images", folder, "--threshold", "0.5")
    sheet = tmp_path / "sheet.png"
    report = ["pose", "report", str(tmp_path / "poses.npz"), "--threshold", "0.5"]
    assert main(report) == 0
    start = next(place for place, line in enumerate(lines) if "images with a pose;" in line)
    assert capsys.readouterr().out.splitlines() == lines[start:-1]
    assert main([*report, "--sheet", str(sheet), "--images", str(folder)]) == 0 and sheet.is_file()
    capsys.readouterr()
    assert main([*report, "--sheet", str(sheet)]) == 1
    assert "name their folder with --images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON file"),
        ({"people": []}, "there is no pose of any of the 5 images"),
        ([{"image_id": 3, "keypoints": [1.0] * 51}], "add --annotations"),
        ([{"image_id": "0001_c1.jpg", "keypoints": [5.0] * 51}], "0001_c1.jpg may be query/0001_c1.jpg or train/"),
    ],
)
def test_errors_are_one_sentence(root, write, tmp_path, capsys, content, message):
    target = tmp_path / "poses.npz"
    assert main(["pose", "import", str(write(content)), "--images", str(root), "--output", str(target)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("fastreid-ext pose import: ") and message in err and err.count("\n") == 1
    assert not target.exists()


def test_files_that_are_not_there(root, write, tmp_path, capsys):
    for args, message in (
        (["import", "nowhere.json", "--images", root, "--output", "x.npz"], "nowhere.json"),
        (
            ["import", write("[]"), "--images", tmp_path / "no", "--output", "x.npz", "--format", "alphapose"],
            "no folder",
        ),
        (["report", tmp_path / "no.npz"], "there is no pose file"),
        (["report", write("text", "text.npz")], "is not a pose file"),
    ):
        assert main(["pose", *map(str, args)]) == 1
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


@pytest.mark.parametrize("option", [("--threshold", "1"), ("--threshold", "x"), ("--sheet-images", "0")])
def test_options_out_of_range(option, capsys):
    with pytest.raises(SystemExit):
        main(["pose", "report", "x.npz", *option])
    assert option[0] in capsys.readouterr().err


def test_sides_have_their_colours_and_unseen_joints_none(upright):
    image = np.full((80, 40, 3), 128, np.uint8)

    def shares(joints):
        drawn = draw_pose(image, joints, (40, 80), 0.2)
        return [int((drawn == np.uint8(colour)).all(axis=2).sum()) for colour in (LEFT, RIGHT)]

    both, left, none = upright(), upright(), upright(confidence=0.2)
    left[2::2, 2] = 0
    assert min(shares(both)) > 50
    assert shares(left)[0] > 50 and shares(left)[1] == 0
    assert shares(none) == [0, 0]
    far = upright() * [1e5, 1e5, 1]
    assert shares(far) == [0, 0]
    # the left shoulder, joint 5, is at (25, 13) of 40x80, which is drawn 128x256
    both[15:, 1] = 70  # long shins, from (25, 21) and (15, 22)
    drawn = draw_pose(image, both, (40, 80), 0.2)
    for x, colour in ((25.5, LEFT), (15.5, RIGHT)):
        assert drawn[round(46 * 3.2), round(x * 3.2)].tolist() == list(colour)
    assert drawn[round(13.5 * 3.2), round(25.5 * 3.2)].tolist() == list(LEFT)
