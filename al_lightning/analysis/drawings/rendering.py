"""Figures as the content of files. Imports no torch: neither does a report."""

import io

import matplotlib
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from al_lightning.text import printable, shortened

_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
_ABOUT = {"png": "Description", "svg": "Description", "pdf": "Subject"}
_LONGEST = 150  # characters of a line


def rendered(figure: Figure, kind: str, dpi: int = 110, about: str = "") -> bytes:
    """A figure as a file, the same bytes for the same figure. Its texts are shown as they are: a ``$`` begins no formula.

    Args:
        figure: what is drawn.
        kind: ``png``, ``svg`` or ``pdf``.
        dpi: pixels an inch.
        about: a sentence that the file carries with it.
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
        # Not savefig, which draws everything once more, to lay it out for each format.
        canvas = get_registered_canvas_class(kind)(figure)
        getattr(canvas, f"print_{kind}")(buffer, metadata=metadata)
    return buffer.getvalue()


def _lay_out(figure: Figure) -> None:
    """Once, for all formats."""
    layout = figure.get_layout_engine()
    if layout is not None:
        FigureCanvasAgg(figure)  # measures texts faster than others
        layout.execute(figure)
        figure.set_layout_engine("none")


def legend_name(name: str) -> str:
    """A name for a legend or a tick. Matplotlib leaves names that begin with an underscore out of legends."""
    shown = shortened(printable(name), 60)
    return f" {shown}" if shown.startswith("_") else shown
