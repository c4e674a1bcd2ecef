"""One image of a world: scenery, people behind, the person, what hides a part, and the camera."""

import functools
import math
from dataclasses import replace

import cv2
import numpy as np

from fastreid_ext.data.synthetic.cameras import Camera
from fastreid_ext.data.synthetic.canvas import OCCLUDER, Canvas
from fastreid_ext.data.synthetic.occluders import draw_occluder
from fastreid_ext.data.synthetic.render import (
    HIDDEN_SHARE,
    OCCLUDER_TRIES,
    SHOWN_PROBABILITY,
    Picture,
    joint_visibility,
)
from fastreid_ext.data.synthetic.seeds import random_state
from fastreid_ext.data.synthetic.sizes import Size
from fastreid_ext.data.synthetic.skeleton import Pose, sample_pose
from fastreid_ext.data.synthetic.worlds.catalogue import WORLDS
from fastreid_ext.data.synthetic.worlds.cloth import Texture, paint
from fastreid_ext.data.synthetic.worlds.dressed import add_walker
from fastreid_ext.data.synthetic.worlds.lens import Lens
from fastreid_ext.data.synthetic.worlds.lighting import lit, sample_lamp
from fastreid_ext.data.synthetic.worlds.noise import scaled, smooth_noise
from fastreid_ext.data.synthetic.worlds.optics import photograph
from fastreid_ext.data.synthetic.worlds.scenery import cast_shadow, paint_scenery
from fastreid_ext.data.synthetic.worlds.surface import Surface
from fastreid_ext.data.synthetic.worlds.walker import Walker, sample_walker
from fastreid_ext.data.synthetic.worlds.world import World

STRANGERS = 20  # other people of each world, who are nobody's identity
BOX_HEIGHT = 0.93  # of a person in a good box, in picture heights

Lamp = tuple[float, float, float]
Layer = tuple[np.ndarray, np.ndarray]  # colours (h, w, 3) that are black outside, coverage (h, w) 0..255


@functools.lru_cache(maxsize=8)
def dressed(seed: int, identity: int, world: str) -> tuple[Walker, Texture]:
    """Return a person of the data set with the painted clothes."""
    walker = sample_walker(random_state(seed, "walker", world, identity), WORLDS[world])
    return walker, paint(walker)


@functools.lru_cache(maxsize=STRANGERS * 4)
def stranger(world: str, number: int) -> tuple[Walker, Texture]:
    """Return somebody who only stands about."""
    walker = sample_walker(random_state("stranger", world, number), WORLDS[world])
    return walker, paint(walker)


def render_in_world(
    seed: int, identity: int, world_name: str, camera: int, occluder: str | None, rng: np.random.RandomState, size: Size
) -> Picture:
    """Render an identity in its world; see :func:`render.render` for the arguments."""
    world = WORLDS[world_name]
    device = world.cameras[camera - 1]
    walker, texture = dressed(seed, identity, world_name)
    pose = world_pose(rng)
    lens = aim(device, world, pose, rng, size)
    lamp = sample_lamp(world.light, rng)
    picture = paint_scenery(size.height, size.width, lens, world.scenes[device.background], rng)
    add_crowd(picture, world, lens, lamp, rng)
    with_bag, with_held = (rng.random_sample() < SHOWN_PROBABILITY for _ in range(2))
    strength = math.sqrt(sum(part * part for part in lamp))
    cast_shadow(picture, lens, lamp, strength / (strength + world.light.fill[1]), world.light.wrap < 0.2)
    joints, (colours, coverage) = person_layer(
        size.height, size.width, lens, walker, texture, pose, world, lamp, rng, with_bag, with_held
    )
    paste(picture, (colours, coverage), 0, 0)
    bbox = cv2.boundingRect((coverage > 127).view(np.uint8))
    labels = Canvas(size.height, size.width)
    occlusion = 0.0
    if occluder is not None:
        layer, occlusion = occlude(occluder, world, lens, coverage, rng)
        paste(picture, layer, 0, 0)
        labels.labels[layer[1] > 127] = OCCLUDER
    visibility = joint_visibility(labels, joints)
    return Picture(
        jpeg=photograph(picture, device, world.optics, rng, size.strength),
        joints=np.column_stack((joints, visibility)),
        bbox=tuple(float(value) for value in bbox),
        occlusion=occlusion,
        traits={"world": world.name, "skin_tone": walker.skin_tone, "build": round(walker.build, 3)},
    )


