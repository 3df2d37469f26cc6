"""What the sections of a report share: the comparison, the looks of strategies, figures and tables."""

import re
from collections.abc import Mapping, Sequence

from al_lightning.analysis.drawings import comparisons
from al_lightning.analysis.drawings.lines import Style
from al_lightning.analysis.numbers import setup
from al_lightning.analysis.numbers.comparison import Comparison, Panel
from al_lightning.analysis.numbers.recorded import Run
from al_lightning.analysis.numbers.tables import Rows
from al_lightning.analysis.pages import markup, notes
from al_lightning.analysis.pages.gallery import Draw, Gallery
from al_lightning.analysis.pages.markup import Html

_SHOWN = 15  # a table with more rows is folded


class Material:
    """What the sections of a report are made from.

    Args:
        comparison: what the report shows.
        gallery: writes the figures.

    Attributes:
        tables: the rows of each CSV file by its name, filled by :meth:`add_rows`.
        look: the look of each strategy by its label.
    """

    def __init__(self, comparison: Comparison, gallery: Gallery) -> None:
        self.comparison = comparison
        self.tables: dict[str, Rows] = {}
        others = dict.fromkeys(series.label for panel in comparison.panels for series in panel.series if series is not panel.baseline)
        self.look: Mapping[str, Style] = comparisons.styles(others)
        self._gallery = gallery
        self._lines: dict[tuple[str, ...], str] = {}
        numbered = len(comparison.panels) > 1
        self._prefixes = {
            panel.name: f"{number}-{panel.name[:80]}" if numbered else "" for number, panel in enumerate(comparison.panels, 1)
        }

    def add_rows(self, name: str, rows: Rows) -> Rows:
        """Adds rows to the CSV table of that name, which has the rows of all panels; returns the rows."""
        if rows:
            self.tables.setdefault(name, []).extend(rows)
        return rows

    def add_figure(self, draw: Draw, name: Sequence[str], caption: str, panels: Sequence[Panel], where: str = "") -> Html:
        """Draws a figure, writes its files, and returns it as HTML.

        Args:
            draw: draws the figure for a paper.
            name: parts of the files' name.
            caption: says what the figure shows.
            panels: the panels whose runs it shows.
            where: the name of the panel, if the figure belongs to one panel.
        """
        return self._gallery.show(draw, _slug(self._prefixes.get(where, ""), *name), caption, self._run(panels))

    def _run(self, panels: Sequence[Panel]) -> str:
        """What was run, in one line. It is cached, as it takes a while for a thousand runs."""
        key = tuple(panel.name for panel in panels)
        if key not in self._lines:
            self._lines[key] = setup.in_a_line(runs_of(panels))
        return self._lines[key]


def runs_of(panels: Sequence[Panel]) -> list[Run]:
    """Returns the runs that are drawn as learning curves."""
    return [run for panel in panels for series in panel.series for run in series.runs.values()]


def explained(table: Html) -> list[Html]:
    """Returns a table, followed by an explanation of "never" if a cell has this word."""
    return [table, markup.paragraph(notes.NEVER, small=True)] if ">never<" in table else [table]


def folded_if_long(html: Html, rows: Rows, what: str) -> Html:
    """Folds a table if it has many rows."""
    return html if len(rows) <= _SHOWN else markup.folded(f"All {len(rows)} {what}", html)


def _slug(*parts: str) -> str:
    """Makes the name of a file."""
    words = [re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts if part]
    return "--".join(words)[:150]
