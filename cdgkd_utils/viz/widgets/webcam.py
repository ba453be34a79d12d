"""The browser's camera as a widget: a few seconds of video, handed to this kernel as bytes.

Imported only where anywidget is installed; see :func:`.own_clip.webcam`.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

MIN_SECONDS, MAX_SECONDS = 4, 8


class Webcam(anywidget.AnyWidget):
    """A record button and a preview.

    Attributes
    ----------
    value : bytes
        The last recording as the browser encoded it (WebM or MP4); empty before the first.
    seconds : int
        Length of a recording, 4 to 8 s, and a second more to start.
    status : str
        What the browser last said: why there is no camera, or how much was recorded.
    """

    _esm = Path(__file__).with_name("webcam.js")
    # A casting trait: the browser's bytes arrive as a memoryview.
    value = traitlets.CBytes(b"").tag(sync=True)
    seconds = traitlets.Int(MIN_SECONDS).tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)

    @traitlets.validate("seconds")
    def _seconds(self, proposal: dict) -> int:
        if not MIN_SECONDS <= proposal["value"] <= MAX_SECONDS:
            raise ValueError(f"seconds: expected {MIN_SECONDS} to {MAX_SECONDS}, got {proposal['value']}")
        return proposal["value"]
