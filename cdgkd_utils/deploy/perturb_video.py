"""What can go wrong with a face picture: something in front of it, blur, light, lost frames.

Lengths are shares of the picture's edge, so that a change means the same at every size.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

PARTS = ("none", "upper", "lower", "box")
GREY = 96  # of the cover; near the twin's own discs, which networks have met in training
MIDDLE = 127.5  # contrast is stretched around this grey level


def covered(part: str, share: float, x: float, y: float, size: int) -> tuple[slice, slice]:
    """Rows and columns of a picture that a cover hides.

    Parameters
    ----------
    part : {"none", "upper", "lower", "box"}
    share : float
        Of the picture's height that is hidden from the top or from the bottom; of a box, its edge over the
        picture's edge. In [0, 1].
    x, y : float
        Middle of the box from the left and from the top, as shares of the edge; other parts ignore them.
    size : int
        Edge of the picture in pixels.

    Returns
    -------
    rows, columns : slice
        Edges are rounded to whole pixels; what lies outside the picture is cut off.

    Raises
    ------
    ValueError
        The part is unknown, or a number lies outside [0, 1].
    """
    if part not in PARTS:
        raise ValueError(f"part: expected one of {', '.join(PARTS)}, got {part!r}")
    for name, value in (("share", share), ("x", x), ("y", y)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: expected a share between 0 and 1, got {value}")
    if part == "none":
        return slice(0, 0), slice(0, 0)
    if part == "box":
        return _span(y - share / 2, y + share / 2, size), _span(x - share / 2, x + share / 2, size)
    return _span(0, share, size) if part == "upper" else _span(1 - share, 1, size), slice(0, size)


def occlude(frames: np.ndarray, part: str, share: float = 0.5, x: float = 0.5, y: float = 0.5) -> np.ndarray:
    """Cover a part of every picture with plain grey.

    Parameters
    ----------
    frames : ndarray, shape (..., size, size, 3), uint8
    part, share, x, y
        As in :func:`covered`.

    Returns
    -------
    ndarray, shape of `frames`, uint8
        A copy.

    Raises
    ------
    ValueError
        As in :func:`covered`.
    """
    rows, columns = covered(part, share, x, y, frames.shape[-2])
    out = frames.copy()
    out[..., rows, columns, :] = GREY
    return out


def blur(frames: np.ndarray, sd: float) -> np.ndarray:
    """Blur every picture by a Gaussian.

    Parameters
    ----------
    frames : ndarray, shape (..., size, size, 3), uint8
    sd : float
        Standard deviation as a share of the edge; 0 changes nothing.

    Returns
    -------
    ndarray, shape of `frames`, uint8

    Raises
    ------
    ValueError
        `sd` is negative or above 0.5.
    """
    if not 0 <= sd <= 0.5:
        raise ValueError(f"sd: expected 0 to 0.5 of the picture's edge, got {sd}")
    if sd == 0:
        return frames.copy()
    out = frames.astype(np.float32)
    for axis in (-3, -2):
        out = gaussian_filter1d(out, sd * frames.shape[-2], axis=axis, mode="nearest", truncate=3.0)
    return np.rint(out).astype(np.uint8)


def shift_light(frames: np.ndarray, brightness: float = 0.0, contrast: float = 1.0) -> np.ndarray:
    """Change brightness and contrast, as a lamp or a camera's exposure would; values are clipped at 0 and 255.

    Parameters
    ----------
    frames : ndarray, uint8
    brightness : float
        Grey levels added, -255 to 255.
    contrast : float
        Factor around the middle grey, 0 or more; 1 changes nothing.

    Returns
    -------
    ndarray, shape of `frames`, uint8

    Raises
    ------
    ValueError
        A number is out of range.
    """
    if not -255 <= brightness <= 255:
        raise ValueError(f"brightness: expected -255 to 255 grey levels, got {brightness}")
    if not 0 <= contrast <= 10:
        raise ValueError(f"contrast: expected a factor from 0 to 10, got {contrast}")
    # One entry per grey level: the same arithmetic for 256 numbers instead of for every pixel.
    table = (np.arange(256) - MIDDLE) * contrast + MIDDLE + brightness
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)[frames]


def drop_frames(mask: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Lose `n` of the frames that each window has, at random.

    Parameters
    ----------
    mask : ndarray, shape (n_windows, n_frames), bool
        True where the frame exists.
    n : int
        A window with fewer frames loses all of them.
    rng : Generator
        One ranking of all places is drawn whatever `n` is, so a larger `n` loses the same frames and more.

    Returns
    -------
    ndarray, shape (n_windows, n_frames), bool

    Raises
    ------
    ValueError
        `n` is negative or above the number of frames.
    """
    if not 0 <= n <= mask.shape[1]:
        raise ValueError(f"n: expected 0 to {mask.shape[1]} frames, got {n}")
    # Missing frames rank last: those that go are taken from the ones that are there.
    order = np.where(mask, rng.random(mask.shape), 2.0).argsort(axis=1)
    out = mask.copy()
    np.put_along_axis(out, order[:, :n], False, axis=1)
    return out


def _span(low: float, high: float, size: int) -> slice:
    first, last = (int(np.clip(round(edge * size), 0, size)) for edge in (low, high))
    return slice(first, last)
