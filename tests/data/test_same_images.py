"""One image in two lists, by path, by links and by content; only files of one size are read."""

import os

import pytest

from fastreid_ext.data import same_images as module
from fastreid_ext.data.same_images import same_images


@pytest.fixture
def files(tmp_path, monkeypatch):
    """``files(a=b"xx")``: write files into the current folder, and count the files that are read."""
    monkeypatch.chdir(tmp_path)

    def make(**contents):
        for name, data in contents.items():
            (tmp_path / name).write_bytes(data)

    return make


@pytest.fixture
def read(monkeypatch):
    paths = []
    digest = module._digest
    monkeypatch.setattr(module, "_digest", lambda path: (paths.append(path), digest(path))[1])
    return paths


def found(first, second, **options):
    pairs = same_images(first, second, **options)
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.by_content.tolist(), strict=True))


def test_by_path_however_it_is_written(files, tmp_path):
    files(a=b"1", b=b"22")
    assert found(["a", "b"], ["c", f"{tmp_path}/a", "./a", "b"]) == [(0, 1, False), (0, 2, False), (1, 3, False)]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_by_links(link, files):
    files(a=b"1", b=b"22")
    link("a", "other")
    assert found(["a"], ["other", "b"], contents=False) == [(0, 0, False)]


def test_by_content(files, read):
    files(a=b"123", b=b"124", c=b"123", d=b"4444", e=b"55555", f=b"")
    files(empty=b"")
    assert found(["a", "d", "f"], ["b", "c", "e", "a", "empty"]) == [(0, 1, True), (0, 3, False)]
    assert sorted(read) == ["a", "b", "c"]  # the size of the others is in one list, or nothing
    assert found(["a"], ["c"], contents=False) == []


def test_one_file_alone_is_not_read(files, read):
    files(a=b"123", b=b"4567")
    os.link("a", "linked")
    assert found(["a", "b"], ["a", "linked", "b"]) == [(0, 0, False), (0, 1, False), (1, 2, False)]
    assert read == []


def test_what_is_not_there(files):
    files(a=b"123")
    assert found(["a", "gone", "b\0"], ["gone", "nowhere", "a"]) == [(0, 2, False), (1, 0, False)]


def test_files_that_give_none_of_their_bytes(files, monkeypatch):
    """As of a folder in a cloud, whose files have sizes before they are there: nobody knows that they are one."""
    files(a=b"123", b=b"456")
    size_of = module._file

    def emptied(path):
        known = size_of(path)
        files(**{path: b""})
        return known

    monkeypatch.setattr(module, "_file", emptied)
    assert found(["a"], ["b"]) == []


def test_empty_lists():
    assert found([], []) == []
