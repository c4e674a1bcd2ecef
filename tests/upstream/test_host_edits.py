"""The repairs of FastReID's files: small, found by name, and made once."""

import ast
import shutil
from pathlib import Path

import fastreid
import numpy as np
import pytest
import torch
from fastreid.utils.params import ContiguousParams
from PIL import Image

from fastreid_ext.upstream.checkout import CheckoutError
from fastreid_ext.upstream.edits import Text
from fastreid_ext.upstream.host_edits import EDITS, healed

HOST = Path(fastreid.__file__).parent


def healed_in(folder):
    """What would change in a folder with a package fastreid."""
    files = {path.relative_to(folder).as_posix(): path for path in (folder / "fastreid").rglob("*.py*")}
    return healed(lambda path: files[path].read_bytes() if path in files else None)


@pytest.fixture(scope="module")
def repaired():
    return healed_in(HOST.parent)


def test_every_edit_changes_the_wheel():
    for edit in EDITS:
        text = Text((HOST / edit.file).read_text(encoding="utf-8"))
        assert list(edit.find(text)), (edit.file, edit.what)


def test_few_lines_change(repaired):
    for path, text in repaired.items():
        before = (HOST.parent / path).read_text(encoding="utf-8").splitlines()
        changed = set(text.decode().splitlines()) - set(before)
        assert 1 <= len(changed) <= 5, (path, changed)
        if path.endswith(".py"):
            ast.parse(text)


def test_a_second_time_nothing_is_left(repaired, tmp_path):
    shutil.copytree(HOST, tmp_path / "fastreid", ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in repaired.items():
        (tmp_path / path).write_bytes(text)
    assert healed_in(tmp_path) == {}


def healed_alone(path, content):
    """What a file of a fork becomes that has no other; None if it stays as it is."""
    content = content if isinstance(content, bytes) else content.encode()
    path = f"fastreid/{path}"
    changed = healed(lambda asked: content if asked == path else None)
    assert set(changed) <= {path}
    return changed.get(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import Mapping, deque", "import deque\nfrom collections.abc import Mapping"),
        ("import Mapping as M, OrderedDict as O", "import OrderedDict as O\nfrom collections.abc import Mapping as M"),
        ("import (Mapping,\n  Sequence)", ".abc import Mapping, Sequence"),
    ],
)
def test_every_name_of_an_import_of_collections_stays(before, after):
    after = f"from collections{after}" if after.startswith(".") else f"from collections {after}"
    assert healed_alone("data/build.py", f"from collections {before}\n") == f"{after}\n".encode()


def test_every_name_that_forks_take_of_torch_six_stays():
    """As FastReID's own data/build.py has it until September 2021."""
    text = "from torch._six import container_abcs, string_classes as texts, int_classes, inf\n"
    names = {}
    exec(healed_alone("data/build.py", text), names)
    assert isinstance({}, names["container_abcs"].Mapping) and isinstance("", names["texts"])
    assert isinstance(1, names["int_classes"]) and names["inf"] == float("inf")


READS_DIFFERENTLY = (
    ("data/build.py", "from .collections import Mapping\n"),
    ("data/build.py", "from torch._six import string_classes, with_metaclass\n"),
    ("data/build.py", "try:\n    from collections import Mapping\nexcept ImportError:\n    pass\n"),
    ("data/data_utils.py", "class DataLoaderX:\n    def __init__(self):\n        self.stream = Stream()\n"),
    ("data/data_utils.py", "class DataLoaderX:\n    def __iter__(self):\n        return 1\n"),
    ("data/data_utils.py", "class DataLoaderX:\n    self.stream = None\n    def __iter__(self): return 1\n"),
    ("data/data_utils.py", "class DataLoaderX:\n    self.stream = None\n    def __iter__(self):\n        'No more.'\n"),
    ("data/transforms/functional.py", "x = torch.ByteTensor(torch.ByteStorage.from_buffer(data))\n"),
    ("data/transforms/functional.py", "x = np.array(image, copy=True)\n"),
    ("engine/train_loop.py", "self.optimizer.zero_grad( set_to_none = False )\n"),
    ("evaluation/rank.py", "all_cmc.append(cmc[0])\nall_cmc.append(cmc[:10])\nall_cmc.append(cmc[:max_rank] * 2)\n"),
)


@pytest.mark.parametrize(("path", "text"), READS_DIFFERENTLY)
def test_a_fork_that_reads_differently_is_passed_over(path, text):
    assert healed_alone(path, text) is None


def test_what_an_array_is_made_of_stays():
    text = "np.array(image, dtype=np.uint8, copy=False)\n"
    assert healed_alone("data/transforms/functional.py", text) == b"np.asarray(image, dtype=np.uint8)\n"


