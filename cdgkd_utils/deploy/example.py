"""A clip of a synthetic person whom no student has seen: what to try a student on without filming anybody."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..config import Params, home
from ..data.deap.ratings import read_ratings
from ..data.deap.writer import write_deap
from ..data.files.fingerprint import settings_key
from ..data.files.mark import TRUTH_FILE
from ..data.twin.generator import TwinSettings

STRANGER = 7919  # added to the seed: people of other repetitions are never this far away
SECONDS, N_TRIALS, SIZE = 24, 4, 128


def example_clip(params: Params) -> tuple[Path, pd.Series]:
    """The synthetic person's most telling clip, written once into the home.

    Parameters
    ----------
    params : Params
        Its world, target and seed decide the clip.

    Returns
    -------
    path : Path
    truth : Series
        The trial's row of the tree's ``truth.csv``, with ``posterior_<target>``, the true P(high).
    """
    design = {"seed": params.seed + STRANGER, "world": params.world, "n_subjects": 1, "n_trials": N_TRIALS}
    folder = home() / "clips" / settings_key({"design": design, "seconds": SECONDS, "size": SIZE})[:16]
    if not folder.is_dir():
        write_deap(TwinSettings(**design), folder, seconds=SECONDS, frame_size=SIZE)
    truth = pd.read_csv(folder / TRUTH_FILE)
    row = truth.iloc[truth[f"x_video_{params.target}"].abs().argmax()]
    ratings = read_ratings(folder, [1])
    return ratings.loc[ratings["Experiment_id"] == int(row["trial"]), "clip"].item(), row
