"""FastReID as somebody else left it: renamed functions, faults that are gone, names that it registers itself."""

import shutil
from pathlib import Path

import fastreid
import pytest

# Runs before everything: the fake host is the one that is found, and warnings are kept.
START = """
import sys, warnings

sys.path.insert(0, {path!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastreid_ext
    import fastreid  # LINE
warned = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
lines = {{open(w.filename).read().splitlines()[w.lineno - 1] for w in caught if str(w.message) in warned}}
assert fastreid.__file__.startswith({path!r}), fastreid.__file__
status = {{o.patch.name: o.status for o in fastreid_ext.compat.report()}}
"""


@pytest.fixture
def host(tmp_path, forked):
    """``host({"data/build.py": [(old, new)]}, code)``: runs code with a FastReID that is edited so."""

    def run(edits, code, rename=()):
        copy = tmp_path / "fork" / "fastreid"
        shutil.copytree(Path(fastreid.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for file, pairs in edits.items():
            source = (copy / file).read_text(encoding="utf-8")
            for old, new in pairs:
                assert old in source, (file, old)
                source = source.replace(old, new)
            (copy / file).write_text(source, encoding="utf-8")
        for old, new in rename:
            (copy / old).rename(copy / new)
        return forked(START.format(path=str(copy.parent)) + code)

    return run


def test_a_renamed_function_skips_its_patch(host):
    edits = {"utils/comm.py": [("_serialize_to_tensor", "_to_bytes")]}
    code = """
assert [name for name, what in status.items() if what == "skipped"] == ["gather-bytes"]
(message,) = warned
assert "'gather-bytes' (utils/comm.py:106) is skipped: this FastReID has no fastreid.utils.comm:_serialize" in message
assert message.endswith("Without it ranks warn of torch.ByteStorage when they gather, and raise once torch drops it.")
assert lines == {"    import fastreid  # LINE"}
"""
    host(edits, code)


def test_a_renamed_module_skips_the_patches_that_need_it(host):
    files = ("engine/train_loop.py", "solver/build.py")
    edits = {file: [("fastreid.utils.params", "fastreid.utils.flat")] for file in files}
    code = """
skipped = [name for name, what in status.items() if what == "skipped"]
assert skipped == ["zero-grad", "amp"] and len(warned) == 2, warned
assert "changes no parameter, without an error" in warned[0]
from fastreid.modeling import META_ARCH_REGISTRY
assert META_ARCH_REGISTRY.get("DeepMiner")
"""
    host(edits, code, rename=[("utils/params.py", "utils/flat.py")])


def test_faults_that_are_gone_and_faults_that_are_changed(host):
    edits = {
        # gone: an evaluator that compiles nothing, and bytes by frombuffer
        "evaluation/reid_evaluation.py": [("                compile_helper()", "                pass")],
        "utils/comm.py": [
            ("torch.ByteStorage.from_buffer(buffer)", "bytearray(buffer)"),
            ("torch.ByteTensor(storage)", "torch.frombuffer(storage, dtype=torch.uint8)"),
        ],
        # changed, with the fault
        "data/build.py": [("num_workers=4):", "num_workers=3):")],
    }
    code = """
assert [name for name, what in status.items() if what == "not needed"] == ["never-compile", "gather-bytes"]
assert "skipped" not in status.values()
from fastreid.evaluation import ReidEvaluator
from fastreid.utils import comm
for function in (ReidEvaluator._compile_dependencies, comm._serialize_to_tensor):
    assert function.__code__.co_filename.startswith(sys.path[0])
(message,) = warned
assert "'test-workers'" in message and message.endswith("the patch is applied all the same.")
assert lines == {"    import fastreid  # LINE"}
"""
    host(edits, code)


REGISTERED = """

@{registry}.register()
{what} {name}{rest}:
    '''The fork's own.'''
"""


def test_a_fork_that_has_our_names(host):
    """It registers them before us, as its own package does, and a project of its own after us."""

    def before(line, **words):
        return [(line, REGISTERED.format(**{"what": "class", "rest": "", **words}) + line)]

    edits = {
        "data/datasets/__init__.py": before("\n__all__ =", registry="DATASET_REGISTRY", name="OccludedDuke"),
        "modeling/meta_arch/build.py": before("\ndef build_model", registry="META_ARCH_REGISTRY", name="MGRe"),
        "modeling/heads/build.py": before(
            "\ndef build_heads", registry="REID_HEADS_REGISTRY", name="MaskSeparatedHead"
        ),
        "modeling/backbones/build.py": before(
            "\ndef build_backbone",
            registry="BACKBONE_REGISTRY",
            what="def",
            name="build_res2net_backbone",
            rest="(cfg)",
        ),
        # A data set that the fork has changed; the others of FastReID are as released, and ours take their names.
        "data/datasets/market1501.py": [("assert 1 <= camid <= 6", "assert 1 <= camid <= 60")],
    }
    code = """
import fastreid.modeling
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

taken = (
    (DATASET_REGISTRY, "OccludedDuke"), (DATASET_REGISTRY, "Market1501"), (META_ARCH_REGISTRY, "MGRe"),
    (BACKBONE_REGISTRY, "build_res2net_backbone"), (REID_HEADS_REGISTRY, "MaskSeparatedHead"),
)
assert len(warned) == 5 and lines == {"    import fastreid  # LINE"}, warned
for registry, name in taken:
    assert sum(f"a config that says {name!r} gets fastreid." in message for message in warned) == 1, (name, warned)
    assert registry.get(name).__module__.startswith("fastreid.")
    assert registry.get(f"fastreid_ext.{name}").__module__.startswith("fastreid_ext.")
assert DATASET_REGISTRY.get("DukeMTMC").__module__ == "fastreid_ext.data.datasets.market1501"
from fastreid_ext.data.catalog import load_dataset
import os, pathlib
root = pathlib.Path(sys.path[0]) / "sets"
os.environ["FASTREID_DATASETS"] = str(root)
for folder, names in {"bounding_box_train": ["1_c1_1"], "query": ["2_c1_1"], "bounding_box_test": ["2_c2_1"]}.items():
    (root / "Occluded_Duke" / folder).mkdir(parents=True)
    for name in names:
        (root / "Occluded_Duke" / folder / f"{name}.jpg").touch()
assert [item[1:] for item in load_dataset("fastreid_ext.OccludedDuke", ("query",)).query] == [(2, 0)]
from fastreid_ext.mgre import MGRe
assert META_ARCH_REGISTRY.get("fastreid_ext.MGRe") is MGRe

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")

    # The data sets of FastReID's projects/PartialReID have these names.
    @DATASET_REGISTRY.register()
    class PartialREID: pass

    @DATASET_REGISTRY.register()
    class PartialiLIDS: pass

    @DATASET_REGISTRY.register()
    class OccludedREID: pass

assert len(caught) == 3 and DATASET_REGISTRY.get("PartialREID") is PartialREID
assert DATASET_REGISTRY.get("fastreid_ext.PartialREID").__module__ == "fastreid_ext.data.datasets.body_images"

from fastreid_ext import get_cfg
cfg = get_cfg()
cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "fastreid_ext.MGRe"])
assert META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE) is MGRe
"""
    host(edits, code)
