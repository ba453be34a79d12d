"""Small DEAP and MAHNOB-HCI folders whose right answers are known: signals name their place, frames their number."""

import functools
import io
import json
import pickle
import struct
import tempfile

import av
import numpy as np
import pandas as pd

from cdgkd_utils.data.constants import DEAP_EEG
from cdgkd_utils.data.deap import EOG, RATINGS_FILE
from cdgkd_utils.data.twin.files import write_bdf

BDF = "data_original/s01.bdf"
LABELS = np.array([[2.0, 8, 3, 4], [7, 2, 6, 5], [8, 7, 2, 6]])  # of experiments 1, 2, 3
ORDER = (3, 1, 2)  # when they were shown
PLAYBACK = 6 * 512  # sample of the first stimulus of a raw recording
MAHNOB_LABELS = [*DEAP_EEG, "EXG1", "Resp", "Temp"]
ONSET, SECONDS = 30 * 256 + 3, 6.32  # an odd sample, and no whole number of seconds
END = ONSET + round(SECONDS * 256)
BURST, EARLIER = 4.25, -1.5  # s after the clip's start; the earlier one is in the baseline


def encode(path, pictures, fps=25, codec="libx264", options=None, stamps=None):
    """Write a clip; `stamps` are the pictures' times in s where they do not follow each other evenly."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"threads": "1", **(options or {})})
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps is not None:
                frame.pts = round(stamps[number] * fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered(number, size=(160, 128)):
    """A picture that shows its number as ten black or white stripes in the central square."""
    width, height = size
    picture, left = np.full((height, width, 3), 128, np.uint8), (width - height) // 2
    for bit in range(10):
        picture[:, left + bit * height // 10 : left + (bit + 1) * height // 10] = 255 * (number >> bit & 1)
    return picture


def coded_clip(path, n_frames, fps=50, **options):
    """A clip of numbered pictures with B-frames."""
    return encode(path, map(numbered, range(n_frames)), fps, options={"bf": "3"} | options)


def decode_numbers(frames):
    columns = (2 * np.arange(10) + 1) * frames.shape[2] // 20
    return ((frames[:, frames.shape[1] // 2, columns, 1] > 127) << np.arange(10)).sum(axis=1)


def remux(source, target, change):
    """Copy packets; `change(number, packet)` gives None (as it is), False (lost) or other bytes."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = given.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in given.demux(stream) if p.size):
            content = change(number, packet)
            if content is False:
                continue
            if content is not None:
                other = av.Packet(content)
                other.pts, other.dts, other.duration = packet.pts, packet.dts, packet.duration
                other.time_base, other.is_keyframe = packet.time_base, packet.is_keyframe
                packet = other
            packet.stream = copy
            out.mux(packet)
    return target


def grey_clip(path, level):
    encode(path, [np.full((64, 64, 3), level, np.uint8)] * 10, 50)


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2's cPickle wrote: byte strings as ``str``, NumPy under its old module names."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_python2_str(self, value):
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_python2_str

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)


def python2_dat(data, labels):
    """Bytes of a file of the preprocessed release."""
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump({"labels": labels, "data": data})
    return file.getvalue()


