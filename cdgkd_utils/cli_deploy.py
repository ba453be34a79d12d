"""The commands ``export`` and ``predict``: a finished student as a folder, and its answers on a video file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .config import DATASETS, FAMILIES, PROFILES, TARGETS, WORLD_HELP, Params


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
    export.add_argument("--family", choices=FAMILIES, default=default.family)
    export.add_argument("--extractor", default=default.extractor)
    export.add_argument("--crop", default=default.crop)
    export.add_argument("--protocol", default=default.protocol)
    export.add_argument("--method", default="cdgkd", help="recipe of a network that takes video only, such as kd@eeg")
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
    from .deploy.student import export_run  # heavy; --help needs none of it

    fields = {key: value for key, value in vars(args).items() if key in Params.__dataclass_fields__}
    # A relative path means what it means here, wherever files are opened later.
    fields["data_root"] = str(Path(args.data_root).expanduser().resolve()) if args.data_root else ""
    reason = export_run(Params(**fields), args.method, args.out)
    sys.stdout.write(f"{args.out}: {', '.join(sorted(path.name for path in args.out.iterdir()))}\n")
    if reason:
        sys.stdout.write(f"no student.onnx: {reason}\n")


def _predict(args: argparse.Namespace) -> None:
    from .deploy.clip import read_clip
    from .deploy.student import ONNX, OnnxStudent, load_student, read_about

    if args.runtime == "onnx":
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
