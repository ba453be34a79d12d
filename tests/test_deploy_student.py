"""A student that stands alone: the same answers from a folder, from ONNX and by command; its card; what is damaged."""

import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import clip_of

from cdgkd_utils.cli import main
from cdgkd_utils.data.features import extractor
from cdgkd_utils.deploy import student as students
from cdgkd_utils.deploy.clip import DeployError
from cdgkd_utils.deploy.student import (
    ONNX,
    StandaloneStudent,
    Student,
    card_scores,
    deploy,
    export_student,
    load_student,
    model_card,
    onnx_missing,
    write_onnx,
)
from cdgkd_utils.models import build_model

needs_onnx = pytest.mark.skipif(bool(onnx_missing()), reason=onnx_missing() or "installed")
RNG = np.random.default_rng(0)


def windows(n):
    """Features as histograms have them, and a mask; the last window has no frame at all."""
    return RNG.random((n, 5, 768), dtype=np.float32), (RNG.random((n, 5)) < 0.8) & (np.arange(n) < n - 1)[:, None]


def invented(family="compact", seed=0):
    """A student with made-up scaling; `about` has what reading back needs."""
    rng = np.random.default_rng(seed)
    mean, scale = (torch.from_numpy(rng.random(768, dtype=np.float32)) + add for add in (0, 0.1))
    about = {"format": 1, "model": "student", "family": family, "extractor": "hog", "crop": "centre"}
    about |= {"extractor_version": extractor("hog").version, "target": "valence", "synthetic": True}
    return Student(StandaloneStudent(build_model("student", seed, family), mean, scale, 1.7).eval(), about)


@pytest.fixture
def folder(tmp_path):
    return export_student(invented(), tmp_path / "student", "a card", onnx=False)


def test_the_deployed_student_says_what_the_stored_run_says(trained):
    record = trained.run("cdgkd")
    student, windows = deploy(trained, record), trained.study.windows
    logits, p_high = student(windows.video_at(), np.array(windows.frame_mask))
    np.testing.assert_allclose(logits, record.logits, atol=1e-5)
    z = (record.logits[:, 1] - record.logits[:, 0]) / student.about["temperature"]
    np.testing.assert_allclose(p_high, 1 / (1 + np.exp(-z)), atol=1e-5)


def test_temperature_and_scaling_come_from_validation_and_training_windows_alone(trained):
    record, parts, windows = trained.run("ce"), trained.split.parts(), trained.study.windows
    val, labels = parts["val"], trained.study.labels("valence")[parts["val"]]
    elsewhere = ~np.isin(np.arange(len(record.logits)), val)[:, None]
    student = deploy(trained, record)
    temperature = student.about["temperature"]
    assert deploy(trained, replace(record, logits=np.where(elsewhere, 99.0, record.logits))).about == student.about

    def loss(t):
        z = (record.logits[val, 1] - record.logits[val, 0]) / t
        return np.mean(np.logaddexp(0, np.where(labels == 1, -z, z)))

    others = np.clip([0.2, 0.5, 0.9 * temperature, 1.1 * temperature, 1, 3, 15], 0.1, 20)
    assert loss(temperature) <= min(loss(t) for t in others) + 1e-6
    frames = np.concatenate([windows.video_at(int(r))[windows.frame_mask[r]] for r in parts["train"]]).astype(float)
    np.testing.assert_allclose(student.module.mean, frames.mean(0), atol=1e-4)
    np.testing.assert_allclose(student.module.scale, np.maximum(frames.std(0), 1e-3), atol=1e-4)


def test_missing_frames_do_not_count_whatever_stands_in_them():
    student, (video, mask) = invented(), windows(9)
    other = np.where(mask[..., None], video, 1e6).astype(np.float32)
    np.testing.assert_array_equal(student(video, mask)[0], student(other, mask)[0])


def test_a_network_that_needs_eeg_cannot_be_deployed(trained):
    with pytest.raises(DeployError, match="takes eeg, video, frame_mask; choose"):
        deploy(trained, trained.run("fusion_rebalanced"))


