"""Several processes fill one feature store: with the bytes of one process, whoever is killed when."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
import warm
from fastreid.utils import comm
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.engine import launching
from fastreid_ext.errors import FileError
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.search import parts
from fastreid_ext.search.features import StoreError, open_store
from fastreid_ext.search.parts import Filling, _agreed, fill_in_parts
from fastreid_ext.search.writer import FeatureWriter

FILES = ("features.npy", "images.csv", "meta.json")
GALLERY = ("--dataset", "SynthReIDTiny", "--split", "gallery", "--save-every", "8")  # 88 images, 8 in a batch

pytestmark = pytest.mark.linux("the ranks are forked, which costs no imports; users' are spawned")


@pytest.fixture
def command(model_arguments, synth_tiny, monkeypatch):
    """``command(output, "--num-gpus", 2)``: the arguments of extract; its processes are forked."""
    monkeypatch.setattr(launching, "START", "fork")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the forked ranks would wait for threads that are not there
    config, pairs = model_arguments()

    def arguments(output, *options, images=GALLERY):
        url = ["--dist-url", "auto"] if "--num-gpus" in options else []
        return [str(x) for x in ["extract", *config, "--output", output, *images, *options, *url, *pairs]]

    yield arguments
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(model_arguments, synth_root, tmp_path_factory):
    """The store that one process writes."""
    folder = tmp_path_factory.mktemp("alone") / "store"
    config, pairs = model_arguments()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(synth_root))
        assert main([*("extract", *config, "--output", str(folder)), *GALLERY, *pairs]) == 0
    torch.set_num_threads(threads)
    return folder


def assert_same(folder, expected):
    assert {path.name for path in folder.iterdir()} == {*FILES, ".lock"}
    for name in FILES:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name


def killing(monkeypatch, rank: int, images: int):
    """Let a rank kill itself once it has added so many images to its part."""
    add = FeatureWriter.add

    def kill(self, *args):
        add(self, *args)
        if comm.get_rank() == rank and comm.get_world_size() > 1 and self.done >= images:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(FeatureWriter, "add", kill)


def part_done(folder):
    metas = sorted((folder / "parts").glob("*/meta.json"))
    return [json.loads(meta.read_text())["done"] for meta in metas]


@pytest.mark.parametrize("ranks", [2])
def test_the_bytes_are_those_of_one_process(ranks, command, alone, tmp_path, capfd):
    assert main(command(tmp_path / "s", "--num-gpus", ranks)) == 0
    assert_same(tmp_path / "s", alone)
    printed = capfd.readouterr()
    assert printed.out.count("88 features of length 512 (float32) of SynthReIDTiny/gallery") == 1
    assert printed.err.count("features: 88/88 images (100%)") == 1


@pytest.mark.parametrize("again", [(), ("--num-gpus", 3)])
def test_a_rank_is_killed_and_any_number_goes_on(again, command, alone, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        killing(patch, rank=1, images=24)
        began = time.monotonic()
        assert main(command(tmp_path / "s", "--num-gpus", 2)) == 1
        assert time.monotonic() - began < 30
    (sentence,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fastreid-ext extract:")]
    assert "process 1 of the 2 on this machine was ended by SIGKILL" in sentence
    assert sentence.endswith("continue with the same command")
    before = part_done(tmp_path / "s")
    assert 16 <= before[0] <= 32 and before[1] == 16  # in step; what was not saved is lost
    assert main(command(tmp_path / "s", *again)) == 0
    assert_same(tmp_path / "s", alone)
    assert (
        f"88 features of length 512 (float32) of SynthReIDTiny/gallery in {tmp_path / 's'}, {sum(before)} of them"
        in (capfd.readouterr().out)
    )


def test_what_one_process_began_several_go_on_with(command, alone, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FeatureWriter, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        add = FeatureWriter.add

        def stop(self, *args):
            if self.done >= 40:
                raise KeyboardInterrupt
            add(self, *args)

        patch.setattr(FeatureWriter, "add", stop)
        assert main(command(tmp_path / "s")) == 130
    assert main(command(tmp_path / "s", "--num-gpus", 2)) == 0
    assert_same(tmp_path / "s", alone)


@pytest.mark.parametrize("moment", ["take", "finish", "rmtree"])
def test_killed_while_the_parts_are_joined(moment, command, alone, tmp_path, monkeypatch):
    """One process goes on with them, and fills nothing again."""
    folder, calls = tmp_path / "s", []

    def stop(self, *args):
        if moment in ("finish", "rmtree") or len(calls) >= 1:
            raise KeyboardInterrupt
        calls.append(0)
        return real(self, *args)

    with monkeypatch.context() as patch:
        killing(patch, rank=1, images=24)
        assert main(command(folder, "--num-gpus", 2)) == 1
    with monkeypatch.context() as patch:
        if moment == "rmtree":
            patch.setattr(shutil, "rmtree", stop)
        else:
            real = getattr(FeatureWriter, moment)
            in_join = parts._join

            def join(*args):
                patch.setattr(FeatureWriter, moment, stop)
                in_join(*args)

            patch.setattr(parts, "_join", join)
        assert main(command(folder)) == 130
    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "features", None)  # all have features
        assert main(command(folder)) == 0
    assert_same(folder, alone)


def test_unreadable_images_of_a_whole_part(command, synth_tiny, alone, tmp_path):
    images = open_store(alone).images
    (tmp_path / "in").mkdir()
    for n in range(16):
        Image.open(images.file(n)).save(tmp_path / "in" / f"{n:02d}.png")
        if n >= 8 or n == 3:
            (tmp_path / "in" / f"{n:02d}.png").write_bytes(b"no image")
    options = {"images": ("--images", tmp_path / "in", "--skip-unreadable", "--half")}
    assert main(command(tmp_path / "one", **options)) == 0
    assert main(command(tmp_path / "two", "--num-gpus", 2, **options)) == 0
    assert_same(tmp_path / "two", tmp_path / "one")
    assert len(open_store(tmp_path / "two")) == 7


def test_a_mistake_ends_all_of_them(command, tmp_path, sentence_of):
    (tmp_path / "in").mkdir()
    for n in range(16):
        (tmp_path / "in" / f"{n:02d}.png").write_bytes(b"no image")
    sentence = sentence_of(main(command(tmp_path / "s", "--num-gpus", 2, images=("--images", tmp_path / "in"))))
    assert "can't be read" in sentence and "Traceback" not in sentence


# ---- the plan and what the processes agree on -----------------------------------------------------------------------


@pytest.fixture
def filling(tmp_path, listed, identity):
    """``filling(20)``: how a store of so many images is filled by nobody."""

    def make(count=20, name="store"):
        return Filling(
            tmp_path / name,
            listed(count),
            identity(),
            lambda *w: FeatureWriter(*w, identity()),
            lambda w: iter(()),
            4,
            8,
        )

    return make


@pytest.mark.parametrize(
    "plan",
    [
        "{",
        "[]",
        '{"format": "another"}',
        '{"format": "fastreid-ext parts 1", "bounds": [0, 8]}',
        '{"format": "fastreid-ext parts 1", "bounds": [0, 12, 8, 20]}',
        '{"format": "fastreid-ext parts 1", "bounds": [4, 20]}',
        '{"format": "fastreid-ext parts 1", "bounds": ["0", 20]}',
        '{"format": "fastreid-ext parts 1", "bounds": [-20, 0, 20]}',
        '{"format": "fastreid-ext parts 1"}',
    ],
)
def test_a_damaged_plan(plan, filling):
    how = filling()
    (how.folder / "parts").mkdir(parents=True)
    (how.folder / "parts" / "plan.json").write_text(plan)
    with pytest.raises((StoreError, FileError), match="plan.json"):
        fill_in_parts(how)


@pytest.mark.parametrize(
    ("world", "count", "bounds"),
    [(2, 20, [0, 8, 20]), (3, 20, [0, 4, 12, 20]), (8, 6, [0, 4, 6]), (4, 3, [0, 3]), (2, 16, [0, 8, 16])],
)
def test_parts_are_whole_batches(world, count, bounds, filling, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: world)
    how = filling(count)
    assert parts._make_plan(how, how.new_writer(how.folder, how.images)) == bounds


def test_all_features_are_there_and_the_store_is_not_finished(filling):
    """A process was killed between its last save and the end; nothing is left to divide."""
    how = filling()
    writer = how.new_writer(how.folder, how.images)
    rows = np.arange(100, dtype=np.float32).reshape(20, 5)
    writer.add(rows, 20)
    writer.save()
    assert fill_in_parts(how) == 20
    np.testing.assert_array_equal(open_store(how.folder).features, rows)
    assert not (how.folder / "parts").exists()


def test_processes_that_do_not_agree(filling, listed, identity, tmp_path, monkeypatch):
    how = filling()
    parts_of_0 = tmp_path / "store" / "parts"
    parts_of_0.mkdir(parents=True)
    (parts_of_0 / "plan.json").write_text("the plan")
    first = ([0, 20], how.images.fingerprint(), identity(), "the plan")

    def told(*words):
        monkeypatch.setattr(comm, "all_gather", lambda own: [words, own])

    told(*first)
    assert _agreed(how, None) == [0, 20]
    told(first[0], first[1], identity(model_sha256="c" * 64), first[3])
    with pytest.raises(StoreError, match="process 0 can't be compared: other weights"):
        _agreed(how, None)
    told(first[0], listed(19).fingerprint(), *first[2:])
    with pytest.raises(StoreError, match=r"lists other images \(20 of the list of a test\) than process 0"):
        _agreed(how, None)
    told(*first)
    with pytest.raises(FileError, match="must be one folder that all machines share"):
        _agreed(filling(name="elsewhere"), None)


RANK_KILLED = """
import os, signal, sys
import tiny_resnet
from fastreid_ext.search.writer import FeatureWriter
add = FeatureWriter.add
def killing(self, *args):
    add(self, *args)
    if os.environ["RANK"] == "1" and self.done >= 24:
        os.kill(os.getpid(), signal.SIGKILL)
FeatureWriter.add = killing
from fastreid_ext.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_under_torchrun(command, alone, tmp_path):
    """The one that is left says that another is gone, and does not wait; the next start ends it."""
    arguments = command(tmp_path / "s")
    began = time.monotonic()
    done = warm.torchrun(["-c", RANK_KILLED, *arguments], os.environ)
    assert time.monotonic() - began < 60
    assert done.returncode == 1, done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("fastreid-ext extract:")]
    assert "another process of this run has ended" in sentence and sentence.endswith("again with the same command")
    done = warm.torchrun(["-c", RANK_KILLED.replace("24", "999"), *arguments], os.environ)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "s", alone)