def deap_by_hand(root, subject=7, n_times=384 + 512, clip=grey_clip):
    """One DEAP subject: EEG of 100 times the experiment's number plus the sample's over 64, clips of 50 times it."""
    for folder in ("data_preprocessed_python", "metadata_csv", f"face_video/s{subject:02d}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    level = 100.0 * np.arange(1, 4)[:, None, None] + np.arange(n_times) / 64
    data = level + np.arange(40)[:, None] / 2**10  # no channel is another's copy
    (root / f"data_preprocessed_python/s{subject:02d}.dat").write_bytes(python2_dat(data, LABELS))
    table = pd.DataFrame(LABELS, columns=["Valence", "Arousal", "Dominance", "Liking"])
    table.insert(0, "Participant_id", subject)
    table["Trial"], table["Experiment_id"] = ORDER, [1, 2, 3]
    for experiment, presentation in enumerate(ORDER, 1):
        clip(root / f"face_video/s{subject:02d}/s{subject:02d}_trial{presentation:02d}.avi", 50 * experiment)
    if (root / RATINGS_FILE).exists():
        table = pd.concat([pd.read_csv(root / RATINGS_FILE), table])
    table.sort_values(["Participant_id", "Trial"]).to_csv(root / RATINGS_FILE, index=False)
    return root


def raw_by_hand(root, signals=None, code=None, labels=None, status_labels=("Status",), order=(1,), onsets=(PLAYBACK,)):
    """One recording of 14 s or more with stimuli of 4 s; `signals` by channel replace 1 µV of noise."""
    labels = list(labels or [*DEAP_EEG, *EOG])
    for folder in ("metadata_csv", "data_original", "face_video/s01"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "SYNTHETIC").write_text(json.dumps({"settings": {"world": "mixed", "n_windows": 1}}))
    table = pd.DataFrame(LABELS[: len(order)], columns=["Valence", "Arousal", "Dominance", "Liking"])
    table.insert(0, "Participant_id", 1)
    table["Trial"], table["Experiment_id"] = order, np.arange(1, len(order) + 1)
    table.to_csv(root / RATINGS_FILE, index=False)
    for presentation in order:
        grey_clip(root / f"face_video/s01/s01_trial{presentation:02d}.avi", 100)
    n, rng = onsets[-1] + 8 * 512, np.random.default_rng(0)
    data = {name: rng.normal(0, 1, n) for name in labels} | (signals or {})
    status = np.zeros(n, int)
    for onset in onsets:
        status[onset : onset + 4 * 512] = 4
    status = status if code is None else code(status)
    return write_bdf(
        root / BDF, np.array([data[name] for name in labels]), labels, 512, status, status_labels=status_labels
    )


@functools.cache
def black_clip(n_frames):
    """Bytes of a small clip whose header announces 61 frames per second."""
    with tempfile.NamedTemporaryFile(suffix=".avi") as file:
        encode(file.name, [np.zeros((32, 32, 3), np.uint8)] * n_frames, 61, options={"preset": "ultrafast"})
        return file.read()


def wave(t):
    """A burst of 20 Hz around 0 s."""
    return np.cos(2 * np.pi * 20 * t) * np.exp(-0.5 * (t / 0.2) ** 2)


def mahnob_signals(onset=ONSET, seconds=70, sfreq=256):
    """A 20 Hz burst in the clip with another height at each electrode, on offsets, drift, hum and slow waves."""
    t = np.arange(seconds * sfreq) / sfreq
    heights, rng = np.arange(1.0, 33), np.random.default_rng(0)
    eeg = heights[:, None] * (wave(t - onset / sfreq - BURST) + wave(t - onset / sfreq - EARLIER))
    eeg += 1e5 * rng.standard_normal((32, 1)) + np.outer(rng.standard_normal(32), t)
    eeg += 40 * np.sin(2 * np.pi * 50 * t) + 30 * np.outer(heights / 32, np.sin(2 * np.pi * 1 * t))
    return np.vstack([eeg, np.zeros((3, len(t)))])


def pulses(*starts, seconds=70, sfreq=256):
    status = np.full(seconds * sfreq, 0x180000)  # bits of the amplifier, which mean nothing
    for start in starts:
        status[start : start + 128] |= 268
    return status


def make_session(root, number, *, bdf=None, xml=lambda text: text, status=None, data=None, video=450, **options):
    """Write a MAHNOB-HCI session; keywords replace parts of it."""
    subject, rest = divmod(number - 1, 130)
    subject, t, kind = subject + 1, rest // 2 + 1, "NS"[rest % 2]
    folder = root / "Sessions" / str(number)
    folder.mkdir(parents=True)
    data = mahnob_signals() if data is None else data
    status = pulses(ONSET, END) if status is None else status
    name = bdf or f"Part_{subject}_{kind}_Trial{t}_emotion.bdf"
    write_bdf(folder / name, data, options.get("labels", MAHNOB_LABELS), options.get("sfreq", 256), status)
    camera = f"P{subject}-Rec1-2009_C1 trigger _C_Section_{2 * t}.avi"
    (folder / f"P{subject}-Rec1-2009_BW1.avi").write_bytes(black_clip(5))
    if video:
        (folder / camera).write_bytes(black_clip(video))
    felt = 'feltArsl="4" feltVlnc="7" feltCtrl="5" feltPred="3" ' if kind == "S" else ""
    text = (
        f'<session sessionId="{number}" isStim="{int(kind == "S")}" {felt}cutLenSec="{SECONDS}" vidRate="60.9708" '
        f'mediaFile="{t}.avi"><subject id="{subject}"/><track type="Video" color="0" '
        f'filename="P{subject}-Rec1-2009_BW1.avi"/><track type="Video" color="1" filename="{camera}"/></session>'
    )
    (folder / "session.xml").write_text(xml(text))
    return folder
