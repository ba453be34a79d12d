"""What tests on the runs of the smoke profile share beside the fixtures in conftest.py."""

from cdgkd_utils.config import Params
from cdgkd_utils.experiments.runs import Experiment

SMOKE = Params(profile="smoke")


def stored(home):
    """Names of everything below the runs' folder."""
    return {path.name for path in (home / "runs").iterdir()} if (home / "runs").is_dir() else set()


def same_log(a, b):
    return a.drop(columns="seconds").equals(b.drop(columns="seconds"))


def fresh(study, like=None):
    """An experiment that has read no run yet; takes over the tensors of `like`, which take a while to scale."""
    experiment = Experiment(study, "valence", 0)
    if like is not None:
        experiment.fold_data = like.fold_data
    return experiment
