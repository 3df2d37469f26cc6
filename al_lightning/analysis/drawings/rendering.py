"""Figures as the content of files. Imports no torch: neither does a report."""

import io

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from al_lightning.text import printable, shortened

_LONGEST = 150  # characters of a line


def rendered(figure: Figure, kind: str, dpi: int = 110) -> bytes:
    """A figure as ``png`` or ``svg``, the same bytes for the same figure. Its texts are shown as they are: a ``$`` begins no formula."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text("\n".join(shortened(printable(line), _LONGEST) for line in text.get_text().split("\n")))
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "al_lightning", "text.parse_math": False}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def legend_name(name: str) -> str:
    """A name for a legend or a tick. Matplotlib leaves names that begin with an underscore out of legends."""
    shown = shortened(printable(name), 60)
    return f" {shown}" if shown.startswith("_") else shown
