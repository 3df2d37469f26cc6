"""Renders figures to bytes. Imports no torch, so that a report needs none."""

import io

import matplotlib
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from al_lightning.text import printable, shortened

_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
_ABOUT = {"png": "Description", "svg": "Description", "pdf": "Subject"}
_LONGEST = 150  # characters in a line of text


def rendered(figure: Figure, kind: str, dpi: int = 110, about: str = "") -> bytes:
    """Renders a figure. The same figure gives the same bytes. A ``$`` in a text is shown as it is; it does not begin a formula.

    Args:
        figure: the figure.
        kind: ``png``, ``svg`` or ``pdf``.
        dpi: pixels per inch.
        about: a description for the metadata of the file.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text("\n".join(shortened(printable(line), _LONGEST) for line in text.get_text().split("\n")))
    metadata = _UNDATED.get(kind, {}) | ({_ABOUT[kind]: printable(about)} if about else {})
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "al_lightning", "text.parse_math": False}):
        _lay_out(figure)
        figure.set_dpi(dpi)
        # Unlike savefig, this does not draw everything a second time to compute the layout.
        canvas = get_registered_canvas_class(kind)(figure)
        getattr(canvas, f"print_{kind}")(buffer, metadata=metadata)
    return buffer.getvalue()


def _lay_out(figure: Figure) -> None:
    """Computes the layout once for all formats."""
    layout = figure.get_layout_engine()
    if layout is not None:
        FigureCanvasAgg(figure)  # the fastest canvas for measuring texts
        layout.execute(figure)
        figure.set_layout_engine("none")


def legend_name(name: str) -> str:
    """Returns a name for a legend or a tick. It may not begin with an underscore: matplotlib would leave it out of the legend."""
    shown = shortened(printable(name), 60)
    return f" {shown}" if shown.startswith("_") else shown
