"""Writing the twin as a DEAP folder: complete, or nothing at all."""

import pytest

from cdgkd_utils.data.deap import writer as deap_writer
from cdgkd_utils.data.deap.writer import write_deap
from cdgkd_utils.data.twin.generator import TwinSettings

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
