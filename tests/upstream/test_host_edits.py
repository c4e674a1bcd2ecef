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
    files = {path.relative_to(folder).as_posix(): path for path in (folder / "fastreid").rglob("*.py")}
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
        changed = set(text.splitlines()) - set(before)
        assert 1 <= len(changed) <= 5, (path, changed)
        if path.endswith(".py"):
            ast.parse(text)


def test_a_second_time_nothing_is_left(repaired, tmp_path):
    shutil.copytree(HOST, tmp_path / "fastreid", ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in repaired.items():
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert healed_in(tmp_path) == {}


def test_a_fork_without_these_files_is_passed_over(tmp_path):
    (tmp_path / "fastreid" / "data").mkdir(parents=True)
    (tmp_path / "fastreid/data/build.py").write_text("from collections import Mapping, deque\n")
    assert healed_in(tmp_path) == {
        "fastreid/data/build.py": "from collections import deque\nfrom collections.abc import Mapping\n"
    }


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "data/data_utils.py",
            "class DataLoaderX:\n    def __init__(self):\n        self.stream = Stream()\n",
        ),
        ("data/transforms/functional.py", "x = torch.ByteTensor(torch.ByteStorage.from_buffer(data))\n"),
    ],
)
def test_a_fork_that_reads_differently_is_passed_over(path, text, tmp_path):
    file = tmp_path / "fastreid" / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert healed_in(tmp_path) == {}


@pytest.mark.parametrize("content", [b"print 'of Python 2'\n", b"<<<<<<< HEAD\n", b"name = '\xe4'\n", b"a = '\0'\n"])
def test_a_file_that_is_no_python(content, tmp_path):
    (tmp_path / "fastreid" / "data").mkdir(parents=True)
    (tmp_path / "fastreid/data/build.py").write_bytes(content)
    with pytest.raises(CheckoutError, match="build.py can't be parsed as Python 3 .*: fix it, or leave out --heals"):
        healed_in(tmp_path)


def test_the_compiled_ranking_reads_no_further_than_its_query(repaired):
    """Where a query keeps fewer images than the curve is long, what lies behind them is of the query before it."""
    text = repaired["fastreid/evaluation/rank_cylib/rank_cy.pyx"]
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without CUDA")
def test_the_repaired_loader_needs_no_cuda(repaired):
    loader = names_of(repaired, "fastreid.data.data_utils")["DataLoaderX"](0, dataset=list(range(5)), batch_size=2)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]