def world_pose(rng: np.random.RandomState) -> Pose:
    """Return a pose in any heading."""
    pose = sample_pose(rng)
    heading = rng.uniform(-math.pi, math.pi)
    return replace(pose, heading=heading) if rng.randint(2) else pose


def aim(device: Camera, world: World, pose: Pose, rng: np.random.RandomState, size: Size) -> Lens:
    """Return the lens for the box that a detector of this camera would cut out."""
    pitch = max(0.02, device.pitch + rng.uniform(-0.06, 0.06))
    distance = rng.uniform(*world.optics.distance)
    unit = Lens(0.0, 0.0, 1.0, 0.0, pitch, distance)
    error = rng.uniform(-1.7, 1.7, 3) * device.crop_error
    grow = 1.0 + 1.1 * error[0]
    slip = 0.8 * error[1]
    kind = rng.random_sample()
    if kind < 0.1:  # the feet are cut off
        grow, slip = rng.uniform(1.12, 1.55), None
    elif kind < 0.14:  # the head is cut off
        grow, slip = rng.uniform(1.05, 1.2), rng.uniform(-0.14, -0.06)
    elif kind < 0.22:  # a loose box
        grow = rng.uniform(0.66, 0.85)
    tall = BOX_HEIGHT * grow * size.height
    scale = tall / (unit.row(0.0) - unit.row(0.99))
    if slip is None:
        ground_y = rng.uniform(0.02, 0.06) * size.height + tall
    else:
        ground_y = size.height * (0.5 + slip) + tall / 2
    x = size.width * 0.5 + size.height * 0.4 * error[2]
    return Lens(x, ground_y, scale, pose.heading, pitch, distance)


def person_layer(
    height: int, width: int, lens: Lens, walker: Walker, texture: Texture, pose: Pose, world: World, lamp: Lamp,
    rng: np.random.RandomState, with_bag: bool, with_held: bool,
) -> tuple[np.ndarray, Layer]:  # fmt: skip
    """Return the joints (17, 2) and the layer of a person."""
    surface = Surface(height, width)
    joints = np.array(add_walker(surface, lens, walker, texture, pose, with_bag, with_held))
    colours, coverage = lit(surface, texture, world.light, lamp, rng)
    # Edges are as soft as those of real crops, which are mostly enlarged; averaging a larger drawing costs four times.
    return joints, (cv2.GaussianBlur(colours, (3, 3), 0), cv2.GaussianBlur(coverage, (3, 3), 0))


def stranger_layer(
    scale: float, lens: Lens, world: World, lamp: Lamp, rng: np.random.RandomState
) -> tuple[Layer, int, int]:
    """Return the layer of a stranger of ``scale`` pixels, and the x and y of the feet in it."""
    walker, texture = stranger(world.name, rng.randint(STRANGERS))
    pose = world_pose(rng)
    height, width = int(1.12 * scale) + 4, int(0.72 * scale) + 4
    x, y = width // 2, height - int(0.06 * scale) - 2
    own = Lens(x, y, scale / max(0.6, lens.cos_pitch), pose.heading, lens.pitch, lens.distance)
    return person_layer(height, width, own, walker, texture, pose, world, lamp, rng, True, True)[1], x, y


def add_crowd(picture: np.ndarray, world: World, lens: Lens, lamp: Lamp, rng: np.random.RandomState) -> None:
    """Add people behind the one who is meant: smaller, farther from the middle, and out of focus when far."""
    height, width = picture.shape[:2]
    if rng.random_sample() > world.optics.occupancy:
        return
    for _ in range(1 if rng.randint(4) else 2):
        away = rng.uniform(0.15, 5.0)
        scale = lens.scale * lens.distance / (lens.distance + away) * rng.uniform(0.92, 1.0)
        aside = (1 if rng.randint(2) else -1) * rng.uniform(0.22, 0.75) * width
        if abs(lens.x + aside - width / 2) <= abs(lens.x - width / 2):
            aside = -aside
        x = int(lens.x + aside)
        y = int(lens.ground_y - lens.scale * away * max(lens.sin_pitch, 0.03) * lens.distance / (lens.distance + away))
        (colours, coverage), feet_x, feet_y = stranger_layer(scale, lens, world, lamp, rng)
        if away > 1.5:
            wide = 2 * int(0.25 * away * height / 256 + 0.5) + 1
            colours, coverage = (cv2.blur(part, (wide, wide)) for part in (colours, coverage))
        paste(picture, (colours, coverage), x - feet_x, y - feet_y)


