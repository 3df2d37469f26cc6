"""The width and the font of a figure. A figure for a phone has the style of one for a column of a paper."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
from matplotlib import font_manager

from al_lightning.errors import UserError

FORMATS = ("png", "svg", "pdf")
_NARROW = 6.0  # inches; figures for one column of a paper are narrower


@dataclass(frozen=True)
class Paper:
    """The width and the font of a figure.

    Attributes:
        width: in inches.
        font: the font family; None for matplotlib's default.
    """

    width: float
    font: str | None = None

    @property
    def narrow(self) -> bool:
        """Whether there is no space for a legend beside the axes."""
        return self.width < _NARROW

    @property
    def size(self) -> float:
        """Font size in points."""
        return 7.5 if self.narrow else 10.0

    @contextmanager
    def style(self) -> Iterator[None]:
        """Sets the sizes of text and lines, and TrueType fonts, which publishers ask for. Figures are made and written in this context."""
        thin = 0.75 if self.narrow else 1.0
        settings = {
            "font.size": self.size,
            "axes.titlesize": self.size,
            "axes.linewidth": 0.8 * thin,
            "lines.linewidth": 1.4 * thin,
            "lines.markersize": 4 * thin,
            "xtick.labelsize": 0.9 * self.size,
            "ytick.labelsize": 0.9 * self.size,
            "legend.fontsize": 0.9 * self.size,
            "pdf.fonttype": 42,
            **({"font.family": [self.font]} if self.font else {}),
        }
        with matplotlib.rc_context(settings):  # type: ignore[arg-type]
            yield


SCREEN = Paper(9.0)
PHONE = Paper(4.0)


def refuse_unknown_font(name: str) -> None:
    """Makes sure that matplotlib finds a font.

    Raises:
        UserError: the font is not installed; the message lists fonts with similar names.
    """
    known = sorted({*font_manager.get_font_names(), "serif", "sans-serif", "monospace"})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.0)
        raise UserError(f"Expected --font to name a font of this machine, like {', '.join(near)}, got {name}.")
