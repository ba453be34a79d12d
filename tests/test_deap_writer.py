"""Writing the twin as a DEAP folder: complete, or nothing at all."""

import pytest

from cdgkd_utils.data.deap import writer as deap_writer
from cdgkd_utils.data.deap.reader import open_tree
from cdgkd_utils.data.deap.writer import write_deap
from cdgkd_utils.data.twin import TwinSettings, plan_subject, prepare_subject

SETTINGS = TwinSettings(n_subjects=2, n_trials=4, n_windows=2, seed=3)


def test_writer_touches_nothing_that_exists(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        write_deap(SETTINGS, tmp_path, seconds=4)
    with pytest.raises(FileExistsError, match="not empty"):
        write_deap(SETTINGS, tmp_path / "mine.txt", seconds=4)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failed_writing_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(deap_writer, "_metadata", fail)
    with pytest.raises(type(error)):
        write_deap(SETTINGS, tmp_path / "deep" / "out", seconds=4)
    assert not list(tmp_path.rglob("*out*"))


@pytest.mark.parametrize(
    ("options", "name"),
    [({"seconds": 10}, "seconds"), ({"seconds": 64}, "seconds"), ({"seconds": 4, "frame_size": 100}, "frame_size")],
)
def test_writer_names_the_wrong_parameter(tmp_path, options, name):
    with pytest.raises(ValueError, match=name):
        write_deap(SETTINGS, tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_nobody_after_subject_22_was_filmed(tmp_path, monkeypatch):
    monkeypatch.setattr(deap_writer, "_write_clip", lambda path, *_: path.touch())
    settings = TwinSettings(n_subjects=24, n_trials=1, n_windows=1, seed=3)
    assert plan_subject(settings, 22).has_video.all()
    for subject in (23, 24, 32):
        plan = plan_subject(settings, subject)
        assert not plan.has_video.any() and plan.has_eeg.all()
        assert len(prepare_subject(settings, subject)) == 0
    root = write_deap(settings, tmp_path / "tree", seconds=4, frame_size=64)
    assert len(list((root / "data_preprocessed_python").iterdir())) == 24
    assert sorted(path.name for path in (root / "face_video").iterdir()) == [f"s{s:02d}" for s in range(1, 23)]
    assert open_tree(root).subjects == tuple(range(1, 23))
