"""Face video of the synthetic twin: what a face does in a trial, and how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageDraw

from ..constants import N_FRAMES, VIDEO_FPS, WINDOW_SECONDS
from . import EXPRESSION, SubjectPlan, TwinSettings

Colour = tuple[int, int, int]
Shape = tuple[np.ndarray, Colour]  # corners in half picture widths from the middle, shape (n, 2)

PARAMETERS = (*EXPRESSION, "blink", "shift_x", "shift_y", "yaw", "roll", "disc_radius", "disc_x", "disc_y")
STRONGEST = 2.5  # expressions saturate smoothly here, so that a face stays a face

_MOUTH, _DISC = (95, 25, 30), (96, 84, 78)
_WHITE, _PUPIL = (242, 240, 236), (22, 18, 18)

FEELING_GAIN, TRIAL_SD, FRAME_SD = 1.5, 0.5, 0.4  # of the expression
BURST_PROBABILITY, BURST, REST = 0.7, (0.7, 1.3), 0.25  # how much of the feeling a window shows
BLINK_PROBABILITY, DISC_PROBABILITY = 0.06, 0.08  # per frame, per window
LIGHT_SD = 0.15
# Expression per unit of feeling, rows in EXPRESSION order, columns in TARGETS order.
FEELING = np.array([(1.0, 0.0), (0.0, 1.2), (0.0, 1.1), (0.8, 0.0), (0.0, 1.1)])
# Pose: sd between trials and between frames of shift_x, shift_y, yaw, roll.
POSE_TRIAL_SD = np.array([0.03, 0.03, 0.35, 0.05])
POSE_FRAME_SD = np.array([0.012, 0.012, 0.12, 0.018])


def draw_face(who: SimpleNamespace, values: Mapping[str, float], size: int) -> np.ndarray:
    """Draw one picture, shape (size, size, 3), uint8, from one number for each of ``PARAMETERS``.

    Expressions are in expression units (0 = neutral), `blink` is 0 (open) to 1 (closed), shifts and the disc are in
    half picture widths, `yaw` about -1..1, `roll` in radians.
    """
    curve, mouth_open, brow_raise, tilt, eye_open = (STRONGEST * np.tanh(values[n] / STRONGEST) for n in EXPRESSION)
    turn = 0.10 * values["yaw"]  # inner features move across the head when it turns
    rim = _oval(0, 0, who.width, who.height)
    fringe = np.vstack([rim[rim[:, 1] < -who.hairline], [(0, -who.hairline + 0.04)]])
    shirt = [(-0.95, 1.6), (-0.8, 1.02), (-0.26, 0.88), (0.26, 0.88), (0.8, 1.02), (0.95, 1.6)]
    ears = [(_oval(side * who.width - 0.4 * turn, 0.02, 0.07, 0.14), _shade(who.skin, 0.88)) for side in (-1, 1)]
    head: list[Shape] = [
        (_oval(0, -0.10, who.width + 0.10, who.height + 0.06), who.hair),
        (np.array([(-0.24, 0.5), (0.24, 0.5), (0.28, 1.0), (-0.28, 1.0)]), _shade(who.skin, 0.82)),  # the neck
        (np.array(shirt), who.shirt),
        *ears,
        (rim, who.skin),
        (fringe, who.hair),
    ]
    openness = max(0.10 + 0.035 * eye_open, 0.015) * (1 - 0.9 * values["blink"]) * who.eye_size / 0.14
    brow = -0.37 - 0.060 * brow_raise
    # A positive tilt lifts the inner ends less than the outer ones: the angry V is the negative end.
    arch = np.array([brow - 0.050 * tilt, brow - 0.05, brow + 0.050 * tilt])
    for side in (-1, 1):
        x = side * who.eye_spacing + turn
        white = _oval(x, -0.14, who.eye_size, openness)
        head += [(white - (0, 0.025), _shade(who.skin, 0.72)), (white, _WHITE)]
        for radius, colour in ((0.075, who.iris), (0.035, _PUPIL)):
            head.append((_oval(x + 0.25 * turn, -0.14, radius, min(radius, openness)), colour))
        along = np.array([x - side * 0.15, x + side * 0.02, x + side * 0.18])
        head.append((_ring(along, arch, arch + 2 * who.brow_thickness), _shade(who.hair, 0.6)))
    tip = -0.10 + who.nose_length
    nose = np.array([(0.8 * turn, -0.06), (1.5 * turn + 0.085, tip), (1.5 * turn - 0.085, tip)])
    head.append((nose, _shade(who.skin, 0.84)))

    across = np.linspace(-1, 1, 9)
    x = who.mouth_width * (1 + 0.06 * curve) * across + 1.2 * turn
    bow = 0.085 * curve * (1 - 2 * across**2)  # corners up and centre down when smiling
    gap, lip = max(0.055 + 0.05 * mouth_open, 0.0) * (1 - across**2), 0.045 * (1 - 0.7 * across**2)
    top, bottom = who.mouth_y + bow - 0.6 * gap, who.mouth_y + bow + 1.4 * gap
    lips = tuple(round(0.55 * c + 0.45 * t) for c, t in zip(who.skin, (150, 40, 50), strict=True))
    head += [(_ring(x, top - lip, bottom + lip), lips), (_ring(x, top, bottom), _MOUTH)]

    # Turn and shift all shapes at once, then fill them in order; the disc lies in front.
    c, s, shift = np.cos(values["roll"]), np.sin(values["roll"]), (values["shift_x"], values["shift_y"])
    points = np.vstack([polygon for polygon, _ in head]) @ np.array([[c, s], [-s, c]]) + shift
    moved = np.split(points, np.cumsum([len(polygon) for polygon, _ in head])[:-1])
    shapes = [(polygon, colour) for polygon, (_, colour) in zip(moved, head, strict=True)]
    if (radius := values["disc_radius"]) > 0:
        shapes.append((_oval(values["disc_x"], values["disc_y"], radius, radius), _DISC))
    picture = Image.new("RGB", (size, size), who.background)
    pen = ImageDraw.Draw(picture)
    for polygon, colour in shapes:
        pen.polygon(((polygon + 1) * (size / 2) - 0.5).ravel().tolist(), fill=colour)
    return np.asarray(picture)


_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])


def _oval(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    return _CIRCLE * (half_width, half_height) + (x, y)


def _ring(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.vstack([np.column_stack([x, upper]), np.column_stack([x, lower])[::-1]])


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(round(channel * factor) for channel in colour)


@dataclass(frozen=True)
class FaceTrack:
    """One trial's face."""

    identity: SimpleNamespace
    times: np.ndarray  # (n_keys,), bin centres in s from the start of the clip
    keys: np.ndarray  # (n_keys, 13), value of each of PARAMETERS at `times`; between them linear, outside constant
    light: np.ndarray  # (3,), relative brightness in the middle, its change towards the right and the lower edge


