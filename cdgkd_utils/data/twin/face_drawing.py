"""How a face of the synthetic twin looks: who it is and what its 13 parameters draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Shape = tuple[np.ndarray, Colour]  # corners in half picture widths from the middle, shape (n, 2)

EXPRESSION = ("mouth_curve", "mouth_open", "brow_raise", "brow_tilt", "eye_open")
PARAMETERS = (*EXPRESSION, "blink", "shift_x", "shift_y", "yaw", "roll", "disc_radius", "disc_x", "disc_y")
STRONGEST = 2.5  # expressions saturate smoothly here, so that a face stays a face

_MOUTH, _DISC = (95, 25, 30), (96, 84, 78)
_WHITE, _PUPIL = (242, 240, 236), (22, 18, 18)


@dataclass(frozen=True)
class FaceIdentity:
    """What does not change in one person's face. Lengths are in half picture widths.

    Attributes
    ----------
    skin, hair, background, shirt, iris : tuple of int
        Colours, 0..255.
    width, height : float
        Half axes of the head.
    eye_spacing, eye_size, brow_thickness, nose_length, mouth_width, mouth_y, hairline : float
    habit : tuple of float
        The resting expression, ``EXPRESSION`` order, in expression units.
    expressiveness : float
        Gain of the feeling in the face.
    """

    skin: Colour
    hair: Colour
    background: Colour
    shirt: Colour
    iris: Colour
    width: float
    height: float
    eye_spacing: float
    eye_size: float
    brow_thickness: float
    nose_length: float
    mouth_width: float
    mouth_y: float
    hairline: float
    habit: tuple[float, ...]
    expressiveness: float


def draw_identity(rng: np.random.Generator) -> FaceIdentity:
    """Draw a person: uniform shapes and colours, ``habit ~ N(0, 0.5)``, ``expressiveness = exp(0.3 N)``."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def mix(dark: Colour, light: Colour) -> Colour:
        share = rng.uniform()
        return tuple(round(a + share * (b - a)) for a, b in zip(dark, light, strict=True))

    return FaceIdentity(
        skin=mix((112, 74, 52), (240, 205, 180)),
        hair=mix((25, 18, 15), (150, 110, 60)),
        background=mix((60, 75, 90), (190, 200, 205)),
        shirt=tuple(int(c) for c in rng.integers(40, 200, 3)),
        iris=mix((60, 40, 25), (80, 120, 140)),
        width=between(0.56, 0.66),
        height=between(0.76, 0.84),
        eye_spacing=between(0.25, 0.31),
        eye_size=between(0.120, 0.155),
        brow_thickness=between(0.035, 0.065),
        nose_length=between(0.22, 0.30),
        mouth_width=between(0.24, 0.32),
        mouth_y=between(0.40, 0.46),
        hairline=between(0.60, 0.70),
        habit=tuple(0.5 * rng.standard_normal(len(EXPRESSION))),
        expressiveness=float(np.exp(0.3 * rng.standard_normal())),
    )


