"""The report of a comparison: figures, tables and an HTML page."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from al_lightning import settings as names
from al_lightning.analysis.drawings import comparisons
from al_lightning.analysis.numbers import findings, setup, stopping, tables, trends
from al_lightning.analysis.numbers.comparison import Comparison, Panel
from al_lightning.analysis.numbers.trends import Trend
from al_lightning.analysis.pages import columns, latex, markup, notes, panel_section, readable
from al_lightning.analysis.pages.gallery import Gallery
from al_lightning.analysis.pages.markup import Html, Section
from al_lightning.analysis.pages.material import Material, explained, folded_if_long, runs_of
from al_lightning.files import as_csv, write_atomically
from al_lightning.text import decoded, encoded

_DEFINITIONS = [
    "Curves are means over seeds. Bands are 95 % intervals of the mean (Student's t); they are cut off where they would flatten the lines.",
    "ALC is the area under the learning curve by trapezoids, with the metric in percent and the labeled items in cycles (divided by "
    "query_size, or by the mean query where sizes differ: (labeled - first) / mean query). The normalised ALC is the same area of the "
    "normalised curve, where the first training set is at 0 and the whole pool at 100.",
    "The mean over the curve is the same area divided by the range of labels, which makes curves of different lengths comparable.",
    "The break-even point is the number of labeled items where a strategy's mean curve rises above the baseline's and stays there. It is "
    "the first number of labels if the curve is always above, and never if the curve does not end above. After the point where the curve "
    "is first above, it may fall below the baseline again.",
    "The labels needed to reach a level are read off the mean curve, on straight lines between cycles. The saving is the share of the "
    "labels that the baseline needs for the same level, both over the seeds that both have.",
    "Holm's correction keeps the chance of any false positive in a family of tests below 5 %. A budget is a number of labeled items. Means "
    "over budgets leave out cycle 0, where no query has been made. They are over the budgets that most seeds of all strategies have, and "
    "over the seeds that have all of these.",
    "The numbers can be computed again from the folder tables: curves_by_seed.csv has every point of every curve; other_runs.csv has the "
    "points of runs on the whole pool, and of runs that are only cycle 0 for others. What a run queried is in its own queries.csv; report "
    "--export writes the queries of all runs into queried_by_seed.csv.",
    "Runs measured their seconds and bytes themselves. Other programs on the same machine may have slowed them down.",
]


class Report:
    """Writes a comparison into a folder: ``report.html``, ``figures`` and ``tables``.

    What an earlier report has written there and this one does not write is removed. Other files in the folder are not changed.

    Args:
        comparison: what the report shows.
        folder: where it is written.
        levels: levels of the metric in [0, 1]: the report counts the labels that reach them. Empty for three levels between the first and
            the last mean of the baseline.
        export: whether to write the queries of all runs, too.
        gallery: writes the figures; None for one with the default formats and width.
    """

    def __init__(
        self, comparison: Comparison, folder: Path, levels: Sequence[float] = (), export: bool = False, gallery: Gallery | None = None
    ) -> None:
        self.comparison = comparison
        self.folder = folder
        self.levels = levels
        self.export = export
        self.gallery = gallery or Gallery(folder / "figures")
        self.material = Material(comparison, self.gallery)

    def write(self) -> Path:
        """Writes figures and tables, and the page last.

        Returns:
            The path of the page.

        Raises:
            UserError: a run's tables are damaged (with ``export``), or curves can't be normalised.
        """
        material = self.material
        sections = [panel_section.section(material, panel, self.levels) for panel in self.comparison.panels]
        sections += [*_trends(material), *_in_pixels(material), *_watched(material), _cost(material), _compared(material)]
        sections.append(Section("How the numbers are made", [markup.bullets(_DEFINITIONS)]))
        text = markup.page("Active learning: comparison of runs", _introduction(self.comparison), sections)
        remove_stale(self.folder, [*self.gallery.written, *self._write_tables()])
        path = self.folder / "report.html"
        write_atomically(path, encoded(text))
        return path

    def _write_tables(self) -> list[Path]:
        written = []
        if self.export:
            for panel in self.comparison.panels:
                self.material.add_rows("queried_by_seed", tables.queried_by_seed(panel))
        for name, rows in self.material.tables.items():
            lines = [list(rows[0]), *([row[key] for key in rows[0]] for row in rows)]
            written.append(self.folder / "tables" / f"{name}.csv")
            write_atomically(written[-1], encoded(as_csv(lines)))
        if summary := self.material.tables.get("summary"):
            panels = [
                (panel.name, [row for row in summary if row["setting"] == panel.name], panel.baseline.label if panel.baseline else None)
                for panel in self.comparison.panels
            ]
            text = latex.summary([panel for panel in panels if panel[1]], setup.in_a_line(runs_of(self.comparison.panels)))
            written.append(self.folder / "tables" / "summary.tex")
            write_atomically(written[-1], encoded(text))
        return written


def remove_stale(folder: Path, written: Sequence[Path]) -> None:
    """Removes the files that an earlier call for the folder has listed and that are not listed now.

    Args:
        folder: where the list is kept, in ``.written``. What lies elsewhere is neither listed nor removed.
        written: the files that belong to the folder now.
    """
    inside = [str(path.relative_to(folder)) for path in written if path.is_relative_to(folder)]
    listing = folder / ".written"
    before = decoded(listing.read_bytes()).splitlines() if listing.exists() else []
    for name in {*before} - {*inside}:
        if (folder / name).resolve().is_relative_to(folder.resolve()):
            (folder / name).unlink(missing_ok=True)
    write_atomically(listing, encoded("".join(f"{name}\n" for name in inside)))


# Sections


def _introduction(shown: Comparison) -> list[Html]:
    strategies, settings = len({series.label for panel in shown.panels for series in panel.series}), len(shown.panels)
    counted = f"{len(shown.runs)} runs, {strategies} strategies, {settings} setting{'s' if settings > 1 else ''}"
    parts = [
        markup.paragraph(f"{counted}; the metric is {shown.metric}, {notes.measured_on(shown)}."),
        markup.heading("Summary"),
        markup.paragraph(notes.SUMMARISED),
    ]
    for panel in shown.panels:
        if panel.name:
            parts.append(markup.paragraph(f"{panel.name}:"))
        parts.append(markup.bullets(_summary(panel)))
    parts += [markup.heading("What was run"), markup.table(*readable.facts(setup.what_was_run(runs_of(shown.panels))))]
    if warnings := notes.warnings(shown):
        parts += [markup.heading("To keep in mind"), markup.bullets(warnings, warn=True)]
    return parts


def _trends(material: Material) -> list[Section]:
    found = trends.across_panels(material.comparison) + trends.within_panels(material.comparison)
    if not found:
        return []
    body: list[Html] = []
    for each in found:
        rows = material.add_rows("trends", tables.trends([each]))
        title = f"{', '.join(each.lines)} against {each.setting}" + (f" ({each.where})" if each.where else "")
        body += [
            markup.heading(title),
            material.add_figure(
                partial(comparisons.trend, each, material.look),
                ["trend", *([each.where] if len(each.panels) > 1 else []), *_named(each)],
                f"{title}: break-even point, and mean difference to {each.baseline} with 95 % intervals (Student's t). {_never(each)}"
                + notes.other_labels(each),
                each.panels,
                each.where,
            ),
            *explained(markup.table(rows, readable.trend(each.setting))),
        ]
    return [Section("Against a setting", body)]


def _watched(material: Material) -> list[Section]:
    """A table of the runs in which a person decides when to stop."""
    rows = material.add_rows("when_to_stop", [dict(run.stopping) for run in material.comparison.runs if run.stopping is not None])
    return [Section("When to stop", [markup.paragraph(stopping.EXPLAINED), markup.table(rows, readable.STOPPING)])] if rows else []


def _in_pixels(material: Material) -> list[Section]:
    """A figure for each kind of strategies against labeled pixels, if panels have items of different sizes, such as images and crops."""
    panels = comparisons.of_unlike_items(material.comparison.panels)
    kinds = dict.fromkeys(names.kind(series.strategy) for panel in panels for series in panel.others)
    figures = [
        material.add_figure(
            partial(comparisons.in_pixels, panels, kind, material.comparison.metric, material.look),
            ["pixels", kind],
            f"{kind} strategies against the number of labeled pixels. The bands go from the lowest to the highest mean of all "
            "strategies of a setting.",
            panels,
        )
        for kind in kinds
    ]
    return [Section("Items of different sizes", figures)] if figures else []


def _cost(material: Material) -> Section:
    rows = [row for panel in material.comparison.panels for row in material.add_rows("cost", tables.cost(panel))]
    text = (
        "Means over the runs of a strategy, each with all its cycles so far; memory is the largest peak of any query. Pixels are those of "
        "the queried images or crops, without the initial set, if the runs recorded them. Labels are those of the last training set and of "
        "the validation set: both have to be paid for."
    )
    return Section("Cost", [markup.paragraph(text), markup.table(rows, readable.COST)])


def _compared(material: Material) -> Section:
    runs = material.add_rows("runs", tables.runs(material.comparison))
    strategies = material.add_rows("strategies", tables.strategies(material.comparison))
    differing = material.add_rows("settings", tables.differing_settings(material.comparison))
    material.add_rows("other_runs", tables.other_runs(material.comparison))
    body = [
        markup.heading("Strategies"),
        markup.table(strategies, [columns.text("strategy", "strategy"), columns.text("settings", "settings")]),
    ]
    if differing:
        panels = [columns.text(panel.name, panel.name) for panel in material.comparison.panels]
        body += [markup.heading("Settings that differ"), markup.table(differing, [columns.text("setting", "setting"), *panels])]
    told = ["run", "setting", "strategy", "seed", "group", "cycles", "labeled", "state"]
    same = {name: runs[0][name] for name in runs[0] if name not in told and len({row[name] for row in runs} - {""}) == 1}
    shown = [columns.text(name.replace("_", " "), name, differs=name not in told) for name in runs[0] if name not in same]
    ran_on = f"All ran on {', '.join(f'{name} {value}' for name, value in same.items())}. " if same else ""
    body += [
        markup.heading("Runs"),
        markup.paragraph(f"{ran_on}Everything in which environments differ has a column. A cell is marked if most runs differ from it."),
        folded_if_long(markup.table(runs, shown), runs, "runs"),
    ]
    return Section("What was compared", body)


# Words


def _summary(panel: Panel) -> list[str]:
    """A sentence for each strategy; the strategy that is furthest above the baseline comes first."""
    tests = sorted(findings.overall(panel), key=lambda test: -test.difference.mean if test.difference.seeds else float("inf"))
    if not tests:
        return ["Nothing can be compared with a baseline."]
    return [notes.verdict(test) for test in tests]


def _never(found: Trend) -> str:
    named = [f"{label} at {point.value:g}" for label, points in found.lines.items() for point in points if math.isinf(point.break_even)]
    return f"A cross at the upper edge means that there is no break-even point: {', '.join(named)}." if named else ""


def _named(found: Trend) -> list[str]:
    return [*(found.lines if len(found.lines) == 1 else []), found.setting]
