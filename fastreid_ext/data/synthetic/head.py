"""Head, face, hair and hat."""

import math
from collections.abc import Sequence

from fastreid_ext.data.synthetic.canvas import Canvas, blend, shade
from fastreid_ext.data.synthetic.person import Person
from fastreid_ext.data.synthetic.skeleton import (
    HEAD_HALF_HEIGHT,
    HEAD_HALF_WIDTH,
    HEAD_UP,
    BodyPoint,
    View,
    head_joints,
)


def draw_neck(canvas: Canvas, view: View, person: Person, drop: float) -> None:
    """Draw the neck, which the garment then covers."""
    top, bottom = view.project(0.0, 0.885 - drop, 0.008), view.project(0.0, 0.82 - drop, 0.0)
    canvas.bar(top, bottom, 0.027 * view.scale * (0.6 + 0.4 * person.build), shade(person.skin, 0.82))


def draw_head(canvas: Canvas, view: View, person: Person, drop: float, with_hat: bool) -> None:
    """Draw head, face and hair as seen from ``view`` (which includes the turn of the head)."""
    scale, facing, sideways = view.scale, math.cos(view.heading), math.sin(view.heading)
    half_width, half_height = HEAD_HALF_WIDTH * scale, HEAD_HALF_HEIGHT * scale
    x, y = view.project(0.0, HEAD_UP - drop, 0.0)
    joints = head_joints(drop)
    for ear in joints[3:]:
        if view.depth(ear[0], ear[2]) > -0.03 and person.hair_style != "long":
            canvas.oval(*view.project(*ear), 0.011 * scale, 0.018 * scale, shade(person.skin, 0.86))
    canvas.oval(x, y, half_width, half_height, shade(person.skin, 0.9))
    hair = person.hair
    lift = 0.012 * scale if person.hair_style == "crop" else 0.018 * scale
    canvas.oval(x, y, half_width * 1.06, half_height * 1.02, hair)
    if facing > -0.45:
        # The face slides over the head as it turns away.
        face_half = half_width * (0.62 + 0.3 * max(-0.6, facing))
        face_x = x + 0.36 * half_width * sideways
        canvas.oval(face_x, y + lift, face_half, half_height * 0.86, person.skin)
        draw_face(canvas, view, person, joints, drop)
    canvas.fan(x, y - 0.1 * half_height, half_width * 1.06, half_height * 0.98, hair, start=195, end=345)
    if person.hair_style == "long" and abs(facing) < 0.75:
        side_x = x - 0.5 * half_width * sideways
        canvas.oval(side_x, y + 0.35 * half_height, half_width * 0.6, half_height * 0.95, hair)
    if not hair_is_behind(view):
        draw_hair_back(canvas, view, person, drop)
    canvas.oval(x - 0.3 * half_width, y - 0.62 * half_height, half_width * 0.4, half_height * 0.16, shade(hair, 1.35))
    if with_hat:
        draw_hat(canvas, view, person, x, y, half_width, half_height)


def draw_face(canvas: Canvas, view: View, person: Person, joints: Sequence[BodyPoint], drop: float) -> None:
    """Draw eyes, nose and mouth where they are in sight."""
    scale = view.scale
    for left, up, forward in joints[1:3]:
        if view.depth(left, forward) > 0.012:
            eye_x, eye_y = view.project(left, up, forward)
            canvas.oval(eye_x, eye_y, 0.0085 * scale, 0.006 * scale, (38, 34, 34))
            canvas.oval(eye_x, eye_y - 0.016 * scale, 0.013 * scale, 0.003 * scale, shade(person.hair, 0.9))
    left, up, forward = joints[0]
    if view.depth(left, forward) > -0.02:
        nose_x, nose_y = view.project(left, up - 0.004, forward * 0.98)
        canvas.oval(nose_x, nose_y, 0.006 * scale, 0.011 * scale, shade(person.skin, 0.84))
    mouth_x, mouth_y = view.project(0.0, HEAD_UP - 0.038 - drop, 0.046)
    if view.depth(0.0, 1.0) > 0.1:
        colour = blend(person.skin, (70, 60, 150), 0.5)
        canvas.oval(mouth_x, mouth_y, 0.014 * scale * view.depth(0.0, 1.0), 0.0045 * scale, colour)


def hair_is_behind(view: View) -> bool:
    """Whether the back of the head points away from the camera, so that its hair is drawn before the torso."""
    return math.cos(view.heading) > -0.15


def draw_hair_back(canvas: Canvas, view: View, person: Person, drop: float) -> None:
    """Draw the hair that hangs or is tied at the back of the head."""
    scale = view.scale
    x, y = view.project(0.0, HEAD_UP - drop, 0.0)
    back_x = x - math.sin(view.heading) * HEAD_HALF_WIDTH * scale
    if person.hair_style == "long":
        middle = 0.5 * (x + back_x)
        half = HEAD_HALF_WIDTH * scale * (0.75 + 0.4 * abs(math.cos(view.heading)))
        rows = [(y - 0.02 * scale, middle - half * 0.9, middle + half * 0.9),
                (y + 0.07 * scale, middle - half, middle + half),
                (y + 0.16 * scale, middle - 0.8 * half, middle + 0.8 * half)]  # fmt: skip
        canvas.stack(rows, person.hair)
        canvas.oval(middle, y + 0.155 * scale, 0.8 * half, 0.018 * scale, shade(person.hair, 0.9))
    elif person.hair_style == "bun":
        canvas.disc(0.3 * x + 0.7 * back_x, y - 0.062 * scale, 0.03 * scale, shade(person.hair, 1.1))
    elif person.hair_style == "ponytail":
        tie = (0.15 * x + 0.85 * back_x, y - 0.02 * scale)
        tip = (back_x + 0.35 * (back_x - x), y + 0.12 * scale)
        canvas.capsule(tie, tip, 0.022 * scale, 0.012 * scale, shade(person.hair, 1.1))


def draw_hat(
    canvas: Canvas, view: View, person: Person, x: float, y: float, half_width: float, half_height: float
) -> None:
    """Draw a cap whose peak points where the head looks."""
    rim = y - 0.28 * half_height
    forward, sideways = math.cos(view.heading), math.sin(view.heading)
    canvas.fan(x, rim, half_width * 1.14, half_height * 0.86, person.hat, start=180, end=360)
    canvas.box(x - half_width * 1.12, rim - 0.08 * half_height, x + half_width * 1.12, rim + 0.06 * half_height,
               shade(person.hat, 0.8))  # fmt: skip
    if forward > -0.3:
        peak_x = x + 1.0 * half_width * sideways
        peak_half = half_width * (0.55 + 0.5 * max(0.0, forward))
        canvas.oval(peak_x, rim + 0.06 * half_height, peak_half, half_height * 0.15, shade(person.hat, 0.7))
