"""One drawing function, three uses: live under controls, as a strip of small multiples, and in words."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from io import BytesIO
from threading import RLock
from typing import Any

import ipywidgets
from IPython.display import display
from ipywidgets.widgets.interaction import interactive
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase

DPI, WIDEST = 100, 1500  # pixels per inch, and across a strip
MAX_PANELS = 6
TITLE = 0.32  # inches above each picture of a strip
# JupyterLab delivers moves of controls in another thread than cells; Matplotlib draws in one at a time.
DRAWING = RLock()


def picture(width: float | Callable[..., float], height: float | Callable[..., float]) -> Callable:
    """Make a drawing's figure optional: without one it makes its own, in inches; either way it returns it."""

    def decorate(draw: Callable) -> Callable:
        @wraps(draw)
        def drawn(*args: Any, **values: Any) -> FigureBase:
            with DRAWING:
                if not (args and isinstance(args[0], FigureBase)):
                    args = (blank(*_size(drawn, *args, **values)), *args)
                draw(*args, **values)
            return args[0]

        drawn.size = (width, height)
        return drawn

    return decorate


def _size(draw: Callable, *args: Any, **values: Any) -> tuple[float, float]:
    return tuple(edge(*args, **values) if callable(edge) else edge for edge in getattr(draw, "size", (7.0, 3.2)))


def bound(draw: Callable, *given: Any) -> Callable:
    """A drawing whose first values are given, so that only those of the controls are left."""
    edges = [partial(edge, *given) if callable(edge) else edge for edge in draw.size]
    return picture(*edges)(lambda figure, **values: draw(figure, *given, **values))


def blank(width: float, height: float) -> Figure:
    """An empty figure that pyplot does not know, so that no other thread shows or closes it."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as a PNG, compressed fast: nobody stores these pictures."""
    buffer = BytesIO()
    with DRAWING:
        FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def describe(figure: Figure) -> str:
    """Alternative text of a figure from its own words: titles, axis labels, legends, of at most six axes.

    Example: ``cd.describe(cd.plot.draw_method())``.
    """
    axes = [text for text in map(_axes_words, figure.axes) if text]
    more = f"and {len(axes) - MAX_PANELS} more panels" if len(axes) > MAX_PANELS else ""
    titles = dict.fromkeys(_line(part.get_suptitle()) for part in (figure, *figure.subfigs))
    words = [*titles, *axes[:MAX_PANELS], more, _keys("key: ", figure.legends)]
    return ". ".join(filter(None, words)) or "a figure without words"


def _axes_words(ax: Axes) -> str:
    if not ax.get_visible():
        return ""
    title, x, y = (_line(text) for text in (ax.get_title() or ax.get_title("left"), ax.get_xlabel(), ax.get_ylabel()))
    axes = (f"{y} against {x}" if x and y else x or y) if ax.axison else ""
    keys = _keys("with ", filter(None, [ax.get_legend()]))
    return ": ".join(filter(None, (title, " ".join(filter(None, (axes, keys))))))


def _line(text: str) -> str:
    return " ".join(text.replace("$", "").split())


def _keys(lead: str, legends: Iterator) -> str:
    words = [_line(text.get_text()) for legend in legends for text in legend.get_texts()]
    return lead + ", ".join(words) if words else ""


