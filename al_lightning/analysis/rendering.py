"""Figures as the content of files. Imports no torch: neither does a report."""

import io

import matplotlib
from matplotlib.figure import Figure


def rendered(figure: Figure, kind: str, dpi: int = 110) -> bytes:
    """A figure as ``png`` or ``svg``, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "al_lightning"}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