@pytest.mark.parametrize("runtime", ["torch", pytest.param("onnx", marks=needs_onnx)])
@pytest.mark.parametrize("family", ["compact", "reference"])
def test_what_is_exported_answers_alike_and_names_no_place_of_this_machine(tmp_path, family, runtime):
    student = invented(family)
    out = export_student(student, tmp_path / "out", "card", onnx=runtime == "onnx")
    again = load_student(out, runtime)
    for n in (1, 2, 33):
        given = windows(n)
        for a, b in zip(student(*given), again(*given), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 if runtime == "onnx" else 0)
    assert again.about == student.about and (out / "model_card.md").read_text() == "card"
    content = b"".join(path.read_bytes() for path in out.iterdir())
    for place in (sys.prefix, os.path.dirname(students.__file__), os.path.dirname(torch.__file__), 'File "'):
        assert place.encode() not in content


def test_an_export_appears_whole_or_not_at_all(tmp_path, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError):
        export_student(invented(seed=1), folder, "another card", onnx=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.setattr(students, "write_onnx", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_student(invented(), tmp_path / "new", "card", onnx=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student"]


def spoil(folder, **changes):
    path = folder / "about.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "damage",
    [
        shutil.rmtree,
        lambda f: (f / "about.json").write_text("[]"),
        lambda f: spoil(f, format=9),
        lambda f: spoil(f, extractor_version="hog 0"),
        lambda f: spoil(f, family="reference"),
        lambda f: (f / "weights.safetensors").write_bytes(b"no tensors"),
    ],
)
def test_a_damaged_folder_is_told_in_one_sentence(folder, damage):
    damage(folder)
    with pytest.raises(DeployError, match=str(folder)) as caught:
        load_student(folder)
    assert "\n" not in str(caught.value)


@needs_onnx
@pytest.mark.parametrize("keep", [0, 5000])
def test_a_damaged_onnx_file_is_told_in_one_sentence(folder, keep, capfd):
    path = write_onnx(invented(), folder)
    path.write_bytes(path.read_bytes()[:keep])
    capfd.readouterr()
    with pytest.raises(DeployError, match=ONNX) as caught:
        load_student(folder, "onnx")
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")


def test_the_cards_numbers_are_those_of_the_record(trained):
    record = trained.run("cdgkd")
    scores = card_scores(record.folder, 2.0, np.random.default_rng(0))
    labels, index = trained.study.labels("valence"), trained.study.windows.index
    for row in scores.itertuples():
        rows = trained.split.parts()[f"test_{row.protocol}"]
        right = (record.logits[rows, 1] > record.logits[rows, 0]) == labels[rows]
        assert row.accuracy == np.mean(right)
        assert row.n_trials == len(index.iloc[rows][["subject", "trial"]].drop_duplicates())
        assert row.n_people == index["subject"].iloc[rows].nunique()
        p = 1 / (1 + np.exp(-(record.logits[rows, 1] - record.logits[rows, 0]) / 2))
        assert row.brier == pytest.approx(np.mean((p - labels[rows]) ** 2), abs=1e-6)
        assert not row.low > row.accuracy and not row.high < row.accuracy
    about = deploy(trained, record).about
    card = model_card(about, scores)
    assert "never met a person" in card and about["run"] in card and "nan" not in card and "{" not in card
    assert all(f"| {100 * row.accuracy:.1f} " in card for row in scores.itertuples())
    assert "never met a person" not in model_card(about | {"synthetic": False}, scores)


def test_export_by_command_with_a_guide_by_name_in_another_protocol_and_predict(home, tmp_path, capsys):
    out, clip = tmp_path / "student", clip_of(tmp_path / "clip.mp4", 225)
    command = ["export", "--out", str(out), "--profile", "smoke", "--method", "kd@eeg", "--protocol", "trial"]
    assert main(command) == 0
    about = json.loads((out / "about.json").read_text())
    assert (about["method"], about["protocol"]) == ("kd@eeg", "trial")
    capsys.readouterr()
    assert main(["predict", str(clip), "--model", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["0", "4"], ["4", "8"]] and "synthetic" in lines[-1]
    assert main(command) == 2 and main(["predict", str(tmp_path / "none.mp4"), "--model", str(out)]) == 2
