"""The worlds of the synthetic twin: how much of the feeling brain and face share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...config import WORLDS as NAMES
from ...config import world_numbers


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

    @property
    def r_views(self) -> float:
        """Correlation of what the EEG sees with what the face shows (worlds.md, section 2)."""
        both = (self.w_shared + self.w_eeg) * (self.w_shared + self.w_video)
        return self.w_shared / math.sqrt(both) if both else 0.0

    @property
    def r_label(self) -> float:
        """Correlation of a label with what the face shows: a rating cut at its mean keeps sqrt(2 / pi) of its own."""
        return math.sqrt(2 / math.pi * (self.w_shared + self.w_video))

    @property
    def margin(self) -> float:
        """What a guide that knows all the EEG sees tells of the face beyond the label; help is expected above 0."""
        return self.r_views - self.r_label


WORLDS = {
    "mixed": World(0.20, 0.20, 0.20, 0.8, "half of what each sees is shared, half is its own (the null world)"),
    "shared_view": World(0.30, 0.10, 0.00, 1.6, "the EEG is a cleaner, fuller view of the same feeling"),
    "same_feeling": World(0.25, 0.00, 0.00, 1.6, "both see exactly the same feeling, ratings are noisy"),
    "eeg_rich": World(0.10, 0.30, 0.05, 0.8, "the feeling is mostly in the EEG, the face is a weak hint"),
    "complementary": World(0.00, 0.30, 0.30, 0.8, "brain and face tell different things"),
}


def find_world(name: str) -> World:
    """A world by its name, or by its numbers as :func:`~cdgkd_utils.config.world_numbers` reads them.

    Raises
    ------
    ParameterError
        It is neither.
    """
    return WORLDS[name] if name in NAMES else World(*world_numbers(name), words="shares given in numbers")
