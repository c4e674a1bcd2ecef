"""A miniature data set, and people to put into the files of pose models."""

import json

import numpy as np
import pytest
from PIL import Image

IMAGES = (
    "train/0001_c1.jpg",
    "train/0002_c1.jpg",
    "train/0003_c2.png",
    "query/0001_c1.jpg",
    "query/0009_c3.jpg",
)


@pytest.fixture
def root(tmp_path):
    """A data set of five images of 40x80, two of which have the same name."""
    folder = tmp_path / "set"
    for name in IMAGES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 80), (90, 120, 60)).save(folder / name)
    return folder


@pytest.fixture
def write(tmp_path):
    """Write a value as JSON, or a text as it is, and return the path."""

    def write(value, name="poses.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return write


@pytest.fixture
def upright():
    """Make (17, 3) joints of someone who faces the camera, joint j lying j pixels below the top.

    Odd joints, the person's left, are 5 pixels right of x; even ones 5 pixels left of it; the nose is at x.
    """

    def make(x=20.0, top=8.0, confidence=0.9):
        joints = np.empty((17, 3))
        joints[:, 0] = x + np.where(np.arange(17) % 2, 5, -5)
        joints[0, 0] = x
        joints[:, 1] = top + np.arange(17)
        joints[:, 2] = confidence
        return joints

    return make


@pytest.fixture
def flat():
    """Turn joints into the flat list of numbers that the formats hold."""
    return lambda joints: [float(value) for value in np.asarray(joints).reshape(-1)]