def bin_centres(n_windows: int) -> np.ndarray:
    """Times of the sampled frames: centres of five 0.8 s bins per window, shape (5 * n_windows,), s.

    Computed from whole frame numbers, so that frame k of a 50 fps clip meets its time exactly.
    """
    per_bin = round(WINDOW_SECONDS / N_FRAMES * VIDEO_FPS)
    return (np.arange(n_windows * N_FRAMES) * per_bin + per_bin // 2) / VIDEO_FPS


def face_track(settings: TwinSettings, plan: SubjectPlan, trial_row: int) -> FaceTrack:
    """What the face does in one trial (0-based row of the plan); of the feelings it knows ``plan.x_video`` only.

    ``expression = habit + trial + 1.5 envelope expressiveness (M x_video) + frame`` with normal trial
    (0.5) and frame (0.4) parts; the envelope of a window is U(0.7, 1.3) with probability 0.7, else 0.25.
    """
    rng, who = settings.stream(plan.subject, "face", trial_row + 1), plan.identity
    n_windows = int(plan.n_windows[trial_row])
    n_keys = n_windows * N_FRAMES
    light = LIGHT_SD * rng.standard_normal(3) + (1, 0, 0)
    pose = POSE_TRIAL_SD * rng.standard_normal(4) + POSE_FRAME_SD * rng.standard_normal((n_keys, 4))

    envelope = np.where(rng.random(n_windows) < BURST_PROBABILITY, rng.uniform(*BURST, n_windows), REST)
    shown = FEELING_GAIN * who.expressiveness * np.outer(envelope, FEELING @ plan.x_video[trial_row])
    expression = np.array(who.habit) + TRIAL_SD * rng.standard_normal(len(EXPRESSION))
    expression = expression + np.repeat(shown, N_FRAMES, axis=0)
    expression = expression + FRAME_SD * rng.standard_normal(expression.shape)

    blink = (rng.random((n_keys, 1)) < BLINK_PROBABILITY).astype(float)
    covered = rng.random(n_windows) < DISC_PROBABILITY
    radius = np.where(covered, rng.uniform(0.15, 0.3, n_windows), 0)
    disc = np.column_stack([radius, rng.uniform(-0.6, 0.6, (n_windows, 2))])
    keys = np.hstack([expression, blink, pose, np.repeat(disc, N_FRAMES, axis=0)])
    return FaceTrack(who, bin_centres(n_windows), keys, light)


def parameters_at(track: FaceTrack, times: np.ndarray) -> np.ndarray:
    """Parameters, shape (len(times), 13): linear between the keys, constant outside."""
    return np.column_stack([np.interp(times, track.times, column) for column in track.keys.T])


def render(track: FaceTrack, times: np.ndarray, size: int = 128) -> np.ndarray:
    """Draw the face at the given times (s from the start of the clip), shape (n, size, size, 3), uint8."""
    place = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    middle, right, down = track.light.astype(np.float32)
    light = np.repeat((middle * (1 + right * place + down * place[:, None]))[:, :, None], 3, axis=2)
    out = np.empty((len(times), size, size, 3), dtype=np.uint8)
    for picture, row in zip(out, parameters_at(track, np.asarray(times)), strict=True):
        drawn = draw_face(track.identity, dict(zip(PARAMETERS, row.tolist(), strict=True)), size)
        picture[:] = np.clip(drawn * light, 0, 255)
    return out
