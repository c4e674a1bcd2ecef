"""Samples of every file from elsewhere, which the fuzz in benchmarks damages by the thousand."""

import pytest


@pytest.fixture
def loader_of(tmp_path):
    """``loader_of("weights")``: a valid sample in a folder, and a function that reads it."""
    from fuzz_samples import LOADERS

    def prepare(name):
        loader = next(one for one in LOADERS if one.name == name)
        folder = tmp_path / "sample"
        folder.mkdir()
        loader.make(folder)

        def load():
            if loader.repair is not None:
                loader.repair(folder)
            return loader.load(folder)

        return folder / loader.file, load

    return prepare
