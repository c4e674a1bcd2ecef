"""Builds a dressed body out of solid shapes."""

from collections.abc import Sequence

from fastreid_ext.data.synthetic.figure import ARM_RADII, FOOT_LENGTH, LEG_RADII
from fastreid_ext.data.synthetic.skeleton import (
    HEAD_HALF_HEIGHT,
    HEAD_HALF_WIDTH,
    HEAD_UP,
    HIP_HALF,
    Limb,
    Pose,
    joint_pixels,
    solve_arms,
    solve_legs,
)
from fastreid_ext.data.synthetic.worlds.carried import add_bag, add_held
from fastreid_ext.data.synthetic.worlds.cloth import ARM_ROWS, COLLAR_UP, LEG_ROWS, STRIPS, WAIST_UP, Texture
from fastreid_ext.data.synthetic.worlds.lens import Lens
from fastreid_ext.data.synthetic.worlds.surface import Section, Surface
from fastreid_ext.data.synthetic.worlds.walker import Walker
from fastreid_ext.data.synthetic.worlds.wardrobe import LOWER_REACH

# Height, half width, half depth and offset to the front, from the neck down; the arms are beside it.
TORSO = ((0.868, 0.031, 0.034, -0.004), (0.848, 0.044, 0.042, -0.004), (0.832, 0.076, 0.05, -0.003),
         (0.815, 0.099, 0.056, 0.0), (0.785, 0.104, 0.062, 0.004), (0.715, 0.092, 0.071, 0.01),
         (0.61, 0.081, 0.062, 0.01), (0.52, 0.09, 0.066, 0.004))  # fmt: skip
DETAILED = 120  # pixels per body height above which soles and noses are seen
HAIR_FALL = {"long": 0.76, "bob": 0.85}  # how far down loose hair hangs


def add_walker(
    surface: Surface, lens: Lens, walker: Walker, texture: Texture, pose: Pose, with_bag: bool, with_held: bool
) -> list[tuple[float, float]]:
    """Add a dressed person and return the 17 joints in pixels, in COCO's order.

    Args:
        surface: what is added to.
        lens: before the person.
        walker: who it is.
        texture: of :func:`cloth.paint`; only what is solid is read here.
        pose: how the person stands.
        with_bag, with_held: whether what the person owns is in the picture.
    """
    legs, drop = solve_legs(walker, pose)
    arms = solve_arms(walker, pose, drop)
    girth = 0.4 + 0.6 * walker.build
    for leg in legs:
        add_leg(surface, lens, walker, leg, girth)
    add_pelvis(surface, lens, walker, legs, girth, drop)
    add_upper(surface, lens, walker, legs, girth, drop)
    for arm in arms:
        add_arm(surface, lens, walker, arm, girth)
    add_head(surface, lens.turned(pose.head_turn), walker, texture, drop)
    add_neck(surface, lens, walker, girth, drop)
    if with_bag and walker.bag:
        add_bag(surface, lens, walker, arms, girth, drop)
    if with_held and walker.held:
        add_held(surface, lens, walker, arms)
    return joint_pixels(lens, pose, arms, legs, drop)


def reach_of(legs: Sequence[Limb], up: float) -> float:
    """Return how far in front of or behind the body's axis the legs are at a height, in body heights."""
    most = 0.0
    for leg in legs:
        for (_, up0, forward0), (_, up1, forward1) in zip(leg.points, leg.points[1:], strict=False):
            if min(up0, up1) <= up <= max(up0, up1):
                share = (up - up0) / (up1 - up0) if abs(up1 - up0) > 1e-6 else 0.0
                most = max(most, abs(forward0 + (forward1 - forward0) * share))
    return most


def hanging(walker: Walker, legs: Sequence[Limb], top: float, hem: float, girth: float, bulk: float) -> list[Section]:
    """Return the sections of cloth that hangs over the thighs, from ``top`` down to ``hem``."""
    sections = []
    for step in range(1, 5):
        up = top + (hem - top) * step / 4
        flare = 1.0 + 0.4 * (top - up)
        thigh = LEG_RADII[0] * girth * 1.15  # cloth reaches around the thighs, wherever they are
        lateral = max(0.094 * girth * bulk, HIP_HALF * walker.hips * (0.6 + 0.4 * walker.build) + thigh)
        sagittal = max(0.068 * girth * bulk * flare, reach_of(legs, up) + thigh)
        sections.append(Section(up, lateral * flare, sagittal))
    return sections


