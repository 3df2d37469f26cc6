"""What the sections of a report share: the comparison, looks, figures and tables."""

import re
from collections.abc import Mapping, Sequence

from al_lightning.analysis.drawings import comparisons
from al_lightning.analysis.drawings.lines import Style
from al_lightning.analysis.numbers import setup
from al_lightning.analysis.numbers.comparison import Comparison, Panel, Run
from al_lightning.analysis.numbers.tables import Rows
from al_lightning.analysis.pages import markup, notes
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
        self._lines: dict[tuple[str, ...], str] = {}
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
        return self._gallery.show(draw, _slug(self._prefixes.get(where, ""), *name), caption, self._run(panels))

    def _run(self, panels: Sequence[Panel]) -> str:
        """What was run, in a line; of a thousand runs it takes a while."""
        key = tuple(panel.name for panel in panels)
        if key not in self._lines:
            self._lines[key] = setup.in_a_line(runs_of(panels))
        return self._lines[key]


def runs_of(panels: Sequence[Panel]) -> list[Run]:
    """The runs that are drawn as learning curves."""
    return [run for panel in panels for series in panel.series for run in series.runs.values()]


def explained(table: Html) -> list[Html]:
    """A table, and what "never" means if that is in it."""
    return [table, markup.paragraph(notes.NEVER, small=True)] if ">never<" in table else [table]


def folded_if_long(html: Html, rows: Rows, what: str) -> Html:
    """A table, shown when asked for where it has many rows."""
    return html if len(rows) <= _SHOWN else markup.folded(f"All {len(rows)} {what}", html)


def _slug(*parts: str) -> str:
    """A file's name."""
    words = [re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts if part]
    return "--".join(words)[:150]
