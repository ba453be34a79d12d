"""The worlds of the synthetic twin: how much of the feeling brain and face share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """How the feeling is shared between brain and face.

    Attributes
    ----------
    w_shared, w_eeg, w_video : float
        Variance shares of the latent that both see, only the EEG sees, only the face shows; the rest
        to 1 is rating noise.
    eeg_gain : float
        Log-power per unit of code in the EEG.
    words : str
        One line for people.
    """

    w_shared: float
    w_eeg: float
    w_video: float
    eeg_gain: float
    words: str


WORLDS = {
    "mixed": World(0.20, 0.20, 0.20, 0.8, "half of what each sees is shared, half is its own (the null world)"),
    "shared_view": World(0.30, 0.10, 0.00, 1.6, "the EEG is a cleaner, fuller view of the same feeling"),
    "same_feeling": World(0.25, 0.00, 0.00, 1.6, "both see exactly the same feeling, ratings are noisy"),
    "eeg_rich": World(0.10, 0.30, 0.05, 0.8, "the feeling is mostly in the EEG, the face is a weak hint"),
    "complementary": World(0.00, 0.30, 0.30, 0.8, "brain and face tell different things"),
}
