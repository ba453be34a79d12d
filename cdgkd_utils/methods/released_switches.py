"""Where the released code of CDGKD departs from its paper, switch by switch, with file and line.

Read in the public repository Frostfreee/CDGKD (folder ``code/``, the one published snapshot); numbers such as T1 or
D4 are those of method.md, sections 3.3 and 4.3.
"""

from __future__ import annotations

from typing import NamedTuple


class Switch(NamedTuple):
    """One choice that the paper and its released code make differently.

    Attributes
    ----------
    name : str
        As in method.md, section 8.
    default : str
        What this package does unless told otherwise.
    released : str
        What the released code does when it is run as its scripts run it.
    where : str
        Files and lines of the released repository; empty where the part in question is not in it.
    defects : str
        Numbers in method.md.
    """

    name: str
    default: str
    released: str
    where: str
    defects: str


SWITCHES = (
    Switch(
        "pmr.mode",
        "on",
        "off in the sweep over alpha: --PMR_loss is not passed",
        "run_experiments.sh:24-29; train_teacher.py:26",
        "T6",
    ),
    Switch("pmr.rho", "sum of p(own class), video over EEG", "always 1", "PMR_loss.py:70-77", "T1"),
    Switch(
        "pmr.weight",
        "clip(1/ρ − 1, 0, 1) and clip(ρ − 1, 0, 1)",
        "0: plain numbers, fixed when the graph is traced",
        "model.py:152-156, 202-204, 269-274",
        "T5",
    ),
    Switch(
        "pmr.loss",
        "−log p(own class), against all prototypes",
        "−log softmax over the classes' own scatters",
        "PMR_loss.py:37, 52, 56-61, 70; model.py:200-204",
        "T2, T3",
    ),
    Switch("pmr.distance", "Euclidean", "mean squared error over windows and features", "PMR_loss.py:37", "T4"),
    Switch(
        "pmr.prototype",
        "training part, evaluation mode, momentum 0.5, no gradient",
        "mean of the mini-batch, with gradient",
        "model.py:200-201",
        "T11",
    ),
    Switch("pmr.absent_class", "skipped", "loss becomes NaN", "PMR_loss.py:23-29, 37", "T10"),
    Switch(
        "kd.ce_weight",
        "0.1 (1 − kd_weight)",
        "1: alpha is not passed on, the class default holds",
        "train_DGKD.py:151; DGKD.py:6, 13, 74",
        "D1",
    ),
    Switch("kd.direction", "KL(guide ‖ learner)", "KL(learner ‖ guide)", "DGKD.py:57, 103; distill.py:57, 83", "D2"),
    Switch("kd.t2", "times T²", "missing", "DGKD.py:74; distill.py:58", "D3"),
    Switch(
        "dgkd.drop",
        "one mask per mini-batch, own seeded generator",
        "one mask per stage, seeded by the operating system",
        "DGKD.py:40, 63-65",
        "D4, D5",
    ),
    Switch("dgkd.drop_in_validation", "never", "as in training", "DGKD.py:107-117", "D10"),
    Switch(
        "train_mode.distilled",
        "training mode",
        "inference mode: no dropout, batch-norm statistics stay 0 and 1",
        "DGKD.py:44, 46; distill.py:48, 50; KD.py:74, 76",
        "D6",
    ),
    Switch("student.stage", "runs", "stops: 3 values unpacked into 2", "DGKD.py:44, 90; StudentModel.py:75", "D7"),
    Switch(
        "l2_video_head",
        "none",
        "1e-3 declared, never added",
        "BasicModule.py:83, 87; model.py:206-214",
        "T12",
    ),
    Switch(
        "fitnets.adapter",
        "learned linear regressor",
        "none; moving average of 769 features",
        "KD.py:84-85, 97",
        "section 5.2",
    ),
    Switch(
        "nst.kind",
        "channels of feature maps, polynomial kernel",
        "windows of the mini-batch, Gaussian kernel",
        "baseline_kd_loss.py:3-30; KD.py:86-89",
        "section 5.3",
    ),
    Switch(
        "flags",
        "strict parameters",
        "type=bool: the text False is true",
        "train_teacher.py:26, 30, 32; train_DGKD.py:203",
        "T7",
    ),
    Switch(
        "select",
        "best validation balanced accuracy, all stages",
        "teacher: best val_loss tested, best val_acc handed on; others: last epoch tested",
        "train_teacher.py:79-96, 126; train_DGKD.py:165-186",
        "T14, D11",
    ),
    Switch("split", "by subject and trial, certified", "unknown: the loader is not in the release", "", "section 0"),
)
