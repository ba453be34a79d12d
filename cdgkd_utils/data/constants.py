"""Facts about the recordings that every reader, writer and plot shares."""

SFREQ = 128.0  # Hz, EEG after preprocessing (DEAP, preprocessed release)
WINDOW_SECONDS = 4.0
WINDOW_SAMPLES = 512
BASELINE_SECONDS = 3.0
BASELINE_SAMPLES = 384  # DEAP: rows start with 3 s before playback, without video
# Hz; half-open intervals, so that a frequency belongs to one band.
BANDS = {"theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
N_FRAMES = 5  # frames per window, at the centres of five 0.8 s bins
N_VIDEO_FEATURES = 768

RATINGS = ("valence", "arousal", "dominance", "liking")  # order of the DEAP label columns
TARGETS = ("valence", "arousal")

# The 32 EEG channels of the preprocessed DEAP release ("Geneva" order).
DEAP_EEG = (
    "Fp1 AF3 F3 F7 FC5 FC1 C3 T7 CP5 CP1 P3 P7 PO3 O1 Oz Pz Fp2 AF4 Fz F4 F8 FC6 FC2 Cz C4 T8 CP6 CP2 P4 P8 PO4 O2"
).split()
DEAP_PERIPHERAL = "hEOG vEOG zEMG tEMG GSR Resp Plet Temp".split()

# 28 channels without the midline, left hemisphere then right (TSception's order).
LEFT = "Fp1 AF3 F3 F7 FC5 FC1 C3 T7 CP5 CP1 P3 P7 PO3 O1".split()
RIGHT = "Fp2 AF4 F4 F8 FC6 FC2 C4 T8 CP6 CP2 P4 P8 PO4 O2".split()
CHANNELS = (*LEFT, *RIGHT)
CHANNEL_ROWS = tuple(DEAP_EEG.index(name) for name in CHANNELS)  # rows of the 32 that are kept

VIDEO_FPS = 50.0
VIDEO_SECONDS = 59.05  # a DEAP clip ends before its 60 s of EEG: the last frame of the last window is missing
VIDEO_SUBJECTS = 22  # s01..s22 have face video
# Clips missing at the end of a subject's session (874 of 880 exist).
MISSING_CLIPS = {3: 1, 5: 1, 11: 3, 14: 1}
N_DEAP_TRIALS = 40

SESSIONS_PER_SUBJECT = 130  # MAHNOB-HCI numbers the sessions of subject s from 130 (s - 1) on
N_MAHNOB_TRIALS = 20


def session_number(subject: int, presentation: int, neutral: bool = False) -> int:
    """Number of a MAHNOB-HCI session; the neutral clip before a trial has the number before.

    >>> session_number(1, 1), session_number(10, 15), session_number(10, 15, neutral=True)
    (2, 1200, 1199)
    """
    return SESSIONS_PER_SUBJECT * (subject - 1) + 2 * presentation - int(neutral)