def add_upper(surface: Surface, lens: Lens, walker: Walker, legs: Sequence[Limb], girth: float, drop: float) -> None:
    """Add the torso in its upper garment."""
    bulk = walker.bulk * girth
    belly = 1.0 + 0.5 * max(0.0, walker.build - 1.05)
    sections = []
    for up, lateral, sagittal, forward in TORSO:
        shape = walker.shoulders if up > 0.7 else walker.hips
        stout = belly if up < 0.7 else 1.0
        size = girth if up > 0.84 else bulk  # no coat widens the neck
        sections.append(Section(up - drop, lateral * shape * size, sagittal * size * stout, forward * belly))
    top = sections[-1].up
    if walker.hem < top + drop - 0.01:
        sections += hanging(walker, legs, top, walker.hem - drop, girth, walker.bulk)
    surface.trunk(lens, sections, STRIPS["upper"], COLLAR_UP - drop, over=True)
    if walker.cut.hood and not walker.hood_up:
        surface.ellipsoid(lens, (0.0, 0.822 - drop, -0.052), (0.078, 0.042, 0.042), STRIPS["upper"])
    if walker.scarf:
        ring = [Section(0.872 - drop, 0.048, 0.05), Section(0.855 - drop, 0.064, 0.064, 0.005),
                Section(0.83 - drop, 0.07, 0.068, 0.01), Section(0.81 - drop, 0.06, 0.06, 0.012)]  # fmt: skip
        surface.trunk(lens, ring, STRIPS["scarf"], 0.875 - drop)


def add_pelvis(surface: Surface, lens: Lens, walker: Walker, legs: Sequence[Limb], girth: float, drop: float) -> None:
    """Add the hips, and a skirt if one is worn."""
    hips = walker.hips * girth
    profile = ((0.565, 0.092, 0.062), (0.5, 0.1, 0.07), (0.455, 0.092, 0.064), (0.43, 0.07, 0.05))
    sections = [Section(up - drop, lateral * hips, sagittal * girth) for up, lateral, sagittal in profile]
    surface.trunk(lens, sections, STRIPS["pelvis"], WAIST_UP - drop)
    if walker.lower_name == "skirt" and not walker.cut_name.endswith("dress"):
        sections = [
            Section(0.565 - drop, 0.094 * hips, 0.064 * girth),
            Section(0.5 - drop, 0.104 * hips, 0.073 * girth),
        ]
        sections += hanging(walker, legs, 0.5 - drop, walker.skirt_hem - drop, girth, 1.05)
        surface.trunk(lens, sections, STRIPS["skirt"], WAIST_UP - drop, over=True)


def add_leg(surface: Surface, lens: Lens, walker: Walker, leg: Limb, girth: float) -> None:
    """Add a leg with its shoe."""
    hip, knee, ankle = (lens.place(*point) for point in leg.points)
    radii = [radius * girth for radius in LEG_RADII]
    covered = 0.0 if walker.cut_name.endswith("dress") else LOWER_REACH[walker.lower_name]
    if covered > 1.0:
        radii = [radius * factor for radius, factor in zip(radii, walker.leg_radii, strict=True)]
    elif covered > 0.0:
        radii = [radii[0] * 1.12, radii[1] * 1.0, radii[2]]
    turn = lens.heading
    middle = LEG_ROWS // 2
    if 0.0 < covered <= 1.0:  # shorts stand off the leg
        share = covered
        end = tuple(a + (b - a) * share for a, b in zip(hip, knee, strict=True))
        surface.limb(hip, end, (radii[0] * 1.1, radii[1] * 1.55), STRIPS["leg"], (0, middle * share - 2), turn, True)
    surface.limb(hip, knee, (radii[0], radii[1]), STRIPS["leg"], (0, middle), turn)
    shaft = walker.shoe_name in ("boot", "high_boot")
    last = max(radii[2], 0.034) if shaft and covered <= 1.0 else radii[2]
    surface.limb(knee, ankle, (radii[1], last), STRIPS["leg"], (middle, LEG_ROWS + 4), turn, True)
    left, up, forward = leg.points[2]
    side = leg.side * 0.012
    heel, toe = (
        lens.place(left, up - 0.012, forward - 0.012),
        lens.place(left + side, up - 0.02, forward + FOOT_LENGTH - 0.02),
    )
    surface.limb(heel, toe, (0.026, 0.021), STRIPS["shoe"], (0, 23), turn)
    if lens.scale < DETAILED:
        return
    heel, toe = (
        lens.place(left, up - 0.03, forward - 0.016),
        lens.place(left + side, up - 0.033, forward + FOOT_LENGTH - 0.012),
    )
    surface.limb(heel, toe, (0.0135, 0.0125), STRIPS["sole"], (0, 7), turn)


