"""Several processes of a run: one that fails or is killed ends the others, and the run says one sentence.

The processes are forked, which costs a tenth of a second each; tests/processes has one start as users have it.
"""

import json
import logging
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist
from fastreid.data.samplers import InferenceSampler
from fastreid.engine.train_loop import TrainerBase
from fastreid.evaluation import inference_on_dataset
from fastreid.utils import comm
from PIL import Image
from torch.multiprocessing.spawn import ProcessRaisedException
from torchvision.transforms import Compose, ToTensor

from fastreid_ext.commands import ranks as ranks_module
from fastreid_ext.commands import train
from fastreid_ext.config import get_cfg
from fastreid_ext.data.images import QueryGalleryImages
from fastreid_ext.data.loader import build_test_loader
from fastreid_ext.engine import launching
from fastreid_ext.engine.evaluation import build_evaluator
from fastreid_ext.engine.launching import LostProcessError, Ranks, spawn_ranks
from fastreid_ext.errors import ConfigError, UserError

pytestmark = pytest.mark.linux("the ranks are forked, which costs no imports; users' are spawned")
FOR_EVER = 1000


@pytest.fixture
def run(monkeypatch):
    """``run(work, here=2)``: ``work(rank)`` in forked processes of a group; none is left within seconds."""
    monkeypatch.setattr(launching, "START", "fork")

    def start(work, here=2, url=None, debug=False):
        began = time.monotonic()
        try:
            ranks = Ranks(here, 1, 0, url or ranks_module.free_url())
            spawn_ranks(ranks, lambda argument: work(comm.get_rank()), None, debug)
        finally:
            assert not multiprocessing.active_children()
            assert time.monotonic() - began < 20

    return start


def wait_for_all(rank):
    """What a process does that another one never joins."""
    dist.barrier()


def fail_alone(failure, others=wait_for_all):
    """The work in which the last process fails while the others wait for it."""
    return lambda rank: failure() if rank == dist.get_world_size() - 1 else others(rank)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def stop():
    raise UserError("the image a.jpg can't be read")


def have_a_bug():
    raise KeyError("a bug of ours")


def test_what_all_finish(run, tmp_path):
    run(lambda rank: (tmp_path / str(rank)).write_text(str(dist.get_world_size())), here=3)
    assert [(tmp_path / str(rank)).read_text() for rank in range(3)] == ["3", "3", "3"]


@pytest.mark.parametrize("others", [wait_for_all, lambda rank: time.sleep(FOR_EVER)], ids=["wait", "work on"])
def test_one_is_killed(others, run, capfd):
    with pytest.raises(UserError, match=r"^process 1 of the 2 on this machine was ended by SIGKILL \(out of mem"):
        run(fail_alone(be_killed, others))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("all_fail", [False, True])
def test_a_mistake_is_said_once(all_fail, run, capfd):
    work = (lambda rank: stop()) if all_fail else fail_alone(stop)
    with pytest.raises(UserError, match="^the image a.jpg can't be read$") as raised:
        run(work, here=3)
    assert raised.type is UserError  # not what the others say of the lost one
    assert "Traceback" not in capfd.readouterr().err


def test_debug_shows_where_it_was(run, capfd):
    with pytest.raises(UserError):
        run(fail_alone(stop), debug=True)
    assert "Traceback" in capfd.readouterr().err


def test_a_bug_keeps_its_traceback(run):
    with pytest.raises(ProcessRaisedException, match="(?s)Process 1 of 2 ended with:.*have_a_bug.*a bug of ours"):
        run(fail_alone(have_a_bug))


def test_an_end_without_a_word(run):
    with pytest.raises(UserError, match=r"ended with status \[.*7\]; continue with --resume$"):
        run(fail_alone(lambda: os._exit(7), lambda rank: time.sleep(FOR_EVER)))


def test_a_port_in_use(run):
    with pytest.raises(ConfigError, match="--dist-url auto is for one machine"):
        train.run(train_args("--dist-url", "auto", "--num-machines", "2"))
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"^the processes can't meet at {url} .*choose another --dist-url"):
            run(wait_for_all, url=url)


