"""Networks of the multimodal baselines of Table 2, by name (method.md, section 6).

No code of theirs is public: widths and depths are this project's choice, anchored on the papers' abstracts.
"""

from .dgc_jca import DGCJCA
from .eeg_lstm import EEGLSTM
from .face_cnn import FaceCNN

MODELS = {"face_cnn": FaceCNN, "eeg_lstm": EEGLSTM, "dgc_jca": DGCJCA}
