"""One image of SynthReID: the background, the person, the occluder and the camera."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from fastreid_ext.data.synthetic.backgrounds import draw_background
from fastreid_ext.data.synthetic.cameras import CAMERAS, Camera, shoot
from fastreid_ext.data.synthetic.canvas import BACKGROUND, OCCLUDER, PERSON, Canvas
from fastreid_ext.data.synthetic.figure import draw_person, draw_shadow
from fastreid_ext.data.synthetic.occluders import draw_occluder
from fastreid_ext.data.synthetic.person import Person
from fastreid_ext.data.synthetic.sizes import Size
from fastreid_ext.data.synthetic.skeleton import Pose, View, sample_pose

SUPERSAMPLING = 3
# How much of an occluded person may be hidden.
HIDDEN_SHARE = (0.11, 0.45)
OCCLUDER_TRIES = 12
SHOWN_PROBABILITY = 0.7  # of the hat and of the bag that a person owns


@dataclass(frozen=True)
class Picture:
    """A rendered image and what is known about it.

    Attributes:
        jpeg: the file.
        joints: (17, 3), x and y in pixels of the image, and the visibility of COCO (0 outside the image, 1 hidden by an
            occluder, 2 in sight; a joint on the far side of the own body counts as in sight).
        bbox: left, top, width, height in pixels of the person without occluder.
        occlusion: share (0..1) of the person's pixels that the occluder hides.
        traits: what else is known of the person, as plain values by name.
    """

    jpeg: bytes
    joints: np.ndarray
    bbox: tuple[float, float, float, float]
    occlusion: float
    traits: dict[str, Any] = field(default_factory=dict)


def render(person: Person, camera: int, occluder: str | None, rng: np.random.RandomState, size: Size) -> Picture:
    """Render a person before a camera.

    What ``rng`` draws comes in one order: first the background, which therefore cannot depend on the person.

    Args:
        person: who is drawn.
        camera: its number, 1..6.
        occluder: a key of :data:`occluders.OCCLUDERS`, or None for a person in full sight.
        rng: draws all that differs from image to image.
        size: of the data set.
    """
    device = CAMERAS[camera - 1]
    canvas = Canvas(size.height * SUPERSAMPLING, size.width * SUPERSAMPLING, BACKGROUND)
    draw_background(canvas, device.background, rng)
    pose = sample_pose(rng)
    view = sample_view(canvas, device, pose, rng, size.strength)
    with_hat, with_bag = (rng.random_sample() < SHOWN_PROBABILITY for _ in range(2))
    draw_shadow(canvas, view)
    canvas.label = PERSON
    joints = np.array(draw_person(canvas, view, person, pose, with_hat, with_bag))
    bbox = cv2.boundingRect((canvas.labels == PERSON).view(np.uint8))
    occlusion = 0.0
    if occluder is not None:
        canvas, occlusion = occlude(canvas, occluder, view.x, rng)
    visibility = joint_visibility(canvas, joints)
    picture = cv2.resize(canvas.pixels, (size.width, size.height), interpolation=cv2.INTER_AREA)
    picture = np.ascontiguousarray(picture[..., :3])
    return Picture(
        jpeg=shoot(device, picture, rng, size.strength),
        # The centre of a big pixel is half a pixel inside, on either scale.
        joints=np.column_stack(((joints + 0.5) / SUPERSAMPLING - 0.5, visibility)),
        bbox=tuple(value / SUPERSAMPLING for value in bbox),
        occlusion=occlusion,
    )


def sample_view(canvas: Canvas, device: Camera, pose: Pose, rng: np.random.RandomState, strength: float) -> View:
    """Return where the person stands in the box that a detector of this camera would cut out."""
    error = rng.uniform(-1.7, 1.7, 3) * device.crop_error * strength  # uniform: no long tails
    scale = canvas.height * (0.92 + 1.1 * error[0])
    middle = canvas.height * (0.5 + 0.8 * error[1])
    x = canvas.width * 0.5 + canvas.height * 0.4 * error[2]
    return View(x, middle + 0.475 * scale, scale, pose.heading, device.pitch)


def occlude(canvas: Canvas, kind: str, middle: float, rng: np.random.RandomState) -> tuple[Canvas, float]:
    """Draw an occluder and return the canvas with it, and the share of the person that it hides.

    Draws again while the share is outside ``HIDDEN_SHARE``, and keeps the nearest to its middle if none is inside.
    """
    whole = int(np.count_nonzero(canvas.labels == PERSON))
    low, high = HIDDEN_SHARE
    best, best_share = None, 0.0
    for _ in range(OCCLUDER_TRIES):
        trial = canvas.copy()
        draw_occluder(trial, kind, middle, rng)
        share = 1.0 - np.count_nonzero(trial.labels == PERSON) / whole
        if best is None or abs(share - (low + high) / 2) < abs(best_share - (low + high) / 2):
            best, best_share = trial, share
        if low <= share <= high:
            return trial, share
    return best, best_share


def joint_visibility(canvas: Canvas, joints: np.ndarray) -> np.ndarray:
    """Return the visibility (17,) of joints (17, 2) in canvas pixels: 0, 1 or 2 as in COCO."""
    x, y = np.floor(joints + 0.5).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < canvas.width) & (y < canvas.height)
    labels = canvas.labels[np.where(inside, y, 0), np.where(inside, x, 0)]
    return np.where(inside, np.where(labels == OCCLUDER, 1, 2), 0)
