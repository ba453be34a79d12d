"""A student that stands alone: the same answers from a folder, from ONNX, and one sentence for whatever is wrong."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cdgkd_utils.cli import main
from cdgkd_utils.data.extractors import extractor
from cdgkd_utils.deploy.errors import DeployError
from cdgkd_utils.deploy.onnx_file import ONNX, TOLERANCE, OnnxStudent, onnx_missing, parity, random_windows, write_onnx
from cdgkd_utils.deploy.student import StandaloneStudent, Student, deploy, export_student, load_student
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.results.calibration import calibration_error
from cdgkd_utils.results.card import card_scores, model_card
from cdgkd_utils.results.collect import high_probability

needs_onnx = pytest.mark.skipif(bool(onnx_missing()), reason=onnx_missing() or "installed")


def invented(family="compact", seed=0):
    """A student with made-up scaling; `about` has what reading back needs."""
    rng = np.random.default_rng(seed)
    mean, scale = (torch.from_numpy(rng.random(768, dtype=np.float32)) + add for add in (0, 0.1))
    about = {"format": 1, "model": "student", "family": family, "extractor": "hog", "crop": "centre"}
    about |= {"extractor_version": extractor("hog").version, "target": "valence", "synthetic": True}
    return Student(StandaloneStudent(build_model("student", seed, family), mean, scale, 1.7).eval(), about)


@pytest.fixture
def folder(tmp_path):
    return export_student(invented(), tmp_path / "student", "a card")


# ---- what is inside ----------------------------------------------------------------------------


def test_the_deployed_student_says_what_the_stored_run_says(trained):
    record = trained.run("cdgkd")
    student, windows = deploy(trained, record), trained.study.windows
    logits, p_high = student(windows.video_at(), np.array(windows.frame_mask))
    np.testing.assert_allclose(logits, record.logits, atol=1e-5)
    np.testing.assert_allclose(p_high, high_probability(record.logits / student.about["temperature"]), atol=1e-5)


def test_temperature_comes_from_validation_windows_and_lowers_their_loss(trained):
    record = trained.run("cdgkd")
    val, labels = trained.split.parts()["val"], trained.study.labels("valence")
    logits = record.logits.copy()
    test = np.setdiff1d(np.arange(len(logits)), val)
    spoilt = replace(record, logits=np.where(np.isin(np.arange(len(logits)), test)[:, None], 99.0, logits))
    temperature = deploy(trained, record).about["temperature"]
    assert deploy(trained, spoilt).about["temperature"] == temperature  # nothing else is read

    def loss(t):
        p = high_probability(logits[val] / t)
        return -np.mean(np.log(np.where(labels[val] == 1, p, 1 - p)))

    others = np.clip([0.2, 0.5, 0.9 * temperature, 1.1 * temperature, 1, 3, 15], 0.1, 20)
    assert loss(temperature) <= min(loss(t) for t in others) + 1e-6


def test_scaling_is_that_of_the_training_frames_alone(trained):
    student, windows = deploy(trained, trained.run("ce")), trained.study.windows
    train = trained.split.parts()["train"]
    frames = np.concatenate([windows.video_at(int(row))[windows.frame_mask[row]] for row in train]).astype(float)
    np.testing.assert_allclose(student.module.mean, frames.mean(0), atol=1e-4)
    np.testing.assert_allclose(student.module.scale, np.maximum(frames.std(0), 1e-3), atol=1e-4)
    assert (student.about["n_train"], student.about["synthetic"]) == (len(train), True)


def test_missing_frames_do_not_count_whatever_stands_in_them():
    student = invented()
    video, mask = random_windows(9, np.random.default_rng(1))
    other = np.where(mask[..., None], video, 1e6).astype(np.float32)
    np.testing.assert_array_equal(student(video, mask)[0], student(other, mask)[0])


def test_temperature_moves_probabilities_and_no_decision():
    cool = invented()
    hot = Student(StandaloneStudent(cool.module.network, cool.module.mean, cool.module.scale, 5.0).eval(), {})
    windows = random_windows(40, np.random.default_rng(2))
    (logits, p), (same, q) = cool(*windows), hot(*windows)
    np.testing.assert_array_equal(logits, same)
    np.testing.assert_array_equal(p > 0.5, q > 0.5)
    assert (np.abs(q - 0.5) <= np.abs(p - 0.5)).all()


def test_a_network_that_needs_eeg_cannot_be_deployed(trained):
    with pytest.raises(DeployError, match="run fusion_rebalanced: its network takes eeg, video, frame_mask; choose"):
        deploy(trained, trained.run("fusion_rebalanced"))


# ---- the folder --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["compact", "reference"])
def test_export_and_load_is_a_round_trip(tmp_path, family):
    student = invented(family)
    again = load_student(export_student(student, tmp_path / "out", "card"))
    windows = random_windows(5, np.random.default_rng(0))
    for a, b in zip(student(*windows), again(*windows), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.about == student.about
    assert (tmp_path / "out" / "model_card.md").read_text() == "card"


def test_an_export_appears_whole_or_not_at_all(tmp_path, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        export_student(invented(seed=1), folder, "another card")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def broken(student, unfinished):
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        export_student(invented(), tmp_path / "new", "card", broken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student"]


def spoil(folder, **changes):
    path = folder / "about.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: shutil.rmtree(f), "not the folder of an exported student, about.json is missing; export"),
        (lambda f: (f / "about.json").unlink(), "about.json is missing"),
        (lambda f: (f / "about.json").write_text("{"), r"about.json: expected the description of a student"),
        (lambda f: (f / "about.json").write_text("[]"), r"about.json: expected the description of a student"),
        (lambda f: spoil(f, format=9), "format 9, this package reads 1"),
        (lambda f: spoil(f, extractor="magic"), "expected one of hog"),
        (lambda f: spoil(f, extractor_version="hog 0"), "made with features 'hog 0', this package computes 'hog "),
        (lambda f: spoil(f, model="nobody"), "weights.safetensors: expected the weights of a student"),
        (lambda f: spoil(f, family="reference"), "weights.safetensors: expected the weights of a student"),
        (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors: expected the weights"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"no tensors"), "weights.safetensors: expected the weights"),
    ],
)
def test_a_damaged_folder_is_told_in_one_sentence(folder, damage, said):
    damage(folder)
    with pytest.raises(DeployError, match=said) as caught:
        load_student(folder)
    assert "\n" not in str(caught.value) and "export the student again" in str(caught.value)


# ---- ONNX --------------------------------------------------------------------------------------


@needs_onnx
@pytest.mark.parametrize("family", ["compact", "reference"])
def test_onnx_says_what_torch_says(tmp_path, family):
    student = invented(family)
    other = OnnxStudent(write_onnx(student, tmp_path))
    assert parity(student, other, np.random.default_rng(5), sizes=(1, 2, 33)) <= TOLERANCE
    # A planted fault is seen: another temperature is another student.
    hot = Student(StandaloneStudent(student.module.network, student.module.mean, student.module.scale, 1.8).eval(), {})
    assert parity(hot, other, np.random.default_rng(5)) > TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == [ONNX]


@needs_onnx
def test_an_export_that_differs_from_torch_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cdgkd_utils.deploy.onnx_file.parity", lambda *args: 3e-4)
    with pytest.raises(DeployError, match=r"differs from torch by 3\.0e-04"):
        export_student(invented(), tmp_path / "out", "card", write_onnx)
    assert not list(tmp_path.iterdir())


@needs_onnx
@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"", "cannot be read"), (b"not a network", "cannot be read as an exported student")],
)
def test_a_corrupt_onnx_file_is_told_in_one_sentence(tmp_path, content, said, capfd):
    path = tmp_path / "student.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeployError, match=said) as caught:
        OnnxStudent(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


@needs_onnx
def test_an_onnx_file_that_was_cut_off_or_is_another_network_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    path = write_onnx(invented(), tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DeployError, match="cannot be read as an exported student"):
        OnnxStudent(path)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(DeployError, match=r"it maps \['x'\] to \['y'\]"):
        OnnxStudent(path)


def test_without_the_packages_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("cdgkd_utils.deploy.onnx_file.importlib.util.find_spec", lambda name: None)
    said = "ONNX needs onnx, onnxscript, onnxruntime, not installed here; run: pip install -e '.\\[onnx\\]'"
    with pytest.raises(DeployError, match=said):
        write_onnx(invented(), tmp_path)
    with pytest.raises(DeployError, match="ONNX needs onnxruntime, not"):
        OnnxStudent(tmp_path / ONNX)


# ---- the card ----------------------------------------------------------------------------------


def test_the_cards_numbers_are_those_of_the_record(trained):
    record = trained.run("cdgkd")
    scores = card_scores(record.folder, 2.0, np.random.default_rng(0)).set_index("protocol")
    labels, index = trained.study.labels("valence"), trained.study.windows.index
    for name in ("trial", "subject"):
        rows = trained.split.parts()[f"test_{name}"]
        row, p = scores.loc[name], high_probability(record.logits[rows])
        assert row["accuracy"] == np.mean((p > 0.5) == labels[rows])
        assert row["n_trials"] == len(index.iloc[rows][["subject", "trial"]].drop_duplicates())
        assert row["n_people"] == index["subject"].iloc[rows].nunique()
        assert row["ece_before"] == calibration_error(labels[rows], p)
        assert row["ece_after"] == calibration_error(labels[rows], high_probability(record.logits[rows] / 2))
        assert not row["low"] > row["high"]
    with pytest.raises(ValueError, match="temperature: expected a positive number, got 0"):
        card_scores(record.folder, 0, np.random.default_rng(0))


def test_the_card_says_what_a_card_must_say(trained):
    record = trained.run("cdgkd")
    student = deploy(trained, record)
    scores = card_scores(record.folder, 1.0, np.random.default_rng(0))
    card = model_card(student.about, scores)
    for heading in ("Intended use", "Training data", "Measured", "Calibration", "Limits", "Consent"):
        assert f"\n## {heading}" in card
    assert "has never met a person" in card and student.about["run"] in card and student.about["data"] in card
    for row in scores.itertuples():
        assert (
            f"| {100 * row.accuracy:.1f} " in card and f"| {row.n_windows} / {row.n_trials} / {row.n_people} " in card
        )
    real = model_card(student.about | {"synthetic": False}, scores)
    assert "has never met a person" not in real and "must not be used to judge people" in real
    assert "nan" not in card


# ---- the command line --------------------------------------------------------------------------


def test_export_and_predict_by_command(trained, home, tmp_path, capsys):
    from test_deploy_clip import clip_of

    out = tmp_path / "student"
    assert main(["export", "--out", str(out), "--profile", "smoke"]) == 0
    said = capsys.readouterr().out
    assert "about.json, model_card.md" in said and ("no student.onnx: ONNX needs" in said) == bool(onnx_missing())
    assert main(["predict", str(clip_of(tmp_path / "clip.mp4", 225)), "--model", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[-1] == "trained on synthetic data: these numbers say nothing about people"
    assert [line.split()[:2] for line in lines[1:3]] == [["0", "4"], ["4", "8"]]
    assert main(["export", "--out", str(out), "--profile", "smoke"]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert main(["export", "--out", str(tmp_path / "x"), "--profile", "smoke", "--method", "magic"]) == 2
    assert "--method: expected a recipe" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "none.mp4"), "--model", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
