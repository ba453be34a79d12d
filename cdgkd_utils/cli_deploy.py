"""The commands ``export`` and ``predict``: a finished student as a folder, and its answers on a video file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .config import DATASETS, PROFILES, TARGETS, WORLD_HELP, Params


def add_deploy(commands: argparse._SubParsersAction) -> None:
    """Add both commands to the parser of the command line."""
    options = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter}
    export = commands.add_parser(
        "export",
        help="write a trained student as a folder that stands alone",
        description="Train (or read back) the CDGKD student of fold 0 and write its weights, scaling, model card "
        "and, with the extra 'onnx', student.onnx.",
        **options,
    )
    default = Params()
    export.add_argument("--out", type=Path, required=True, help="folder to make; it must not exist or be empty")
    export.add_argument("--dataset", choices=DATASETS, default=default.dataset)
    export.add_argument("--data-root", default=default.data_root, help="folder of the files, for real data")
    export.add_argument("--target", choices=TARGETS, default=default.target)
    export.add_argument("--profile", choices=PROFILES, default=default.profile)
    export.add_argument("--seed", type=int, default=default.seed)
    export.add_argument("--world", default=default.world, help=WORLD_HELP)
    export.add_argument("--method", default="cdgkd", help="recipe of a network that takes video only")
    export.set_defaults(run=_export)
    predict = commands.add_parser(
        "predict",
        help="answer a video file with an exported student",
        description="Print P(high) for each 4 s of a clip. Nothing is stored or sent anywhere.",
        **options,
    )
    predict.add_argument("clip", type=Path)
    predict.add_argument("--model", type=Path, required=True, help="folder that 'export' wrote")
    predict.add_argument("--runtime", choices=["torch", "onnx"], default="torch")
    predict.set_defaults(run=_predict)


def _export(args: argparse.Namespace) -> None:
    import numpy as np  # heavy, as all of these; --help needs none of it

    from .deploy.onnx_file import onnx_missing, write_onnx
    from .deploy.student import deploy, export_student
    from .experiments.recipes import RECIPES
    from .experiments.runs import Experiment
    from .experiments.study import Study
    from .results.card import card_scores, model_card

    if args.out.exists() and not (args.out.is_dir() and not any(args.out.iterdir())):
        raise FileExistsError(f"--out {args.out}: exists and is not empty; choose another folder or remove it")
    params = Params(
        dataset=args.dataset,
        # A relative path means what it means here, wherever files are opened later.
        data_root=str(Path(args.data_root).expanduser().resolve()) if args.data_root else "",
        target=args.target,
        profile=args.profile,
        seed=args.seed,
        world=args.world,
    )
    if args.method not in RECIPES:
        raise ValueError(f"--method: expected a recipe such as cdgkd, kd or ce, got {args.method!r}")
    experiment = Experiment(Study(params), params.target, fold=0)
    record = experiment.run(args.method, progress=True)
    student = deploy(experiment, record)
    scores = card_scores(record.folder, student.about["temperature"], np.random.default_rng(params.seed))
    reason = onnx_missing()
    export_student(student, args.out, model_card(student.about, scores), None if reason else write_onnx)
    sys.stdout.write(f"{args.out}: {', '.join(sorted(path.name for path in args.out.iterdir()))}\n")
    if reason:
        sys.stdout.write(f"no student.onnx: {reason}\n")


def _predict(args: argparse.Namespace) -> None:
    from .deploy.clip import read_clip
    from .deploy.student import load_student, read_about

    if args.runtime == "onnx":
        from .deploy.onnx_file import ONNX, OnnxStudent

        about, predict = read_about(args.model), OnnxStudent(args.model / ONNX)
    else:
        student = load_student(args.model)
        about, predict = student.about, student
    clip = read_clip(args.clip, about["extractor"], about["crop"])
    sys.stdout.write(f"{'from (s)':>9}{'to (s)':>8}{'P(high)':>9}  {about['target']}, {clip.name}\n")
    for number, p in enumerate(clip.answer(predict).tolist()):
        sys.stdout.write(f"{4 * number:>9}{4 * number + 4:>8}{p:>9.3f}\n")
    if about["synthetic"]:
        sys.stdout.write("trained on synthetic data: these numbers say nothing about people\n")
