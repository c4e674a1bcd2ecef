"""Pictures of drawn people, by the renderer that the shipped model was not trained on."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid_ext import Extractor, zoo
from fastreid_ext.data.synthetic.person import sample_person
from fastreid_ext.data.synthetic.render import render
from fastreid_ext.data.synthetic.sizes import SIZES


def draw(people, seed, cameras):
    """Pictures of 256x128 of some persons: for each a list of one by each camera."""
    rng = np.random.RandomState(seed)
    persons = [sample_person(rng) for _ in range(people)]
    return [
        [Image.open(io.BytesIO(render(one, camera, None, rng, SIZES["bench"]).jpeg)) for camera in cameras]
        for one in persons
    ]


@pytest.fixture(scope="session")
def draw_people():
    return draw


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A folder with a folder of four pictures, by two cameras, for each of four persons."""
    root = tmp_path_factory.mktemp("people")
    for number, pictures in enumerate(draw(4, seed=1, cameras=(2, 2, 3, 3))):
        folder = root / f"person_{number}"
        folder.mkdir()
        for place, picture in enumerate(pictures):
            picture.save(folder / f"{place}.png")
    return root


@pytest.fixture(scope="session")
def pictures(people):
    """The paths of all pictures, sorted."""
    return sorted(str(path) for path in Path(people).rglob("*.png"))


@pytest.fixture(scope="session")
def shipped():
    return Extractor(device="cpu")


@pytest.fixture(scope="session")
def copy(tmp_path_factory):
    """The shipped model as a file of the user's own."""
    path = tmp_path_factory.mktemp("copy") / "mine.safetensors"
    path.write_bytes(zoo.weights_of().read_bytes())
    return path