def add_arm(surface: Surface, lens: Lens, walker: Walker, arm: Limb, girth: float) -> None:
    """Add an arm, its sleeve and its hand."""
    (left, up, forward), *rest = arm.points
    # The shoulder's cap lies inside the torso, so that cloth runs from one to the other.
    shoulder, elbow, wrist = (lens.place(*point) for point in ((left * 0.9, up - 0.008, forward), *rest))
    loose = 1.0 + 0.85 * (walker.bulk - 0.95) if walker.cut.sleeve > 0.9 and walker.cut_name != "vest" else 1.05
    radii = [radius * girth * 1.08 for radius in ARM_RADII]
    cloth = [radii[0] * loose, radii[1] * loose, radii[2] * loose * 1.1]
    middle, turn = ARM_ROWS // 2, lens.heading
    if walker.cut.sleeve < 1.0:
        surface.limb(shoulder, elbow, (radii[0] * 0.98, radii[1]), STRIPS["sleeve"], (0, middle), turn)
        end = tuple(a + (b - a) * walker.cut.sleeve for a, b in zip(shoulder, elbow, strict=True))
        surface.limb(shoulder, end, (cloth[0] * 1.12, cloth[1] * 1.25), STRIPS["sleeve"],
                     (0, middle * walker.cut.sleeve - 1), turn, True)  # fmt: skip
        surface.limb(elbow, wrist, (radii[1], radii[2]), STRIPS["sleeve"], (middle, ARM_ROWS), turn)
    else:
        surface.limb(shoulder, elbow, (cloth[0], cloth[1]), STRIPS["sleeve"], (0, middle), turn)
        surface.limb(elbow, wrist, (cloth[1], cloth[2]), STRIPS["sleeve"], (middle, ARM_ROWS), turn, True)
    (x0, y0, z0), (x1, y1, z1) = arm.points[1], arm.points[2]
    tip = (x1 + (x1 - x0) * 0.3, y1 + (y1 - y0) * 0.3, z1 + (z1 - z0) * 0.3)
    surface.limb(wrist, lens.place(*tip), (0.018, 0.0165), STRIPS["skin"], (0, 7))


def add_neck(surface: Surface, lens: Lens, walker: Walker, girth: float, drop: float) -> None:
    """Add the neck."""
    top, bottom = lens.place(0.0, 0.89 - drop, 0.0), lens.place(0.0, 0.82 - drop, -0.004)
    radius = 0.028 * (0.5 + 0.5 * girth)
    surface.limb(top, bottom, (radius, radius * 1.1), STRIPS["skin"], (0, 7))


def add_head(surface: Surface, lens: Lens, walker: Walker, texture: Texture, drop: float) -> None:
    """Add head, hair and headgear."""
    up, solid = HEAD_UP - drop, texture.solid
    axes = (HEAD_HALF_WIDTH * 0.96, HEAD_HALF_HEIGHT * 1.04, 0.064)
    centre = (0.0, up, 0.004)
    surface.ellipsoid(lens, centre, axes, STRIPS["head"])
    if lens.scale > DETAILED:
        surface.ellipsoid(lens, (0.0, up - 0.01, 0.066), (0.01, 0.014, 0.013), STRIPS["skin"])  # the nose
    covered = walker.headgear == "headscarf" or walker.hood_up
    swell = 1.3 if walker.hair_name == "afro" else walker.hair_volume
    if walker.hair_name not in ("bald", "cropped") and not covered:
        high = swell if walker.headgear is None else 1.0
        surface.ellipsoid(lens, (0.0, up + 0.003, -0.004), (axes[0] * swell, axes[1] * high, axes[2] * swell),
                          STRIPS["hair"], solid)  # fmt: skip
        fall = HAIR_FALL.get(walker.hair_name)
        if fall:
            wide = 0.056 * swell
            loose = [Section(up + 0.02, wide, 0.05, -0.02), Section(up - 0.05, wide * 1.08, 0.045, -0.03),
                     Section(fall - drop, wide * 1.05, 0.03, -0.055)]  # fmt: skip
            surface.trunk(lens, loose, STRIPS["hair"], up + 0.02)
        elif walker.hair_name == "bun":
            surface.ellipsoid(lens, (0.0, up + 0.05, -0.06), (0.03, 0.03, 0.03), STRIPS["hair"])
        elif walker.hair_name == "ponytail":
            top, end = lens.place(0.0, up + 0.025, -0.066), lens.place(0.0, up - 0.1, -0.085)
            surface.limb(top, end, (0.022, 0.012), STRIPS["hair"], (0, 20))
    if walker.headgear or walker.hood_up:
        grow = {"beanie": 1.14, "headscarf": 1.18, "bucket_hat": 1.14}.get(
            walker.headgear, 1.1 if not walker.hood_up else 1.3
        )
        surface.ellipsoid(lens, (0.0, up + 0.006, -0.003), tuple(axis * grow for axis in axes), STRIPS["hat"], solid)
    if walker.headgear == "cap":
        root, tip = lens.place(0.0, up + 0.03, 0.045), lens.place(0.0, up + 0.022, 0.115)
        for side in (-0.02, 0.0, 0.02):
            root, tip = lens.place(side, up + 0.03, 0.04), lens.place(side * 1.2, up + 0.02, 0.105 - abs(side))
            surface.limb(root, tip, (0.018, 0.012), STRIPS["hat"], (0, 4))
    elif walker.headgear == "bucket_hat":
        brim = [Section(up + 0.022, axes[0] * 1.2, axes[2] * 1.2), Section(up - 0.004, axes[0] * 1.45, axes[2] * 1.42)]
        surface.trunk(lens, brim, STRIPS["hat"], up + 0.022)
    elif walker.headgear == "headscarf":
        drape = [
            Section(up - 0.03, 0.058, 0.06),
            Section(0.86 - drop, 0.075, 0.068),
            Section(0.80 - drop, 0.105, 0.075),
        ]
        surface.trunk(lens, drape, STRIPS["hat"], up - 0.03)
