"""How far the joints of pose models are from the true ones of drawn people, and the images per second of a thread.

    python benchmarks/pose_accuracy.py movenet-lightning.onnx movenet-thunder.onnx   (made by tools/movenet_to_onnx.py)

The images are queries of SynthReIDWide (256x128), evenly spread over its four worlds. Joints that are in sight count:
their mean and median distance to the true ones in pixels, and the share within 5 % of the image's height. A model whose
maps have offsets runs without them too, by the rule for heat maps alone. Joints have fixed places in the drawn body,
which need not be where a network learnt to put them in photographs: rows compare with each other.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import write_record
from tabulate import tabulate

from fastreid_ext.data.datasets import synthreid
from fastreid_ext.data.poses import Poses
from fastreid_ext.pose.crops import read_pose_image
from fastreid_ext.pose.model import OFFSETS, PoseModel
from fastreid_ext.pose.running import Preparation

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.data.datasets import DATASET_REGISTRY

SET, IN_SIGHT, NEAR = "SynthReIDWide", 1.0, 0.05
PADDINGS = (1.0, 1.25)


def truth(root: str, count: int) -> tuple[Path, Poses]:
    """Return the folder of the drawn people, and the joints of so many of its queries, evenly spread."""
    data = DATASET_REGISTRY.get(SET)(root=root)
    assert isinstance(data, synthreid.SynthReIDVariant)
    folders = {folder.name for folder in data.query_dirs}
    poses = data.poses()
    queries = [index for index, name in enumerate(poses.names) if name.split("/")[0] in folders]
    if not 0 < count <= len(queries):
        raise SystemExit(f"pose_accuracy: --images {count} is not from 1 to {len(queries)}, the queries of {SET}")
    taken = [queries[len(queries) * number // count] for number in range(count)]
    return data.data_dir, Poses([poses.names[index] for index in taken], poses.joints[taken], poses.sizes[taken])


def found_by(model: PoseModel, root: Path, names: list[str], preparation: Preparation) -> tuple[np.ndarray, float]:
    """Return joints (N, 17, 3) in the images' pixels, and seconds of this process's processor time for the network."""
    rows, seconds = [], 0.0
    for begin in range(0, len(names), model.batch_size):
        images = [read_pose_image(root / name) for name in names[begin : begin + model.batch_size]]
        crops, inputs = zip(*(preparation(image, model.input_size) for image in images), strict=True)
        clock = time.process_time()
        joints = model(np.stack(inputs))
        seconds += time.process_time() - clock
        for crop, points in zip(crops, joints, strict=True):
            rows.append(np.concatenate([crop.to_image(points[:, :2]), points[:, 2:]], axis=1))
    return np.stack(rows), seconds


def errors(found: np.ndarray, true: Poses) -> dict[str, float]:
    """Return the distances of found joints (N, 17, 3) to the true ones, of those in sight."""
    apart = np.linalg.norm(found[..., :2] - true.joints[..., :2], axis=-1)
    heights = np.broadcast_to(true.sizes[:, 1:], apart.shape)  # sizes are width and height
    seen = true.joints[..., 2] == IN_SIGHT
    return {
        "joints": int(seen.sum()),
        "mean px": round(float(apart[seen].mean()), 2),
        "median px": round(float(np.median(apart[seen])), 2),
        "within 5 %": round(100 * float((apart[seen] <= NEAR * heights[seen]).mean()), 1),
    }


def without_offsets(path: Path, folder: Path) -> Path:
    """Write the file again with its heat maps alone, and return where."""
    import onnx

    model = onnx.load(path)
    del model.graph.output[1:]
    alone = folder / path.name
    onnx.save(model, alone)
    return alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="FILE.onnx")
    parser.add_argument("--images", type=int, default=400, metavar="N")
    parser.add_argument("--root", default="datasets", help="folder of the data sets (default: %(default)s)")
    args = parser.parse_args()
    root, true = truth(args.root, args.images)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in args.models:
            first = PoseModel(path, threads=1)
            files = {first.kind: path}
            if first.kind == OFFSETS:
                files["heat maps alone"] = without_offsets(path, Path(folder))
            for kind, file in files.items():
                model = PoseModel(file, threads=1)
                for padding in PADDINGS:
                    found, seconds = found_by(model, root, true.names, Preparation(padding, **model.takes))
                    row = {"model": path.name, "read": kind, "padding": padding, **errors(found, true)}
                    results.append({**row, "images/s": round(len(true.names) / seconds, 1)})
                    print(results[-1], flush=True)
    write_record("pose_accuracy", results, images=args.images, data=SET)
    print(tabulate(results, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
