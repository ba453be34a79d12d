"""Extractors of visual features side by side: ``python bench/features.py [--frames 200] [--timm MODEL]``.

Shows on a real photograph (scikit-image's astronaut, scaled) and on the synthetic twin's faces how often an
extractor describes a picture, the milliseconds per picture (one thread of this process; MediaPipe runs its
own), and how well the twin's five drawn expressions can be read from the features: R² of a ridge regression
on people whom it did not see. An extractor whose extra is not installed is named.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import time

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from cdgkd_utils.data.extractors import ExtractorError, extractor
from cdgkd_utils.data.extractors.face_crop import crop_faces
from cdgkd_utils.data.extractors.hog768 import box_reduce
from cdgkd_utils.data.extractors.mediapipe_faces import find_boxes
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.face import face_track, render
from cdgkd_utils.data.twin.plan import EXPRESSION

PICTURE = 256  # pixels, before an extractor's own reduction
EDGES = (512, 384, 256, 192, 128, 96, 64)  # pixels of the whole photograph; the face takes a fifth of it


def twin_faces(n_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures of the twin, who is in each, and its five drawn expressions."""
    settings = TwinSettings(n_subjects=22, n_trials=4, n_windows=1)
    tracks, people = [], []
    for subject in range(1, settings.n_subjects + 1):
        plan = plan_subject(settings, subject)
        tracks += [face_track(settings, plan, row) for row in range(settings.n_trials)]
        people += [subject] * settings.n_trials
    order = np.random.default_rng(0).permutation(len(tracks))[: -(-n_frames // len(tracks[0].times))]
    frames = np.concatenate([render(tracks[i], tracks[i].times, PICTURE) for i in order])[:n_frames]
    keys = np.concatenate([tracks[i].keys[:, : len(EXPRESSION)] for i in order])[:n_frames]
    return frames, np.repeat(np.array(people)[order], len(tracks[0].times))[:n_frames], keys


def readable(features: np.ndarray, people: np.ndarray, expressions: np.ndarray) -> np.ndarray:
    """R² of each expression on people outside the fit."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11)))
    guessed = cross_val_predict(model, features, expressions, groups=people, cv=GroupKFold(5))
    return 1 - ((expressions - guessed) ** 2).sum(axis=0) / ((expressions - expressions.mean(axis=0)) ** 2).sum(axis=0)


def measure(name: str, sets: dict[str, np.ndarray], people: np.ndarray, expressions: np.ndarray) -> list[dict]:
    """One row per set of pictures."""
    rows = []
    with contextlib.closing(extractor(name)) as extract:
        for label, frames in sets.items():
            frames = box_reduce(frames, extract.size)
            extract(frames[:1])  # opens the network
            start = time.perf_counter()
            features, mask = extract(frames)
            cost = (time.perf_counter() - start) / len(frames) * 1e3
            row = {"extractor": name, "pictures": label, "n": len(frames), "described": mask.mean(), "ms": cost}
            if label == "twin" and len(set(people[mask])) >= 5:
                score = readable(features[mask], people[mask], expressions[mask])
                row |= dict(zip(EXPRESSION, score.round(2), strict=True))
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200, help="of the twin")
    parser.add_argument("--timm", action="append", default=[], metavar="MODEL", help="also this model of timm")
    options = parser.parse_args()

    twin, people, expressions = twin_faces(options.frames)
    sets = {"twin": twin}
    photograph = None
    if importlib.util.find_spec("skimage"):
        from skimage.data import astronaut

        photograph = astronaut()
        scaled = [Image.fromarray(photograph).resize((edge, edge), Image.Resampling.BOX) for edge in EDGES]
        sets["photograph"] = np.stack([np.asarray(one.resize((PICTURE, PICTURE))) for one in scaled])
    else:
        print("no photograph: scikit-image is not installed (pip install scikit-image)")

    rows = []
    with threadpool_limits(1):
        for name in ("hog", "mediapipe", *(f"timm:{model}" for model in options.timm)):
            try:
                rows += measure(name, sets, people, expressions)
            except ExtractorError as error:
                print(f"{name} is left out: {error}")
        print(pd.DataFrame(rows).round(3).to_string(index=False, na_rep="-"))
        print("columns on the right: R² of the twin's drawn expressions on people outside the fit")
        try:
            follow(photograph if photograph is not None else twin[0])
        except ExtractorError as error:
            print(f"tracking is left out: {error}")


def follow(picture: np.ndarray) -> None:
    """A face that moves through a 720 x 576 picture: how exactly its box follows, what the crop costs."""
    n_frames, rng = 20, np.random.default_rng(0)
    height, width = picture.shape[:2]
    places = np.column_stack([np.linspace(0, 720 - width, n_frames), rng.uniform(0, 576 - height, n_frames)]).round()
    frames = np.full((n_frames, 576, 720, 3), 90, np.uint8)
    for frame, (x, y) in zip(frames, places.astype(int), strict=True):
        frame[y : y + height, x : x + width] = picture
    start = time.perf_counter()
    candidates = find_boxes(frames)
    found = time.perf_counter()
    _, mask = crop_faces(frames, PICTURE, candidates, smooth=0)
    cut = time.perf_counter()
    rate = np.mean([len(boxes) > 0 for boxes in candidates])
    print(
        f"moving face, {n_frames} frames of 720 x 576: found in {rate:.0%}, valid {mask.mean():.0%}, "
        f"detection {(found - start) / n_frames * 1e3:.1f} ms, crop {(cut - found) / n_frames * 1e3:.1f} ms per frame"
    )
    if rate == 1:
        off = np.array([boxes[0, :2] for boxes in candidates]) - places
        off -= np.median(off, axis=0)
        print(
            f"its box is off by {np.hypot(*off.T).mean():.1f} pixels on average, {np.hypot(*off.T).max():.1f} at most"
        )


if __name__ == "__main__":
    main()
