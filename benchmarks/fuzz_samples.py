"""What is damaged and who reads it: a valid sample of every file from elsewhere, and the loader of ours."""

import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastreid_ext  # noqa: F401  isort:skip  (heals FastReID)

import fuzz_models
import numpy as np
import torch
import yaml
from fuzz_listed_sets import MSMT17, POSETRACK, write_msmt17, write_posetrack
from PIL import Image
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.data.images import read_image
from fastreid_ext.data.poses import Poses
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.checks.resume import check_same_run
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.repeat import _read as read_results
from fastreid_ext.engine.verification import pairs_of
from fastreid_ext.evaluation.calibration import MEASURES, Steps
from fastreid_ext.evaluation.same_person import SamePerson
from fastreid_ext.files import file_hash
from fastreid_ext.inference.same_person_file import read_same_person, write_same_person
from fastreid_ext.modeling.weights import read_state
from fastreid_ext.pose.chunks import SavedChunks
from fastreid_ext.pose.readers import read_skeletons
from fastreid_ext.search.features import IDENTITY, open_store
from fastreid_ext.search.image_list import ImageList, images_of_list
from fastreid_ext.search.index import as_searched, plan_index
from fastreid_ext.search.index_files import open_index
from fastreid_ext.search.writer import FeatureWriter

SHAPE = (8, 6)
CFG = get_cfg()
Image.init()  # otherwise PIL imports what it needs for the first damaged file


@dataclass(frozen=True)
class Loader:
    """A kind of file and what reads it.

    Attributes:
        name: in the results.
        make: writes valid files into a folder.
        file: the one that is damaged, below the folder.
        load: reads the folder's files as a command does.
        repair: makes other files fit the damaged one, as an attacker would.
        fresh: reading leaves files behind, so every damaged file gets its own copy of the folder.
    """

    name: str
    make: Callable[[Path], None]
    file: str
    load: Callable[[Path], Any]
    repair: Callable[[Path], None] | None = None
    fresh: bool = False


# ---- weights --------------------------------------------------------------------------------------------------------


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def write_checkpoint(file: Path, **options: Any) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "metric": np.float64(0.5)}
    torch.save(content | {"curve": np.arange(4.0), "note": "text"}, file, **options)


def load_checkpoint(folder: Path) -> None:
    AtomicCheckpointer(network()).load(str(folder / "model.pth"), checkpointables=[])


def make_last_checkpoint(folder: Path) -> None:
    write_checkpoint(folder / "model_latest.pth")
    (folder / "last_checkpoint").write_text("model_latest.pth")


def load_last_checkpoint(folder: Path) -> None:
    AtomicCheckpointer(network(), str(folder)).resume_or_load("", resume=True)


# ---- stores and indexes ---------------------------------------------------------------------------------------------


