"""Face video of the synthetic twin: parameters at the bin centres, drawn at any time between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..constants import N_FRAMES, VIDEO_FPS, WINDOW_SECONDS
from .face_drawing import EXPRESSION, PARAMETERS, FaceIdentity, draw_face
from .plan import SubjectPlan, TwinSettings

FEELING_GAIN, TRIAL_SD, FRAME_SD = 1.5, 0.5, 0.4  # of the expression
BURST_PROBABILITY, BURST, REST = 0.7, (0.7, 1.3), 0.25  # how much of the feeling a window shows
BLINK_PROBABILITY, DISC_PROBABILITY = 0.06, 0.08  # per frame, per window
LIGHT_SD = 0.15
# Expression per unit of feeling, rows in EXPRESSION order, columns in TARGETS order.
FEELING = np.array([(1.0, 0.0), (0.0, 1.2), (0.0, 1.1), (0.8, 0.0), (0.0, 1.1)])
# Pose: sd between trials and between frames of shift_x, shift_y, yaw, roll.
POSE_TRIAL_SD = np.array([0.03, 0.03, 0.35, 0.05])
POSE_FRAME_SD = np.array([0.012, 0.012, 0.12, 0.018])


@dataclass(frozen=True)
class FaceTrack:
    """One trial's face.

    Attributes
    ----------
    identity : FaceIdentity
    times : ndarray, shape (n_keys,)
        Bin centres in s from the start of the clip.
    keys : ndarray, shape (n_keys, 13)
        Value of each of ``PARAMETERS`` at `times`.
    light : ndarray, shape (3,)
        Relative brightness in the middle and its change towards the right and the lower edge.
    """

    identity: FaceIdentity
    times: np.ndarray
    keys: np.ndarray
    light: np.ndarray


def bin_centres(n_windows: int) -> np.ndarray:
    """Times of the sampled frames: centres of five 0.8 s bins per window, shape (5 * n_windows,), s.

    Computed from whole frame numbers, so that frame k of a 50 fps clip meets its time exactly.
    """
    per_bin = round(WINDOW_SECONDS / N_FRAMES * VIDEO_FPS)
    return (np.arange(n_windows * N_FRAMES) * per_bin + per_bin // 2) / VIDEO_FPS


def face_track(settings: TwinSettings, plan: SubjectPlan, trial_row: int) -> FaceTrack:
    """Draw what the face does in one trial; of the feelings it knows ``plan.x_video`` only.

    ``expression = habit + trial + 1.5 envelope expressiveness (M x_video) + frame`` with normal trial
    (0.5) and frame (0.4) parts; the envelope of a window is U(0.7, 1.3) with probability 0.7, else 0.25.

    Parameters
    ----------
    settings : TwinSettings
    plan : SubjectPlan
    trial_row : int
        0-based row of the plan.

    Returns
    -------
    FaceTrack
    """
    rng = settings.stream(plan.subject, "face", trial_row + 1)
    n_windows = int(plan.n_windows[trial_row])
    n_keys = n_windows * N_FRAMES
    who = plan.identity
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
    """Parameters between the keys by linear interpolation, constant outside; the keys themselves at the keys.

    Returns
    -------
    ndarray, shape (len(times), 13)
    """
    return np.column_stack([np.interp(times, track.times, column) for column in track.keys.T])


def render(track: FaceTrack, times: np.ndarray, size: int = 128) -> np.ndarray:
    """Draw the face at the given times.

    Parameters
    ----------
    track : FaceTrack
    times : ndarray, shape (n,)
        In s from the start of the clip.
    size : int
        Edge of the pictures in pixels.

    Returns
    -------
    ndarray, shape (n, size, size, 3), uint8
    """
    place = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    middle, right, down = track.light.astype(np.float32)
    light = np.repeat((middle * (1 + right * place + down * place[:, None]))[:, :, None], 3, axis=2)
    out = np.empty((len(times), size, size, 3), dtype=np.uint8)
    for picture, row in zip(out, parameters_at(track, np.asarray(times)), strict=True):
        drawn = draw_face(track.identity, dict(zip(PARAMETERS, row.tolist(), strict=True)), size)
        lit = drawn * light
        np.clip(lit, 0, 255, out=lit)
        picture[:] = lit
    return out