def test_torchruns_processes_end_with_it(monkeypatch):
    """It is their parent, in sessions of their own: after a SIGKILL of torchrun alone nobody else would end them."""
    calls = []
    monkeypatch.setenv(ranks_module.UNDER_TORCHRUN, "1")
    monkeypatch.setattr(ranks_module, "end_with_parent", lambda: calls.append("watched"))
    monkeypatch.setattr("fastreid.engine.launch", lambda work, *args, **kwargs: calls.append(work))
    train.run(train_args("--config-file", "x.yml"))
    assert calls == ["watched", launching.in_group]


def train_args(*options):
    from fastreid_ext.cli import argument_parser

    return argument_parser().parse_args(["train", *options])


def test_another_machine_is_lost(run, tmp_path, caplog):
    """Where somebody else starts the processes, each says itself that another one is gone."""

    def lose(rank):
        if rank == 1:
            dist.barrier()
            be_killed()
        log = logging.getLogger(TrainerBase.__module__)
        log.addHandler(logging.FileHandler(tmp_path / "log"))

        def wait(argument):
            dist.barrier()
            try:
                dist.all_reduce(torch.zeros(1))
            except Exception:
                log.exception("Exception during training:")
                raise

        try:
            launching.in_group(wait, None)
        except LostProcessError as error:
            (tmp_path / "said").write_text(str(error))

    with pytest.raises(UserError, match="process 1 .* SIGKILL"):
        run(lose)
    said = (tmp_path / "said").read_text()
    assert said.startswith("another process of this run has ended or does not answer (") and "--resume" in said
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize("said", ["a bug", "a socket of ours timed out"])
def test_a_bug_in_a_group_is_no_loss(said):
    with pytest.raises(RuntimeError, match=f"^{said}$"):
        launching.in_group(lambda argument: (_ for _ in ()).throw(RuntimeError(said)), None)


def test_an_interrupt_is_left_to_who_started_the_ranks(run, tmp_path):
    blocked = lambda: signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())  # noqa: E731
    run(lambda rank: (tmp_path / str(rank)).write_text(str(blocked())))
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["True", "True"] and not blocked()


# ---- evaluation in uneven shares -------------------------------------------------------------------------------------

SETTINGS = {
    "plain": [],
    "re-ranked": ["TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 3, "TEST.RERANK.K2", 2],
    "expanded": ["TEST.AQE.ENABLED", True, "TEST.AQE.QE_K", 2],
    "cuhk03": ["TEST.PROTOCOL", "cuhk03"],
    "host": ["TEST.EVALUATOR", "host"],
}


def evaluated(folder, images, queries):
    """The metrics of noise by every setting; the last process may have no image, and most have no query."""
    rng, items = np.random.RandomState(0), []
    for number in range(images):
        file = folder / f"{images}-{number}.png"
        if not file.exists():
            Image.fromarray(rng.randint(0, 255, (8, 4, 3)).astype(np.uint8)).save(file)
        items.append((str(file), number % queries, int(number >= queries)))
    dataset = QueryGalleryImages(items[:queries], items[queries:], Compose([ToTensor()]))
    found = {}
    for name, overrides in SETTINGS.items():
        cfg = get_cfg()
        cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.RANK_LIST.ENABLED", False, *overrides])
        loader = build_test_loader(dataset, InferenceSampler(images), 2, 0, torch.device("cpu"))
        evaluator = build_evaluator(cfg, "noise", dataset, queries, str(folder))
        found[name] = inference_on_dataset(Pixels(), loader, evaluator)
    return found


class Pixels(torch.nn.Module):
    def forward(self, batch):
        return batch["images"].flatten(1)


@pytest.mark.slow
@pytest.mark.parametrize(("images", "queries"), [(3, 1), (9, 2)])
def test_fewer_queries_or_images_than_processes(images, queries, run, tmp_path):
    """Numbers are those of one process."""

    def work(rank):
        results = evaluated(tmp_path, images, queries)
        if rank == 0:
            (tmp_path / "results.json").write_text(json.dumps(results, default=float))

    expected = evaluated(tmp_path, images, queries)
    run(work, here=4)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(expected, default=float))
    assert {name: values["mAP"] > 0 for name, values in expected.items()} == dict.fromkeys(SETTINGS, True)