def strip(draw: Callable, settings: Mapping[str, Mapping] | Sequence[Mapping], columns: int = 1) -> Figure:
    """The same drawing at several settings, ``{title: values}`` or a list of values: what :func:`explore` makes live.

    Example: ``cd.strip(draw, [{"temperature": 1}, {"temperature": 8}], columns=2)``.
    """
    if not isinstance(settings, Mapping):
        settings = {", ".join(f"{name} {value}" for name, value in one.items()): one for one in settings}
    columns, rows = min(columns, len(settings)), -(-len(settings) // columns)
    width, height = _size(draw, **next(iter(settings.values())))
    with DRAWING:
        heights = [TITLE if any(settings) else 0.01, height] * rows
        figure = blank(width * columns, sum(heights))
        figure.set_dpi(min(DPI, WIDEST / (width * columns)))
        parts = figure.subfigures(2 * rows, columns, height_ratios=heights, squeeze=False)
        for number, (title, values) in enumerate(settings.items()):
            row, column = divmod(number, columns)
            where = {"x": 0.01, "y": 0.1, "ha": "left", "va": "bottom", "fontsize": 10, "fontweight": "bold"}
            parts[2 * row, column].suptitle(title, **where)
            draw(parts[2 * row + 1, column], **values)
    return figure


class Panel:
    """A drawing made live; shown as the last line of a cell, with its static twin below it. Also ``cd.explore``.

    ``draw(figure, **values)`` gets the values of `controls`, by name a widget or what ``ipywidgets.interact`` takes:
    (low, high, step), a list, a mapping. `button` = (label, action) is for what takes longer than 0.3 s: a press calls
    ``action(tell, **values)``, where ``tell(share, text)`` shows progress, then the picture is drawn again. `text` is
    HTML below the picture from the values. `static` are settings for :func:`strip`, or makes the twin; by default it is
    what is shown. `follow` gets the controls after each move and may change the others.

    Example: ``cd.explore(draw, {"temperature": (0.5, 8.0)})`` for ``def draw(figure, temperature): …``.
    """

    def __init__(self, draw, controls, *, button=None, text=None, static=None, follow=None):
        self.draw, self.words, self.follow, self._static = draw, text, follow, static
        self.controls = {name: _control(name, kind) for name, kind in controls.items()}
        self.picture, self.text, self.status = (ipywidgets.HTML() for _ in range(3))
        self.error: BaseException | None = None
        self._held, self._newest = False, 0
        row = list(self.controls.values())
        if button:
            label, self.action = button
            self.button = ipywidgets.Button(description=label, button_style="primary", layout={"width": "auto"})
            self.button.on_click(lambda _: self.press())
            row.append(self.button)
        layout = ipywidgets.Layout(flex_flow="row wrap", grid_gap="4px 16px")
        self.box = ipywidgets.VBox([ipywidgets.Box(row, layout=layout), self.status, self.picture, self.text])
        self.box.add_class("cdgkd-panel")
        for control in self.controls.values():
            control.observe(lambda _: self._moved(), names="value")
        self.update()

    @property
    def values(self) -> dict[str, Any]:
        """What the controls say now."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def static(self) -> Figure:
        """The static twin, for readers without a kernel and to be saved."""
        return self._static() if callable(self._static) else strip(self.draw, self._static or {"": self.values})

    def set(self, **values: Any) -> None:
        """Move controls by program, as a hand would; the picture follows once."""
        with self._hold():
            for name, value in values.items():
                self.controls[name].value = value
        self._moved()

    def update(self) -> None:
        """Draw what the controls say; an error leaves the last picture and says what is wrong."""
        self._newest = mine = self._newest + 1
        self.status.value = "drawing …"
        with DRAWING:
            if mine == self._newest:  # otherwise a later move waits, and draws
                self._try(self._redraw)

    def press(self) -> None:
        """What the button does, and the picture after it."""
        self.button.disabled = True
        try:
            self.tell(0, "computing …")
            if self._try(lambda: self.action(self.tell, **self.values)):
                self.update()
        finally:
            self.button.disabled = False

    def tell(self, share: float, text: str) -> None:
        """Show progress: a share between 0 and 1, and a text."""
        self.status.value = f'<progress max="1" value="{share:.3f}"></progress> {html.escape(text)}'

    def _moved(self) -> None:
        if not self._held:
            if self.follow:
                with self._hold():
                    self._try(lambda: self.follow(self.controls))
            self.update()

    def _redraw(self) -> None:
        values = self.values
        figure = blank(*_size(self.draw, **values))
        self.draw(figure, **values)
        data, words = base64.b64encode(png(figure)).decode("ascii"), html.escape(describe(figure))
        self.picture.value = f'<img src="data:image/png;base64,{data}" alt="{words}" style="max-width: 100%">'
        self.text.value = self.words(**values) if self.words else ""

    def _try(self, work: Callable[[], Any]) -> bool:
        """Whether some work came to its end; if not, one sentence says why, whatever the error."""
        try:
            work()
            self.error, self.status.value = None, ""
        except (Exception, KeyboardInterrupt) as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            said = "stopped" if isinstance(error, KeyboardInterrupt) else f"{kind}{error}"
            self.error, self.status.value = error, f"<b>{html.escape(said)}</b>"
        return self.error is None

    @contextmanager
    def _hold(self) -> Iterator[None]:  # controls may move without a drawing
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def _ipython_display_(self) -> None:
        display(self.box)
        display(self.static)


explore = Panel


def _control(name: str, kind: Any) -> ipywidgets.Widget:
    """A widget as it is, or made as ``ipywidgets.interact`` would, but told when the hand lets go."""
    control = kind if isinstance(kind, ipywidgets.Widget) else interactive.widget_from_abbrev(kind)
    if control is None:
        raise ValueError(f"controls: {name}: expected a widget, (low, high), a list, a text or True, got {kind!r}")
    if not getattr(control, "description", name):
        control.description = name.replace("_", " ")
    if hasattr(getattr(control, "style", None), "description_width"):
        control.style.description_width = "initial"
    if hasattr(control, "continuous_update"):
        control.continuous_update = False
    return control


def buttons(options: Sequence, text: str, **more: Any) -> ipywidgets.ToggleButtons:
    """A choice of which all options are seen."""
    return ipywidgets.ToggleButtons(options=options, description=text, **more)


def whole(value: int, low: int, high: int, step: int, text: str, width: str = "300px") -> ipywidgets.IntSlider:
    """A slider over whole numbers."""
    return ipywidgets.IntSlider(value, low, high, step, description=text, layout={"width": width})


def stops(options: Sequence, value: Any, text: str) -> ipywidgets.SelectionSlider:
    """A slider over given values."""
    return ipywidgets.SelectionSlider(options=options, value=value, description=text)
