"""Cross-modal densely guided knowledge distillation, reproduced.

>>> import cdgkd_utils as cd
>>> lab = cd.start(globals())          # in a notebook, after the cell tagged "parameters"
>>> lab.run("cdgkd").log               # trained now, or read back
>>> lab.scores(["ce", "kd", "cdgkd"])  # accuracy on unseen trials and unseen people, one fold

Everything that a notebook uses hangs on ``cd`` and ``lab``; pictures are in ``cd.plot``.
"""

from importlib import import_module

__version__ = "0.2.0"

# Where each name of the facade lives; imported when first asked for, so that `import cdgkd_utils` is instant.
_PLACES = {
    "lab": ("start", "Lab"),
    "config": ("Params", "ParameterError"),
    "data.load": ("load_windows",),
    "data.types": ("Windows", "DataError"),
    "data.constants": ("CHANNELS",),
    "data.twin": ("WORLDS",),
    "data.splits": ("make_folds", "check_fold", "LeakError"),
    "data.own": ("from_arrays", "from_epochs"),
    "data.doctor": ("check_folder",),
    "models": ("build_model", "n_parameters", "ModelOutput"),
    "methods.loss": ("CrossEntropy", "LossValue"),
    "methods.distillation": ("kd_divergence",),
    "methods.rebalancing": (
        *("class_means", "log_probabilities", "own_class_probability", "prototype_cross_entropy"),
        *("imbalance_ratio", "modality_weights"),
    ),
    "training": ("Inputs", "TrainSettings", "fit", "predict"),
    "experiments.recipes": ("RECIPES", "Recipe", "find_recipe"),
    "experiments.runs": ("Experiment",),
    "experiments.study": ("Study",),
    "results.paper": ("paper_accuracy",),
    "deploy.student": ("load_student",),
    "deploy.clip": ("read_clip", "example_clip", "DeployError"),
    "deploy.what_if": ("WhatIf",),
    "deploy.perturb": ("Change",),
    "viz.panel": ("explore", "strip", "describe"),
}
_HOME = {name: module for module, names in _PLACES.items() for name in names}
__all__ = ["plot", *_HOME]


def __getattr__(name: str):
    if name == "plot":
        return import_module(".viz", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