def make_store(folder: Path, count: int = SHAPE[0], dim: int = SHAPE[1]) -> None:
    rows = [(f"{n}.jpg", str(n // 2), str(n % 2)) for n in range(count)]
    identity = dict.fromkeys(IDENTITY, "a") | {"metric": "cosine", "flip": False}
    writer = FeatureWriter(folder, ImageList(folder, rows, "a list"), identity)
    writer.add(np.random.RandomState(0).randn(count, dim).astype(np.float32), count)
    writer.finish()


def load_store(folder: Path) -> None:
    store = open_store(folder)
    for _ in store.blocks():
        pass
    [store.images.file(n) for n in range(len(store))]


def make_index(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        make_store(folder, 80, 8)
        load_index(kind)(folder)

    return make


def load_index(kind: str) -> Callable[[Path], None]:
    def load(folder: Path) -> None:
        store = open_store(folder)
        wanted = {"nlist": 4, "pq_m": 2, "pq_bits": 4, "nprobe": 4} if kind == "ivfpq" else {"m": 4}
        opened = open_index(store, plan_index(kind, *store.features.shape, wanted), set())
        opened.index.search(as_searched(store.features[:9], store.metric), 5)

    return load


def sign_index(kind: str) -> Callable[[Path], None]:
    def sign(folder: Path) -> None:
        record = folder / f"index_{kind}.json"
        about = json.loads(record.read_text())
        about["file_sha256"] = file_hash(folder / f"index_{kind}.npz")
        record.write_text(json.dumps(about))

    return sign


# ---- poses ----------------------------------------------------------------------------------------------------------


def make_poses(folder: Path) -> None:
    joints = np.random.RandomState(0).rand(5, 17, 3) * 50
    Poses([f"train/{n}.jpg" for n in range(5)], joints, np.full((5, 2), 64)).save(folder / "poses.npz")


def make_chunks(folder: Path) -> None:
    with_settings = SavedChunks(folder, {"padding": 1.25})
    with_settings.add(Poses(["a.jpg"], np.ones((1, 17, 3)), np.ones((1, 2))))
    with_settings.close()


def load_chunks(folder: Path) -> None:
    chunks = SavedChunks(folder, {"padding": 1.25})
    try:
        chunks.load()
    finally:
        chunks.close()


def write_json(content: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "file.json").write_text(json.dumps(content)) and None


FLAT = [float(value) for value in range(51)]
COCO = {
    "images": [{"id": 1, "file_name": "train/1.jpg", "width": 64, "height": 128}],
    "annotations": [{"image_id": 1, "keypoints": [1, 2, 2] * 17, "score": 0.5}],
    "categories": [{"name": "person"}],
}
RESULTS = [{"image_id": "1.jpg", "keypoints": FLAT, "score": 2.5}, {"image_name": "2.jpg", "keypoints": FLAT}]
OPENPOSE = {"version": 1.3, "people": [{"pose_keypoints_2d": [1.0] * 75}]}


def load_people(folder: Path) -> None:
    read_skeletons(folder / "file.json")


def make_model(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.random.RandomState(0).randn(17, 3, 4, 4).astype(np.float32), "kernel")
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["maps_"], strides=[4, 4]),
        helper.make_node("Sigmoid", ["maps_"], ["maps"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (
        ("images", ["B", 3, 32, 16]), ("maps", ["B", 17, 8, 4]))]  # fmt: skip
    graph = helper.make_graph(nodes, "pose", values[:1], values[1:], [kernel])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(folder / "model.onnx"))


def load_model(folder: Path) -> None:
    from fastreid_ext.pose.model import PoseModel

    model = PoseModel(folder / "model.onnx", threads=1, batch_size=2)
    model(np.zeros((2, 3, *model.input_size[::-1]), np.float32))


# ---- data sets ------------------------------------------------------------------------------------------------------


def picture(file: Path, **options: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(0).randint(0, 256, (24, 12, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, **options)


def make_csv(folder: Path) -> None:
    for name in ("train", "query", "gallery"):
        shift = name == "gallery"  # another camera than the query's
        rows = [f"{name}/{person}.jpg,{person},{camera + shift}" for person, camera in ((1, 0), (2, 1))]
        for person in (1, 2):
            picture(folder / f"CSVDataset/{name}/{person}.jpg")
        (folder / f"CSVDataset/{name}.csv").write_text("\n".join(["path,person,camera", *rows, ""]))


def make_opreid(folder: Path) -> None:
    for name in ("train", "query", "gallery"):
        camera = 3 if name == "gallery" else 2
        picture(folder / f"OPReID/{name}/0001_c{camera}_1.jpg")
        (folder / f"OPReID/{name}.txt").write_text(f"0001_c{camera}_1.jpg 1 {camera}\n")


def make_list(folder: Path) -> None:
    (folder / "list.csv").write_text("path;person;camera\na.jpg;1;2\n'b.jpg';2;3\n")


def make_pairs(folder: Path) -> None:
    (folder / "pairs.csv").write_text('a.jpg,b.jpg\n"c.jpg","d.jpg"\n')


def make_annotations(folder: Path) -> None:
    root = folder / "SynthReID-tiny"
    for name in ("train", "query", "gallery", "query_occluded"):
        picture(root / name / "0001_c1_0.jpg")
    (root / "keypoints").mkdir()
    images = [{"id": 1, "file_name": "0001_c1_0.jpg", "width": 12, "height": 24, "occlusion": 0.25}]
    people = [{"image_id": 1, "keypoints": [1, 2, 2] * 17}]
    for name in ("train", "query", "gallery"):
        (root / f"keypoints/{name}.json").write_text(json.dumps({"images": images, "annotations": people}))
    files = {part.name: sorted(part.iterdir()) for part in root.iterdir()}
    sizes = {name: {"count": len(of), "bytes": sum(one.stat().st_size for one in of)} for name, of in files.items()}
    meta = {"dataset": "SynthReID", "size": "tiny", "seed": 0, "long_tail": True, "renderer": 1, "files": sizes}
    (root / "meta.json").write_text(json.dumps(meta))


def load_annotations(folder: Path) -> None:
    from fastreid_ext.data.datasets.synthreid import SynthReIDTiny

    data = object.__new__(SynthReIDTiny)
    data.data_dir, data._read = folder / "SynthReID-tiny", {}
    data.poses()
    data.occlusion_of(str(data.data_dir / "train" / "0001_c1_0.jpg"))


def load_synth_meta(folder: Path) -> None:
    from fastreid_ext.data.synthetic import find

    find(folder, "tiny")


def set_named(name: str) -> Callable[[Path], None]:
    def load(folder: Path) -> None:
        os.environ["FASTREID_DATASETS"] = str(folder)
        with redirect_stdout(io.StringIO()):
            data = load_dataset(name, ("train", "query", "gallery"))
            for path, *_ in [*data.train, *data.query, *data.gallery]:
                assert isinstance(path, str)

    return load


def make_cuhk03(folder: Path) -> None:
    from fuzz_cuhk03 import write_cuhk03

    write_cuhk03(folder / "cuhk03")


def make_same_person(folder: Path) -> None:
    """Thresholds of five people."""
    thresholds = {"balanced": 0.5, "fpr_1e-2": 0.75, "fpr_1e-3": None, "fpr_1e-4": None}
    rates = {"balanced": {"true_positive_rate": 0.9, "false_positive_rate": 0.1}}
    notes = {"fpr_1e-3": "its rate needs 1000 pairs of two people or more, and there are 300"}
    held_out = {method: dict.fromkeys(MEASURES, 0.125) for method in ("isotonic", "platt")}
    steps = Steps((0.25, 0.5), (-2.0, 0.0, 2.0))
    found = SamePerson("cosine", steps, thresholds, rates, notes, 40, 300, 5, held_out, measured_on="Shop")
    write_same_person(folder / "same_person.json", found)


def load_same_person(folder: Path) -> None:
    """Read thresholds, and ask for some answers."""
    p = read_same_person(folder / "same_person.json").probability(np.linspace(-3, 1, 9))
    if not ((p >= 0) & (p <= 1) & (np.diff(p, prepend=0) >= 0)).all():
        raise ValueError(f"probabilities {p}")


# ---- configs, results, images ---------------------------------------------------------------------------------------


def make_yaml(folder: Path) -> None:
    (folder / "base.yaml").write_text("MODEL:\n  META_ARCHITECTURE: Baseline\n")
    content = {"_BASE_": "base.yaml", "MODEL": {"HEADS": {"NUM_CLASSES": 0}}, "INPUT": {"SIZE_TEST": [256, 128]}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**content, "TEST": {"FLIP": {"ENABLED": True}}}))


def load_yaml(folder: Path) -> None:
    merge_config(CFG.clone(), str(folder / "config.yaml"), [])


def load_run_config(folder: Path) -> None:
    cfg = CFG.clone()
    cfg.OUTPUT_DIR = str(folder)
    check_same_run(cfg)


def image(suffix: str, **options: Any) -> Loader:
    return Loader(
        f"image ({suffix[1:]})",
        lambda folder: picture(folder / f"image{suffix}", **options),
        f"image{suffix}",
        lambda folder: read_image(str(folder / f"image{suffix}")),
    )


LOADERS = (
    Loader("weights", lambda f: write_checkpoint(f / "model.pth"), "model.pth", load_checkpoint),
    Loader(
        "weights before torch 1.6",
        lambda f: write_checkpoint(f / "model.pth", _use_new_zipfile_serialization=False),
        "model.pth",
        load_checkpoint,
    ),
    Loader(
        "weights to convert",
        lambda f: torch.save(network().state_dict(), f / "model.pth"),
        "model.pth",
        lambda f: read_state(f / "model.pth"),
    ),
    Loader("last_checkpoint", make_last_checkpoint, "last_checkpoint", load_last_checkpoint),
    Loader("store: features.npy", make_store, "features.npy", load_store),
    Loader("store: meta.json", make_store, "meta.json", load_store),
    Loader("store: images.csv", make_store, "images.csv", load_store),
    *(
        Loader(f"index: {kind}", make_index(kind), f"index_{kind}.npz", load_index(kind), sign_index(kind))
        for kind in ("hnsw", "ivfpq")
    ),
    Loader("index: record", make_index("hnsw"), "index_hnsw.json", load_index("hnsw")),
    Loader("pose file", make_poses, "poses.npz", lambda f: Poses.load(f / "poses.npz").shares_of(["x/train/1.jpg"])),
    Loader("pose run: settings.json", make_chunks, "settings.json", load_chunks, fresh=True),
    Loader("poses: COCO", write_json(COCO), "file.json", load_people),
    Loader("poses: results, AlphaPose", write_json(RESULTS), "file.json", load_people),
    Loader("poses: OpenPose", write_json(OPENPOSE), "file.json", load_people),
    Loader("model in a file (safetensors)", fuzz_models.make_weights, fuzz_models.WEIGHTS, fuzz_models.load_weights),
    Loader("model in a file (ONNX)", fuzz_models.make_onnx, fuzz_models.ONNX, fuzz_models.load_onnx),
    Loader("components", fuzz_models.make_components, fuzz_models.COMPONENTS, fuzz_models.load_components),
    Loader("pose model (ONNX)", make_model, "model.onnx", load_model),
    Loader("CSVDataset", make_csv, "CSVDataset/query.csv", set_named("CSVDataset")),
    Loader("OPReID: list", make_opreid, "OPReID/train.txt", set_named("OPReID")),
    Loader("MSMT17: list", write_msmt17, MSMT17, set_named("MSMT17TrainVal")),
    *(
        Loader(f"Occluded-PoseTrack: {name}", write_posetrack, f"{POSETRACK}/{name}", set_named("OccludedPoseTrack"))
        for name in ("val_dataset_sampling.json", "images/anns/val_reid_crops_anns.json")
    ),
    Loader("list of images (CSV)", make_list, "list.csv", lambda f: images_of_list(f / "list.csv")),
    Loader("pairs (CSV)", make_pairs, "pairs.csv", lambda f: pairs_of(f / "pairs.csv", [])),
    Loader("SynthReID: annotations", make_annotations, "SynthReID-tiny/keypoints/train.json", load_annotations),
    Loader("SynthReID: meta.json", make_annotations, "SynthReID-tiny/meta.json", load_synth_meta),
    Loader("config (YAML)", make_yaml, "config.yaml", load_yaml),
    Loader("config.yaml of a run", make_yaml, "config.yaml", load_run_config),
    Loader("same_person.json", make_same_person, "same_person.json", load_same_person),
    Loader(
        "results.json of a run",
        lambda f: write_json({"results": {"A": {"Rank-1": 1.0}}})(f),
        "file.json",
        lambda f: read_results(f / "file.json"),
    ),
    image(".jpg"),
    image(".jpeg", progressive=True, optimize=True),
    image(".png"),
    image(".tif", compression="tiff_lzw"),
    image(".bmp"),
    image(".webp"),
    image(".gif"),
    *(
        Loader(f"CUHK03: {name}", make_cuhk03, f"cuhk03/{file}", set_named("CUHK03Labeled"), fresh=True)
        for name, file in (
            ("images (HDF5)", "cuhk03_release/cuhk-03.mat"),
            ("split (.mat)", "cuhk03_new_protocol_config_labeled.mat"),
        )
    ),
)


def copy_of(sample: Path, folder: Path) -> None:
    """Make a folder that holds what the sample holds."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sample, folder)
