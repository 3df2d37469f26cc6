"""What the sections of a report share: the comparison, looks, figures and tables."""

import re
from collections.abc import Mapping, Sequence

from al_lightning.analysis.drawings import comparisons
from al_lightning.analysis.drawings.lines import Style
from al_lightning.analysis.numbers.comparison import Comparison, Panel
from al_lightning.analysis.numbers.tables import Rows
from al_lightning.analysis.pages import markup
from al_lightning.analysis.pages.gallery import Draw, Gallery
from al_lightning.analysis.pages.markup import Html

_SHOWN = 15  # rows of a table that is shown unasked


class Material:
    """All that sections are made of.

    Args:
        comparison: what is told.
        gallery: writes the figures.
    """

    def __init__(self, comparison: Comparison, gallery: Gallery) -> None:
        self.comparison = comparison
        self.tables: dict[str, Rows] = {}
        others = dict.fromkeys(series.label for panel in comparison.panels for series in panel.series if series is not panel.baseline)
        self.look: Mapping[str, Style] = comparisons.styles(others)
        self._gallery = gallery
        numbered = len(comparison.panels) > 1
        self._prefixes = {
            panel.name: f"{number}-{panel.name[:80]}" if numbered else "" for number, panel in enumerate(comparison.panels, 1)
        }

    def keep(self, name: str, rows: Rows) -> Rows:
        """Remembers rows for the table of that name, which has those of all panels."""
        if rows:
            self.tables.setdefault(name, []).extend(rows)
        return rows

    def show(self, draw: Draw, name: Sequence[str], caption: str, panels: Sequence[Panel], where: str = "") -> Html:
        """A figure in the page; its files are written.

        Args:
            draw: makes it.
            name: of the files, in parts.
            caption: says what is seen.
            panels: whose runs it is about.
            where: the panel that it is of, if it is of one.
        """
        return self._gallery.show(draw, _slug(self._prefixes.get(where, ""), *name), caption, panels)


def folded_if_long(html: Html, rows: Rows, what: str) -> Html:
    """A table, shown when asked for where it has many rows."""
    return html if len(rows) <= _SHOWN else markup.folded(f"All {len(rows)} {what}", html)


def _slug(*parts: str) -> str:
    """A file's name."""
    words = [re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts if part]
    return "--".join(words)[:150]
