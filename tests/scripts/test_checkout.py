"""FastReID's own scripts, unedited, in the git checkout that FASTREID_CHECKOUT names; skipped without one.

FASTREID_CHECKOUT=path/to/fast-reid pytest tests/scripts/test_checkout.py
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastreid_ext

ROOT = Path(fastreid_ext.__file__).parents[1]
CHECKOUT = Path(os.environ.get("FASTREID_CHECKOUT") or os.devnull).resolve()
pytestmark = [
    pytest.mark.slow,
    # test_running.py and test_children.py run scripts of our own by the same mechanisms.
    pytest.mark.skipif(  # CI has no git checkout of FastReID, whose files are not ours to ship
        not (CHECKOUT / "tools" / "train_net.py").is_file(), reason="FASTREID_CHECKOUT names no checkout"
    ),
]

CONFIG = "configs/Market1501/bagtricks_R50.yml"
TINY = {
    "DATASETS.NAMES": "('SynthReIDTiny',)",
    "DATASETS.TESTS": "('SynthReIDTiny',)",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.FEAT_DIM": 512,
    "MODEL.BACKBONE.PRETRAIN": False,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_ITERS": 0,
    "TEST.EVAL_PERIOD": 1,
}


@pytest.fixture(scope="module")
def run(synth_root):
    """``run(starter, script, ...)``: the output of a script of the checkout; it must not fail."""

    def script(*words, starter=()):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "FASTREID_DATASETS": str(synth_root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *starter, "-m", "fastreid_ext", *map(str, words)]
        done = subprocess.run(command, env=env, cwd=CHECKOUT, capture_output=True, text=True, timeout=550)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return script


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """The folder of a model that tools/train_net.py trained in two processes."""
    out = tmp_path_factory.mktemp("checkout") / "out"
    pairs = [word for pair in {**TINY, "OUTPUT_DIR": out}.items() for word in pair]
    said = run("tools/train_net.py", "--config-file", CONFIG, "--num-gpus", 2, "--dist-url", "auto", *pairs)
    assert "Starting training from epoch 0" in said and "mAP" in said and "on 2 devices" in said
    return out


def of(trained):
    return "--config-file", trained / "config.yaml", "--opts", "MODEL.WEIGHTS", trained / "model_final.pth"


def test_every_patch_fits(tmp_path):
    """None is skipped, and none finds a source that it was not written for."""
    code = "import fastreid_ext, fastreid; print(fastreid.__file__, *(o.status for o in fastreid_ext.compat.report()))"
    path = os.pathsep.join(map(str, (CHECKOUT, ROOT)))
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, cwd=tmp_path)
    file, *statuses = done.stdout.split()
    assert Path(file).parents[1] == CHECKOUT, done.stderr
    assert {*"".join(statuses).replace("applied", "a").replace("notneeded", "n")} <= {"a", "n"} and len(statuses) > 20


def test_train_net_under_torchrun_evaluates(run, trained):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    config, weights = ("--config-file", trained / "config.yaml"), ("MODEL.WEIGHTS", trained / "model_final.pth")
    said = run("tools/train_net.py", *config, "--eval-only", *weights, starter=torchrun)
    assert said.count("mAP") == 1 and "on 2 devices" in said


def test_demo(run, trained, synth_root, tmp_path):
    images = sorted((synth_root / "SynthReID-tiny" / "query").glob("*.jpg"))[:3]
    run("demo/demo.py", "--output", tmp_path / "features", "--input", *images, *of(trained))
    features = [np.load(tmp_path / "features" / f"{image.stem}.npy") for image in images]
    np.testing.assert_allclose([np.linalg.norm(each) for each in features], 1.0, rtol=1e-5)


def test_visualize_result(run, trained, tmp_path):
    """Its loader's workers are spawned: demo/predictor.py sets that."""
    workers = ("DATALOADER.NUM_WORKERS", 1)
    options = ("--dataset-name", "SynthReIDTiny", "--output", tmp_path, "--num-vis", 2)
    run("demo/visualize_result.py", *options, *of(trained), *workers)
    assert len(list(tmp_path.glob("*.jpg"))) == 3 and (tmp_path / "roc_info.pickle").is_file()


def test_onnx_export(run, trained, tmp_path):
    if not all(map(importlib.util.find_spec, ("onnxoptimizer", "onnxsim", "onnxruntime"))):
        pytest.skip("the script needs onnxoptimizer and onnxsim")
    import onnxruntime
    import torch
    from fastreid.modeling import build_model
    from fastreid.utils.checkpoint import Checkpointer

    from fastreid_ext.config import get_cfg

    run("tools/deploy/onnx_export.py", "--output", tmp_path, *of(trained))
    cfg = get_cfg()
    cfg.merge_from_file(str(trained / "config.yaml"))
    model = build_model(cfg).eval()
    Checkpointer(model).load(str(trained / "model_final.pth"))
    session = onnxruntime.InferenceSession(tmp_path / "baseline.onnx")
    images = torch.rand(1, 3, 64, 32) * 255
    (features,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        expected = model({"images": images}).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())
