"""What people carry, as solid shapes: it comes and goes from image to image."""

import math
from collections.abc import Sequence

from fastreid_ext.data.synthetic.skeleton import BodyPoint, Limb
from fastreid_ext.data.synthetic.worlds.cloth import STRIPS
from fastreid_ext.data.synthetic.worlds.lens import Lens
from fastreid_ext.data.synthetic.worlds.surface import Surface
from fastreid_ext.data.synthetic.worlds.walker import Walker

# Of a strap from a shoulder to the other hip: height, half axes of the body there, azimuth (0 front, pi/2 left).
ACROSS = (
    (0.84, 0.07, 0.046, -1.2),
    (0.812, 0.089, 0.058, -0.9),
    (0.785, 0.097, 0.066, -0.7),
    (0.715, 0.092, 0.08, -0.35),
    (0.61, 0.083, 0.072, 0.45),
    (0.52, 0.092, 0.07, 1.1),
)
# Half axes to the side, up and to the front.
SIZES = {
    "backpack": (0.095, 0.13, 0.052),
    "crossbody": (0.03, 0.05, 0.07),
    "tote": (0.026, 0.085, 0.085),
    "handbag": (0.026, 0.052, 0.068),
    "shopping_bag": (0.04, 0.085, 0.07),
    "suitcase": (0.065, 0.15, 0.09),
}


def strap(surface: Surface, lens: Lens, points: Sequence[BodyPoint], radius: float) -> None:
    """Add a band through points of the body."""
    placed = [lens.place(*point) for point in points]
    for start, end in zip(placed, placed[1:], strict=False):
        surface.limb(start, end, (radius, radius), STRIPS["strap"], (0, 7))


def add_bag(surface: Surface, lens: Lens, walker: Walker, arms: Sequence[Limb], girth: float, drop: float) -> None:
    """Add the bag that a person owns."""
    side, bulk = walker.side, walker.bulk * girth
    back = -0.068 * bulk
    axes = SIZES[walker.bag]
    wrist = next(arm for arm in arms if arm.side == side).points[2]
    hip = side * 0.1 * bulk * walker.hips
    if walker.bag == "backpack":
        surface.ellipsoid(lens, (0.0, 0.685 - drop, back - axes[2] * 0.8), axes, STRIPS["bag"], boxy=True)
        for edge in (-0.072, 0.072):
            points = [(edge, 0.825 - drop, -0.03), (edge, 0.832 - drop, 0.02), (edge, 0.78 - drop, 0.058 * bulk),
                      (edge * 1.1, 0.7 - drop, 0.06 * bulk), (edge * 1.4, 0.63 - drop, 0.01)]  # fmt: skip
            strap(surface, lens, points, 0.0125)
        return
    if walker.bag in ("crossbody", "tote"):
        if walker.bag == "crossbody":
            for mirror in (1, -1):  # over the chest, over the back
                points = []
                for up, lateral, sagittal, azimuth in ACROSS:
                    points.append((side * math.sin(azimuth) * lateral * bulk * 0.98, up - drop,
                                   mirror * math.cos(azimuth) * sagittal * bulk * 0.98))  # fmt: skip
                strap(surface, lens, points, 0.009)
            centre = (hip + side * 0.012, 0.49 - drop, 0.02)
        else:
            shoulder = side * 0.085 * bulk
            centre = (hip + side * 0.045, 0.56 - drop, -0.02)
            for forward in (-0.04, 0.03):
                strap(surface, lens, [(shoulder, 0.822 - drop, 0.0), (shoulder + side * 0.03, 0.72 - drop, forward),
                                      (centre[0], 0.63 - drop, forward)], 0.008)  # fmt: skip
        surface.ellipsoid(lens, centre, axes, STRIPS["bag"], boxy=True)
        return
    if walker.bag == "suitcase":
        centre = (wrist[0] + side * 0.03, axes[1] + 0.03, wrist[2] - 0.12)
        strap(surface, lens, [wrist, (centre[0], 2 * axes[1] + 0.02, centre[2])], 0.008)
    else:
        low = 0.05 + axes[1]
        centre = (wrist[0] + side * 0.01, wrist[1] - 0.03 - low, wrist[2] + 0.01)
        for forward in (-0.03, 0.03):
            strap(surface, lens, [(wrist[0], wrist[1] - 0.03, wrist[2]),
                                  (centre[0], centre[1] + axes[1], centre[2] + forward)], 0.006)  # fmt: skip
    surface.ellipsoid(lens, centre, axes, STRIPS["bag"], boxy=True)


def add_held(surface: Surface, lens: Lens, walker: Walker, arms: Sequence[Limb]) -> None:
    """Add a phone, papers or a cup in the hand that carries no bag."""
    left, up, forward = next(arm for arm in arms if arm.side == -walker.side).points[2]
    axes = {"phone": (0.02, 0.034, 0.008), "paper": (0.05, 0.066, 0.008), "cup": (0.017, 0.03, 0.017)}[walker.held]
    surface.ellipsoid(lens, (left, up + 0.02, forward + 0.035), axes, STRIPS["held"], boxy=True)