def test_lines_go_in_front_of_a_decorator():
    text = "class DataLoaderX:\n\tself.stream = None\n\tdef __iter__(self):\n\t\t@one\n\t\tdef two(): pass\n"
    lines = healed_alone("data/data_utils.py", text).decode().splitlines()
    assert lines[3:6] == ["\t\tif self.stream is None:", "\t\t\treturn super().__iter__()", "\t\t@one"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
def test_ends_of_lines_and_letters_stay(end, encoding):
    """A form feed and its like end a line for str.splitlines, and not for Python."""
    head = "" if encoding == "utf-8-sig" else f"# -*- coding: {encoding} -*-{end}"
    rest = f"x = '中 {'' if encoding == 'gbk' else chr(0x2028)}' # \x0b{end}\x0c"
    text = f"{head}{rest}{end}from collections import Mapping, deque{end}y = 1{end}"
    after = f"{head}{rest}{end}from collections import deque{end}from collections.abc import Mapping{end}y = 1{end}"
    assert healed_alone("data/build.py", text.encode(encoding)) == after.encode(encoding)


NO_PYTHON = (
    *(b"print 'of Python 2'\n", b"<<<<<<< HEAD\n", b"name = '\xe4'\n", b"a = '\0'\n"),
    *(b"# coding: hex\n", b"a = " + b"-" * 100_000 + b"1\n", b"a = " + b"a." * 100_000 + b"a\n"),
)


@pytest.mark.parametrize("content", NO_PYTHON, ids=lambda content: repr(content[:16]))
def test_a_file_that_is_no_python(content):
    with pytest.raises(CheckoutError, match="build.py can't be parsed as Python 3 .*: fix it, or leave out --heals"):
        healed_alone("data/build.py", content)


def test_a_file_that_is_nested_too_deeply():
    with pytest.raises(CheckoutError, match="train_loop.py is nested too deeply to be edited: fix it, or leave out"):
        healed_alone("engine/train_loop.py", f"x = a{'.a' * 600}()\n")


def test_the_compiled_ranking_reads_no_further_than_its_query(repaired):
    """Where a query keeps fewer images than the curve is long, what lies behind them is of the query before it."""
    text = repaired["fastreid/evaluation/rank_cylib/rank_cy.pyx"].decode()
    classic, _, market = text.partition("eval_market1501_cy(float")  # the classic split's curves have their own length
    assert "all_cmc[q_idx, rank_idx] = cmc[min(rank_idx, num_g_real - 1)]\n" in market
    assert "all_cmc[q_idx, rank_idx] = cmc[rank_idx]\n" in classic


def names_of(repaired, module):
    """What a repaired module of FastReID defines."""
    path = f"{module.replace('.', '/')}.py"
    names = {"__name__": module, "__package__": module.rpartition(".")[0]}
    exec(compile(repaired[path], path, "exec"), names)
    return names


def test_the_repaired_ranking_counts_as_ours(repaired):
    """Two queries that keep three and four of four gallery images; see SMALL_GALLERY of fastreid_ext.compat."""
    from fastreid_ext.compat.evaluation import SMALL_GALLERY

    eval_market1501 = names_of(repaired, "fastreid.evaluation.rank")["eval_market1501"]
    cmc, precisions, _ = eval_market1501(*SMALL_GALLERY, max_rank=4)
    assert np.allclose(cmc, [0.5, 1, 1, 1]) and np.allclose(precisions, [0.5, 1])


@pytest.mark.parametrize("make", [None, "#!/bin/sh\nexit 2\n"], ids=["no make", "a make that fails"])
def test_the_repaired_evaluation_goes_on_without_the_compiled_tool(make, repaired, tmp_path, monkeypatch, capsys):
    if make:
        (tmp_path / "make").write_text(make)
        (tmp_path / "make").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    names = names_of(repaired, "fastreid.evaluation.rank_cylib.__init__")
    names["__file__"] = str(tmp_path / "__init__.py")
    names["compile_helper"]()
    assert "FastReID ranks in Python instead." in capsys.readouterr().out


class Mean(torch.nn.Linear):
    def forward(self, batch):
        return {"loss": super().forward(batch).mean()}


def test_the_repaired_trainer_changes_parameters(repaired):
    """With flat buffers, as FastReID's own DefaultTrainer has them."""
    model = Mean(1, 1)
    before = model.weight.item()
    settings = {"freeze_status": "normal", "lr": 0.5, "weight_decay": 0.0}
    flat = ContiguousParams([{"params": [value], **settings} for value in model.parameters()])
    kind = names_of(repaired, "fastreid.engine.train_loop")["SimpleTrainer"]
    trainer = kind(model, [torch.ones(2, 1)], torch.optim.SGD(flat.contiguous(), lr=0.5), flat)
    trainer._write_metrics = lambda *of_a_step: None
    trainer.run_step()
    assert model.weight.item() == pytest.approx(before - 0.5)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "I", "F"])
def test_the_repaired_tensor_has_the_pixels(mode, repaired):
    image = Image.fromarray(np.random.randint(0, 256, (4, 3, 3), np.uint8)).convert(mode)
    found = names_of(repaired, "fastreid.data.transforms.functional")["to_tensor"](image)
    pixels = np.asarray(image).reshape(4, 3, -1).transpose(2, 0, 1) * (255 if mode == "1" else 1.0)
    np.testing.assert_array_equal(found.numpy(), pixels)


def test_the_repaired_loader_needs_no_cuda(repaired, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loader = names_of(repaired, "fastreid.data.data_utils")["DataLoaderX"](0, dataset=list(range(5)), batch_size=2)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]