def draw_face(identity: FaceIdentity, values: Mapping[str, float], size: int) -> np.ndarray:
    """Draw one picture.

    Parameters
    ----------
    identity : FaceIdentity
    values : mapping
        One number for each of ``PARAMETERS``: expressions in expression units (0 = neutral), `blink`
        0 (open) to 1 (closed), shifts and the disc in half picture widths, `yaw` about -1..1, `roll`
        in radians.
    size : int
        Edge in pixels.

    Returns
    -------
    ndarray, shape (size, size, 3), uint8
    """
    who = identity
    curve, mouth_open, brow_raise, tilt, eye_open = (
        STRONGEST * np.tanh(values[name] / STRONGEST) for name in EXPRESSION
    )
    turn = 0.10 * values["yaw"]  # inner features move across the head when it turns
    head: list[Shape] = []
    dark, brows = _shade(who.skin, 0.72), _shade(who.hair, 0.6)

    head.append((_oval(0, -0.10, who.width + 0.10, who.height + 0.06), who.hair))
    neck = np.array([(-0.24, 0.5), (0.24, 0.5), (0.28, 1.0), (-0.28, 1.0)])
    head.append((neck, _shade(who.skin, 0.82)))
    shirt = np.array([(-0.95, 1.6), (-0.8, 1.02), (-0.26, 0.88), (0.26, 0.88), (0.8, 1.02), (0.95, 1.6)])
    head.append((shirt, who.shirt))
    for side in (-1, 1):
        head.append((_oval(side * who.width - 0.4 * turn, 0.02, 0.07, 0.14), _shade(who.skin, 0.88)))
    head.append((_oval(0, 0, who.width, who.height), who.skin))
    rim = _oval(0, 0, who.width, who.height)
    head.append((np.vstack([rim[rim[:, 1] < -who.hairline], [(0, -who.hairline + 0.04)]]), who.hair))

    eyes_y = -0.14
    openness = max(0.10 + 0.035 * eye_open, 0.015) * (1 - 0.9 * values["blink"]) * who.eye_size / 0.14
    for side in (-1, 1):
        x = side * who.eye_spacing + turn
        white = _oval(x, eyes_y, who.eye_size, openness)
        head.append((white - (0, 0.025), dark))
        head.append((white, _WHITE))
        for radius, colour in ((0.075, who.iris), (0.035, _PUPIL)):
            head.append((_oval(x + 0.25 * turn, eyes_y, radius, min(radius, openness)), colour))
        head.append((_brow(who, side, x, brow_raise, tilt), brows))

    tip = -0.10 + who.nose_length
    nose = np.array([(0.8 * turn, -0.06), (1.5 * turn + 0.085, tip), (1.5 * turn - 0.085, tip)])
    head.append((nose, _shade(who.skin, 0.84)))
    head.extend(_mouth(who, turn, curve, mouth_open))
    return _paint(head, values, who.background, size)


def _brow(who: FaceIdentity, side: int, x: float, brow_raise: float, tilt: float) -> np.ndarray:
    middle = -0.37 - 0.060 * brow_raise
    # A positive tilt lifts the inner ends less than the outer ones: the angry V is the negative end.
    inner, outer = middle - 0.050 * tilt, middle + 0.050 * tilt
    along = np.array([x - side * 0.15, x + side * 0.02, x + side * 0.18])
    upper = np.array([inner, middle - 0.05, outer])
    lower = upper + 2 * who.brow_thickness
    return np.vstack([np.column_stack([along, upper]), np.column_stack([along, lower])[::-1]])


def _mouth(who: FaceIdentity, turn: float, curve: float, mouth_open: float) -> list[Shape]:
    across = np.linspace(-1, 1, 9)
    half_width = who.mouth_width * (1 + 0.06 * curve)
    x = half_width * across + 1.2 * turn
    bow = 0.085 * curve * (1 - 2 * across**2)  # corners up and centre down when smiling
    gap = max(0.055 + 0.05 * mouth_open, 0.0) * (1 - across**2)
    lip = 0.045 * (1 - 0.7 * across**2)
    top, bottom = who.mouth_y + bow - 0.6 * gap, who.mouth_y + bow + 1.4 * gap

    def ring(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
        return np.vstack([np.column_stack([x, upper]), np.column_stack([x, lower])[::-1]])

    lips = tuple(round(0.55 * c + 0.45 * t) for c, t in zip(who.skin, (150, 40, 50), strict=True))
    return [(ring(top - lip, bottom + lip), lips), (ring(top, bottom), _MOUTH)]


def _paint(shapes: list[Shape], values: Mapping[str, float], background: Colour, size: int) -> np.ndarray:
    """Turn and shift all shapes at once, then fill them in order; the disc lies in front."""
    points = np.vstack([polygon for polygon, _ in shapes])
    c, s = np.cos(values["roll"]), np.sin(values["roll"])
    points = points @ np.array([[c, s], [-s, c]]) + (values["shift_x"], values["shift_y"])
    pixels = ((points + 1) * (size / 2) - 0.5).ravel().tolist()
    picture = Image.new("RGB", (size, size), background)
    pen = ImageDraw.Draw(picture)
    start = 0
    for polygon, colour in shapes:
        stop = start + 2 * len(polygon)
        pen.polygon(pixels[start:stop], fill=colour)
        start = stop
    if values["disc_radius"] > 0:
        disc = _oval(values["disc_x"], values["disc_y"], values["disc_radius"], values["disc_radius"])
        pen.polygon(((disc + 1) * (size / 2) - 0.5).ravel().tolist(), fill=_DISC)
    return np.asarray(picture)


_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])


def _oval(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    return _CIRCLE * (half_width, half_height) + (x, y)


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(round(channel * factor) for channel in colour)