def paste(picture: np.ndarray, layer: Layer, left: int, top: int) -> None:
    """Lay a layer over a picture, with its corner at (left, top)."""
    colours, coverage = layer
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(picture.shape[1], left + coverage.shape[1]), min(picture.shape[0], top + coverage.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    bare = 255 - coverage[inner]
    bare = cv2.merge((bare,) * picture.shape[2]).astype(np.uint16)
    bare *= picture[y0:y1, x0:x1]
    bare += 128  # with the next two lines the exact quotient by 255, rounded
    bare += bare >> 8
    bare >>= 8
    picture[y0:y1, x0:x1] = cv2.add(bare.astype(np.uint8), colours[inner])


def occlude(
    kind: str, world: World, lens: Lens, coverage: np.ndarray, rng: np.random.RandomState
) -> tuple[Layer, float]:
    """Return the layer of an occluder, and the share of the person that it hides.

    Tries again while the share is outside ``HIDDEN_SHARE``, and keeps the nearest to its middle if none is inside.
    """
    height, width = coverage.shape
    low, high = HIDDEN_SHARE
    body = coverage > 127
    whole = max(1, int(np.count_nonzero(body)))
    passer = passing(world, lens, rng) if kind == "person" else None
    best, best_share = None, -1.0
    for _ in range(OCCLUDER_TRIES):
        layer = (
            moved_in(passer, lens, coverage.shape, rng) if passer else thing(kind, world, height, width, lens.x, rng)
        )
        share = np.count_nonzero(body & (layer[1] > 127)) / whole
        if best is None or abs(share - (low + high) / 2) < abs(best_share - (low + high) / 2):
            best, best_share = layer, share
        if low <= share <= high:
            break
    return best, best_share


def passing(world: World, lens: Lens, rng: np.random.RandomState) -> tuple[Layer, int, int]:
    """Return somebody who passes nearer to the camera."""
    lamp = sample_lamp(world.light, rng)
    return stranger_layer(lens.scale * rng.uniform(1.0, 1.15), lens, world, lamp, rng)


def moved_in(passer: tuple[Layer, int, int], lens: Lens, shape: tuple[int, int], rng: np.random.RandomState) -> Layer:
    """Return the layer of a passer half beside the person."""
    (colours, coverage), feet_x, feet_y = passer
    side = 1 if rng.randint(2) else -1
    left = int(lens.x + side * rng.uniform(0.15, 0.6) * shape[1]) - feet_x
    top = int(lens.ground_y + rng.uniform(0.02, 0.12) * shape[0]) - feet_y
    full = np.zeros((*shape, 4), np.uint8)
    paste(full, (np.dstack((colours, coverage)), coverage), left, top)
    return full[..., :3], full[..., 3]


def thing(kind: str, world: World, height: int, width: int, middle: float, rng: np.random.RandomState) -> Layer:
    """Return the layer of a thing before the person, in the light of the world."""
    canvas = Canvas(height, width)
    draw_occluder(canvas, kind, middle, rng)
    coverage = (canvas.labels == OCCLUDER).view(np.uint8) * np.uint8(255)
    light = smooth_noise(rng, height, width, rng.randint(3, 9), 3).astype(np.uint16) // 2 + 44
    painted = np.ascontiguousarray(canvas.pixels[..., :3])
    blue, green, red = (channel >> 1 for channel in cv2.split(painted))
    grey = (blue >> 2) + (green >> 1) + (red >> 2)
    faded = cv2.merge([half + grey for half in (blue, green, red)])  # the paint of things outdoors is no toy's
    tinted = cv2.merge([light * int(128 * tint) >> 7 for tint in world.tints])
    colours = cv2.copyTo(scaled(faded, tinted), coverage)
    return cv2.GaussianBlur(colours, (3, 3), 0), cv2.GaussianBlur(coverage, (3, 3), 0)
