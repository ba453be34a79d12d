"""Controls above one picture that follows them: the frame of every interactive part.

The logic of a part is an ordinary function from the controls' values to a figure, which tests call without a
browser. A panel only shows what it returns, as a PNG with an alternative text. HTML exports, GitHub and papermill
show no live control, so :meth:`Panel.show` displays a static twin below.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

DPI = 100


def picture_html(figure: Figure, alt: str) -> str:
    """A figure as an image element with an alternative text; the figure is closed.

    Parameters
    ----------
    figure : Figure
    alt : str
        What the picture shows, for those who do not see it.
    """
    buffer = BytesIO()
    # Nobody stores these pictures: a fast compression answers 0.03 s sooner.
    figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}" style="max-width: 100%">'


class Panel:
    """Controls, a picture, and a line below that says what is shown or what is wrong.

    Parameters
    ----------
    draw : callable
        From the controls' values, by name, to a Figure, or to a Figure and a text (HTML) below it. A ValueError
        appears as one sentence below the last good picture. With `button`, it is also given ``tell``: a callable
        that takes a share between 0 and 1 and a text, for the progress line.
    controls : mapping of str to Widget
        Each with a ``value``. Sliders should have ``continuous_update=False`` unless drawing takes milliseconds.
    alt : callable
        From the same values to the picture's alternative text.
    button : str, optional
        Draw only when a button of this label is pressed: for what takes longer than 0.3 s.

    Attributes
    ----------
    box : VBox
        The whole, to be displayed.
    controls : dict of str to Widget
    picture, text, status : HTML
        The image, the text below it, and the line of progress or error.
    """

    def __init__(
        self,
        draw: Callable[..., Figure | tuple[Figure, str]],
        controls: Mapping[str, ipywidgets.Widget],
        *,
        alt: Callable[..., str],
        button: str | None = None,
    ):
        self.draw, self.controls, self.alt = draw, dict(controls), alt
        self.picture, self.text, self.status = (ipywidgets.HTML() for _ in range(3))
        self.button = ipywidgets.Button(description=button, button_style="primary") if button else None
        row = [*self.controls.values(), *([self.button] if self.button else [])]
        layout = ipywidgets.Layout(flex_flow="row wrap", grid_gap="4px 16px")
        self.box = ipywidgets.VBox([ipywidgets.Box(row, layout=layout), self.status, self.picture, self.text])
        self.box.add_class("cdgkd-panel")
        if self.button:
            self.button.on_click(lambda _: self.update())
        else:
            for control in self.controls.values():
                control.observe(lambda _: self.update(), names="value")
            self.update()

    @property
    def values(self) -> dict[str, Any]:
        """What the controls say now."""
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **values: Any) -> None:
        """Move controls by program, as a hand would; the picture follows.

        Raises
        ------
        ValueError
            There is no control of this name.
        """
        if unknown := values.keys() - self.controls.keys():
            raise ValueError(f"{', '.join(sorted(unknown))}: expected a control of {', '.join(self.controls)}")
        for name, value in values.items():
            self.controls[name].value = value

    def update(self) -> None:
        """Draw what the controls say; an error leaves the last picture and says what is wrong."""
        values = self.values
        self.status.value = "drawing …"
        if self.button:
            self.button.disabled = True
        try:
            drawn = self.draw(**values, **({"tell": self.tell} if self.button else {}))
            figure, text = drawn if isinstance(drawn, tuple) else (drawn, "")
            self.picture.value, self.text.value = picture_html(figure, self.alt(**values)), text
            self.status.value = ""
        except ValueError as error:
            self.status.value = f"<b>{html.escape(str(error))}</b>"
        except KeyboardInterrupt:
            self.status.value = "stopped; press again to go on" if self.button else "stopped"
        finally:
            if self.button:
                self.button.disabled = False

    def tell(self, share: float, text: str) -> None:
        """Show progress.

        Parameters
        ----------
        share : float
            Between 0 and 1.
        text : str
        """
        self.status.value = f'<progress max="1" value="{share:.3f}"></progress> {html.escape(text)}'

    def show(self, static: Figure | None = None) -> None:
        """Display the panel and, below it, its static twin for readers without a kernel.

        Parameters
        ----------
        static : Figure, optional
        """
        display(self.box)
        if static is not None:
            display(static)
            plt.close(static)
