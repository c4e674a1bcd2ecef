"""Draws one person: limbs, clothes, head and bag, from far to near."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from fastreid_ext.data.synthetic.bags import draw_backpack, draw_handbag, draw_shoulder_bag, draw_straps
from fastreid_ext.data.synthetic.canvas import Canvas, Colour, Point, blend, shade
from fastreid_ext.data.synthetic.garments import draw_hood, draw_sleeve, draw_torso, outline
from fastreid_ext.data.synthetic.head import draw_hair_back, draw_head, draw_neck, hair_is_behind
from fastreid_ext.data.synthetic.person import Person
from fastreid_ext.data.synthetic.skeleton import Limb, Pose, View, joint_pixels, solve_arms, solve_legs

ARM_RADII = (0.032, 0.027, 0.02)
LEG_RADII = (0.056, 0.038, 0.025)
FOOT_LENGTH = 0.085


def draw_person(
    canvas: Canvas, view: View, person: Person, pose: Pose, with_hat: bool = True, with_bag: bool = True
) -> list[Point]:
    """Draw a person and return the 17 joints in pixels, in COCO's order.

    Args:
        canvas: what is drawn on, with its current label.
        view: where the body appears.
        person: body and clothes.
        pose: how the person stands.
        with_hat, with_bag: whether what the person owns is in the picture.
    """
    legs, drop = solve_legs(person, pose)
    arms = solve_arms(person, pose, drop)
    bag = person.bag if with_bag else None
    bag_side = 1 if person.bag_on_left else -1
    for leg in sorted(legs, key=lambda limb: limb.depth(view)):
        draw_leg(canvas, view, person, leg)
    if person.lower_type == "skirt":
        draw_skirt(canvas, view, person, legs, drop)
    else:
        draw_seat(canvas, view, person, drop)

    arms_far_first = sorted(arms, key=lambda limb: limb.depth(view))
    behind = [arm for arm in arms_far_first if arm.depth(view) < 0.0]
    before = [arm for arm in arms_far_first if arm.depth(view) >= 0.0]
    pack_is_behind = math.cos(view.heading) > 0.0
    for arm in behind:
        draw_arm(canvas, view, person, arm, bag == "handbag" and arm.side == bag_side)
    if bag == "backpack" and pack_is_behind:
        draw_backpack(canvas, view, person, drop)
    head_view = view.turned(pose.head_turn)
    if person.upper_type == "hoodie" and pack_is_behind:
        draw_hood(canvas, view, person, drop)
    if hair_is_behind(head_view):
        draw_hair_back(canvas, head_view, person, drop)
    draw_neck(canvas, view, person, drop)
    sections = draw_torso(canvas, view, person, drop)
    if bag == "backpack":
        draw_straps(canvas, view, person, sections)
    if bag == "shoulder_bag":
        draw_shoulder_bag(canvas, view, person, sections)
    if bag == "backpack" and not pack_is_behind:
        draw_backpack(canvas, view, person, drop)
    for arm in before:
        draw_arm(canvas, view, person, arm, bag == "handbag" and arm.side == bag_side)
    draw_head(canvas, head_view, person, drop, with_hat and person.hat is not None)
    if person.upper_type == "hoodie" and not pack_is_behind:
        draw_hood(canvas, view, person, drop)
    return joint_pixels(view, pose, arms, legs, drop)


def draw_shadow(canvas: Canvas, view: View) -> None:
    """Darken the ground where somebody is about to stand; the labels stay."""
    shadow = Canvas(canvas.height, canvas.width, 1)
    shadow.oval(view.x, view.ground_y, 0.15 * view.scale, 0.024 * view.scale, (0, 0, 0))
    x, y, width, height = cv2.boundingRect(shadow.labels)
    ground = canvas.pixels[y : y + height, x : x + width]
    dark = ground - (((ground >> 2) + (ground >> 3)) & np.array((255, 255, 255, 0), np.uint8))
    if height:
        cv2.copyTo(dark, shadow.labels[y : y + height, x : x + width].copy(), ground)


def along(points: Sequence[Point], reach: float) -> Point:
    """Return the point of a limb at ``reach``: 0 is its root, 1 its middle joint, 2 its end."""
    part = min(1, int(reach))
    share = reach - part
    (x0, y0), (x1, y1) = points[part], points[part + 1]
    return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share


def draw_limb(
    canvas: Canvas, points: Sequence[Point], radii: Sequence[float], colour: Colour, reach: float = 2.0
) -> None:
    """Draw a limb from its root to ``reach``: a dark capsule, and a lit one towards the light on the left."""
    for tone, width, offset in ((0.8, 1.0, 0.0), (1.0, 0.74, -0.22)):
        for part in (0, 1):
            share = min(1.0, reach - part)
            if share <= 0.0:
                continue
            end = along(points, part + share)
            end_radius = radii[part] + (radii[part + 1] - radii[part]) * share
            shift = offset * radii[part]
            start, end = (points[part][0] + shift, points[part][1]), (end[0] + shift, end[1])
            first, last = radii[part] * width, end_radius * width
            canvas.capsule(start, end, first, last, shade(colour, tone), round_ends=False)
            canvas.disc(*start, first, shade(colour, tone))
            if share == 1.0:  # a cut limb ends flat: it is the hem of a garment
                canvas.disc(*end, last, shade(colour, tone))


def draw_leg(canvas: Canvas, view: View, person: Person, leg: Limb) -> None:
    """Draw a leg with its shoe and, unless a skirt does it, what covers it."""
    scale = view.scale * (0.45 + 0.55 * person.build)
    points = [view.project(*point) for point in leg.points]
    radii = [radius * scale for radius in LEG_RADII]
    bare = person.skin if person.lower_type != "skirt" or person.lower_detail != "cuffs" else shade(person.lower, 0.7)
    left, up, forward = leg.points[2]
    heel = view.project(left, up - 0.018, forward - 0.02)
    toe = view.project(left + leg.side * 0.015, up - 0.026, forward + FOOT_LENGTH)
    if person.lower_type != "trousers":
        draw_limb(canvas, points, radii, bare)
    canvas.capsule(heel, toe, 0.024 * view.scale, 0.018 * view.scale, person.shoes)
    canvas.bar((heel[0], heel[1] + 0.02 * view.scale), (toe[0], toe[1] + 0.014 * view.scale), 0.005 * view.scale,
               blend(person.shoes, (235, 235, 235), 0.55))  # fmt: skip
    reach = {"trousers": 1.93, "shorts": 0.88, "skirt": 0.0}[person.lower_type]
    if reach == 0.0:
        return
    cut = person.leg_cut if person.lower_type == "trousers" else 1.22
    cloth = [radii[0] * 1.02, radii[1] * (0.5 + 0.5 * cut) * 1.08, radii[2] * cut * 1.12]
    if person.lower_type == "shorts":
        cloth[1] = radii[1] * 1.45
    draw_limb(canvas, points, cloth, person.lower, reach)
    if person.lower_detail == "side_stripe" and view.depth(leg.side, 0.0) > -0.6:
        outer = leg.side * math.cos(view.heading) * 0.62
        shifted = [(x + outer * radius, y) for (x, y), radius in zip(points, cloth, strict=True)]
        for part in range(2 if reach > 1 else 1):
            canvas.bar(shifted[part], along(shifted, min(part + 1, reach)), 0.009 * view.scale, person.lower_accent)
    elif person.lower_detail == "cuffs":
        last = cloth[2] if reach > 1 else cloth[1]
        canvas.bar(along(points, reach - 0.12), along(points, reach), last * 1.12, person.lower_accent)


def draw_seat(canvas: Canvas, view: View, person: Person, drop: float) -> None:
    """Draw the hips, which join the trouser legs below the upper garment."""
    build = 0.45 + 0.55 * person.build
    sections = [(0.55 - drop, 0.09, 0.06), (0.49 - drop, 0.1 * person.hips, 0.066), (0.445 - drop, 0.084, 0.056)]
    rows = outline(view, [(up, lateral * build, sagittal * build) for up, lateral, sagittal in sections])
    canvas.stack(rows, shade(person.lower, 0.92))


def draw_skirt(canvas: Canvas, view: View, person: Person, legs: Sequence[Limb], drop: float) -> None:
    """Draw a skirt that gives way to the thighs."""
    build = 0.45 + 0.55 * person.build
    sections = [(0.56 - drop, 0.09, 0.06), (0.48 - drop, 0.108, 0.075), (0.31 - drop, 0.125, 0.1)]
    rows = outline(view, [(up, lateral * build * person.hips, sagittal * build) for up, lateral, sagittal in sections])
    thighs = [along([view.project(*p) for p in leg.points], 0.85)[0] for leg in legs]
    y, left, right = rows[-1]
    margin = 0.045 * view.scale
    rows[-1] = (y, min(left, min(thighs) - margin), max(right, max(thighs) + margin))
    canvas.stack(rows, person.lower)
    canvas.stack([(y, right - 0.25 * (right - left), right) for y, left, right in rows], shade(person.lower, 0.8))
    if person.lower_detail != "plain":
        (_, left0, right0), (y1, left1, right1) = rows[-2:]
        band = 0.022 * view.scale
        canvas.stack([(y1 - band, left1 + 0.1 * (left0 - left1), right1 + 0.1 * (right0 - right1)),
                      (y1, left1, right1)], person.lower_accent)  # fmt: skip


def draw_arm(canvas: Canvas, view: View, person: Person, arm: Limb, with_handbag: bool) -> None:
    """Draw an arm with its sleeve, its hand and perhaps a handbag in it."""
    scale = view.scale * (0.45 + 0.55 * person.build)
    points = [view.project(*point) for point in arm.points]
    radii = [radius * scale for radius in ARM_RADII]
    if with_handbag:
        draw_handbag(canvas, view, person, points[2])
    draw_limb(canvas, points, radii, person.skin)
    canvas.disc(points[2][0], points[2][1] + 0.012 * view.scale, 0.022 * view.scale, shade(person.skin, 0.95))
    draw_sleeve(canvas, person, points, radii)
