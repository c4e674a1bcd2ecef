"""The commit that a record names: that of the code, whatever results were written since."""

import importlib.util
import shutil

import pytest
import record

from tests.git_checkouts import make_repository


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A checkout with nothing but the module and a record, and the module in it."""
    monkeypatch.delenv("BENCHMARK_COMMIT", raising=False)
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    file = shutil.copy(record.__file__, tmp_path / "benchmarks/record.py")
    (tmp_path / "benchmarks/results/old.json").write_text("{}\n")
    make_repository(tmp_path)
    spec = importlib.util.spec_from_file_location("copied_record", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, tmp_path


def test_results_change_no_commit(copied):
    module, folder = copied
    name = module.commit()
    assert 7 <= len(name) <= 12 and set(name) <= set("0123456789abcdef")
    (folder / "benchmarks/results/old.json").write_text("[]\n")
    assert module.commit() == name
    with open(folder / "benchmarks/record.py", "a") as file:
        file.write("\n")
    assert module.commit() == f"{name}-dirty"


def test_no_checkout_has_no_commit(copied, monkeypatch):
    module, folder = copied
    shutil.rmtree(folder / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    assert module.commit() == "not a checkout"
