"""Files of a project that are the same for all papers: train_net.py, the test and the README."""

TRAIN_NET = '''\
#!/usr/bin/env python
{header}
"""Train or evaluate {project}: train_net.py --config-file projects/{project}/configs/{config}"""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
sys.path[:0] = [str(PROJECT), str(PROJECT.parents[1])]

from fastreid.config import get_cfg  # noqa: E402
from fastreid.engine import default_argument_parser, default_setup, launch  # noqa: E402
from fastreid.utils.checkpoint import Checkpointer  # noqa: E402

from {package} import Trainer, add_config  # noqa: E402


def setup(args):
    """Return the config of the command line."""
    cfg = get_cfg()
    add_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


def main(args):
    """Train, or evaluate MODEL.WEIGHTS."""
    cfg = setup(args)
    if args.eval_only:
        cfg.defrost()
        cfg.MODEL.BACKBONE.PRETRAIN = False
        model = Trainer.build_model(cfg)
        Checkpointer(model).load(cfg.MODEL.WEIGHTS)
        return Trainer.test(cfg, model)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    print("Command Line Args:", args)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
'''

INIT = '''\
{header}
"""{docstring}"""

{imports}


def add_config(cfg: CfgNode) -> None:
    """Add the keys of this project to FastReID's."""
    for add_keys in ({adders}):
        add_keys(cfg)
'''

TWO_STEPS = '''\
{header}
"""Build every config of this project and take two training steps on drawn images: python {place} [KEY VALUE ...]"""

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT.parents[1])]
FOLDER = tempfile.TemporaryDirectory()
os.environ["FASTREID_DATASETS"] = FOLDER.name  # FastReID reads it when it is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

warnings.simplefilter("ignore")
from fastreid.config import get_cfg  # noqa: E402

from {package} import Trainer, add_config  # noqa: E402

CUDA = torch.cuda.is_available()
SMALL = {{
    "MODEL.DEVICE": "cuda" if CUDA else "cpu",
    "MODEL.BACKBONE.PRETRAIN": False,
    "DATASETS.NAMES": ("Market1501",),
    "DATASETS.TESTS": ("Market1501",),
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.AMP.ENABLED": CUDA,
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.DELAY_EPOCHS": 0,
    "SOLVER.FREEZE_ITERS": 0,
    "TEST.EVAL_PERIOD": 1,
    "TEST.IMS_PER_BATCH": 8,
}}


class QuietTrainer(Trainer):
    """Writes no events: FastReID's printer divides by zero in runs of fewer than four iterations."""

    def build_writers(self):
        """Return none."""
        return []


def draw(root):
    """Write a data set in Market1501's layout, two batches of training images, and joints of them."""
    rng, names = np.random.RandomState(0), []
    folders = {{"bounding_box_train": range(1, 5), "query": (5, 6), "bounding_box_test": range(5, 11)}}
    for folder, people in folders.items():
        path = Path(root, "Market-1501-v15.09.15", folder)
        path.mkdir(parents=True)
        for person in people:
            for camera in (1,) if folder == "query" else (1, 2):
                name = f"{{person:04d}}_c{{camera}}s1_000001_00.jpg"
                Image.fromarray(rng.randint(0, 256, (128, 64, 3)).astype(np.uint8)).save(path / name)
                names.append(f"{{folder}}/{{name}}")
    joints = np.concatenate([rng.rand(len(names), 17, 2) * (63, 127), np.ones((len(names), 17, 1))], axis=2)
    np.savez(Path(root, "joints.npz"), names=np.array(names), joints=joints, sizes=np.full((len(names), 2), (64, 128)))


def check(config, opts):
    """Train two steps with a config."""
    cfg = get_cfg()
    add_config(cfg)
    cfg.merge_from_file(str(config))
    cfg.OUTPUT_DIR = str(Path(FOLDER.name, config.stem))
    for key, value in SMALL.items():
        cfg.merge_from_list([key, value])
    if "JOINTS" in cfg.INPUT:
        cfg.INPUT.JOINTS.FILES = ["joints.npz"]
    cfg.merge_from_list(opts)
    Path(cfg.OUTPUT_DIR).mkdir()
    torch.manual_seed(0)
    trainer = QuietTrainer(cfg)
    before = {{name: value.detach().clone() for name, value in trainer.model.named_parameters()}}
    results = trainer.train()
    trained = {{name: value for name, value in trainer.model.named_parameters() if value.requires_grad}}
    moved = [name for name, value in trained.items() if not torch.equal(value, before[name])]
    done = f"{{trainer.iter}} steps, {{len(moved)}} of {{len(trained)}} parameters moved"
    assert trainer.iter >= 2 and len(moved) > len(trained) / 2, done
    print(f"{{config.name}}: {{done}}, mAP {{results['mAP']:.1f}}")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    draw(FOLDER.name)
    for each in sorted(PROJECT.glob("configs/*.yml")):
        if not each.name.startswith("Base-"):
            check(each, sys.argv[1:])
'''

README = """\
# {title}

{docstring}

It needs Python 3.10 or later and a recent torch. Train and evaluate from the top of the repository:

```bash
python projects/{project}/train_net.py --config-file projects/{project}/configs/{config}
python projects/{project}/train_net.py --config-file projects/{project}/configs/{config} --eval-only \\
    MODEL.WEIGHTS model_final.pth
python {place}  # builds every config and takes two steps, without data sets
```
{notes}
| config | what it is |
|---|---|
{configs}

These configs were not trained on the real data sets by those who wrote this project. It is made from fastreid-ext
{version}, which has more: every row of the paper's tables, other trunks, checks of all settings. `{package}/` is the
paper; `{package}/shared/` is what fastreid-ext's papers have in common. Each file begins with its licence, Apache-2.0,
which is FastReID's own. Not here: checks of settings, and trunks other than FastReID's ResNet{own_trunk}.
"""

NOTES = {
    "MGRe": """
Training needs joints of every image: `INPUT.JOINTS.FILES` names a .npz file for each set of `DATASETS.NAMES`, with the
arrays that `mgre/joints.py` describes. Tests need none.
""",
    "Res2NetMultiTask": """
ImageNet weights of a Res2Net are its authors' (CC BY-NC-SA 4.0): `MODEL.BACKBONE.PRETRAIN_PATH`, or torch's folder.
""",
}
