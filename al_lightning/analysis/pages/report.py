"""The report: a comparison as figures, tables and one page."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from al_lightning.analysis.drawings import comparisons
from al_lightning.analysis.drawings.lines import Style
from al_lightning.analysis.numbers import findings, setup, stopping, tables, trends
from al_lightning.analysis.numbers import settings as names
from al_lightning.analysis.numbers.comparison import Comparison, Panel, Series
from al_lightning.analysis.numbers.tables import Rows
from al_lightning.analysis.numbers.trends import Trend
from al_lightning.analysis.pages import columns, markup, notes, readable
from al_lightning.analysis.pages.columns import Column
from al_lightning.analysis.pages.gallery import Gallery, runs_of
from al_lightning.analysis.pages.markup import Html, Section
from al_lightning.files import as_csv, write_atomically
from al_lightning.text import encoded

_SHOWN = 15  # rows of a table that is shown unasked
_PAIRED = (
    "Differences are paired by seed; intervals are 95 % intervals of the mean over seeds (Student's t), p-values are of two-sided paired "
    "t-tests, {}."
)
_DEFINITIONS = [
    "Curves are means over seeds, their bands 95 % intervals of the mean (Student's t), cut off where they would flatten the lines.",
    "ALC is the area under the learning curve by trapezoids, with the metric in percent and the labeled items in cycles (divided by "
    "query_size, or by the mean query where sizes differ: (labeled - first) / mean query). The normalised ALC is that of the curve mapped "
    "so that the first training set is at 0 and the whole pool at 100.",
    "The break-even point is the number of labeled items where a strategy's mean curve rises above the baseline's and stays there; "
    "the first number of labels, if it is never below; never, if it does not end above. Where it is first above it may cross again.",
    "The labels needed to reach a level are read off the mean curve, on straight lines between cycles; the saving is against the labels "
    "that the baseline needs for the same level.",
    "Holm's correction keeps the chance of any false positive in a family of tests below 5 %. The means over budgets leave cycle 0 out, "
    "where no strategy has chosen anything.",
    "The numbers can be made again from the folder tables: curves_by_seed.csv has every point of every curve, other_runs.csv those of runs "
    "on the whole pool and of cycles 0 for others. What a run queried is in its own queries.csv; report --export writes all of it into "
    "queried_by_seed.csv.",
    "Seconds and bytes are those that the runs recorded of themselves, on whatever else their machines did.",
]


class Report:
    """Writes a comparison into a folder: ``report.html``, ``figures`` and ``tables``. Other files there are left alone.

    Args:
        comparison: what is told.
        folder: where.
        levels: of the metric, to count the labels that reach them; none for three between the baseline's first and last mean.
        export: whether what every run queried is written too.
        gallery: that writes the figures; None for the usual one.
    """

    def __init__(
        self, comparison: Comparison, folder: Path, levels: Sequence[float] = (), export: bool = False, gallery: Gallery | None = None
    ) -> None:
        self.comparison = comparison
        self.folder = folder
        self.levels = levels
        self.export = export
        self._gallery = gallery or Gallery(folder / "figures")
        others = dict.fromkeys(series.label for panel in comparison.panels for series in panel.series if series is not panel.baseline)
        self._look: Mapping[str, Style] = comparisons.styles(others)
        self._tables: dict[str, Rows] = {}
        numbered = len(comparison.panels) > 1
        self._prefixes = {
            panel.name: f"{number}-{panel.name[:80]}" if numbered else "" for number, panel in enumerate(comparison.panels, 1)
        }

    def write(self) -> Path:
        """Writes everything; the page comes last.

        Returns:
            The page's path.
        """
        sections = [self._panel(panel) for panel in self.comparison.panels]
        sections += self._trends()
        sections += [*self._in_pixels(), *self._watched(), self._cost(), self._compared()]
        sections += [Section("How the numbers are made", [markup.bullets(_DEFINITIONS)])]
        text = markup.page("Active learning: comparison of runs", self._introduction(), sections)
        for name, rows in self._tables.items():
            lines = [list(rows[0]), *([row[key] for key in rows[0]] for row in rows)]
            write_atomically(self.folder / "tables" / f"{name}.csv", encoded(as_csv(lines)))
        path = self.folder / "report.html"
        write_atomically(path, encoded(text))
        return path

    # Sections

    def _introduction(self) -> list[Html]:
        shown = self.comparison
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

    def _panel(self, panel: Panel) -> Section:
        metric = self.comparison.metric
        title = panel.name or "Learning curves"
        body = [markup.bullets(notes.panel_warnings(panel), warn=True)]
        body.append(
            self._gallery.show(
                partial(comparisons.learning_curves, panel, metric, self._look),
                _slug(self._prefixes[panel.name], "learning curves"),
                f"Learning curves: {metric} against labeled items, mean over seeds with 95 % intervals.",
                [panel],
            )
        )
        if panel.full is not None:
            body.append(
                self._gallery.show(
                    partial(comparisons.normalized_curves, panel, self._look),
                    _slug(self._prefixes[panel.name], "normalised curves"),
                    f"Normalised curves: 0 is the first training set ({columns.percent(panel.start)} %), 100 the whole pool "
                    f"({columns.percent(panel.full)} %).",
                    [panel],
                )
            )
        else:
            body.append(markup.paragraph(notes.NO_FULL, small=True))
        for kind, members in _groups(panel).items():
            body.append(
                self._gallery.show(
                    partial(comparisons.zoom, panel, members, metric, self._look),
                    _slug(self._prefixes[panel.name], "zoom", kind),
                    f"All {kind} strategies, at the height of the later three quarters of their curves.",
                    [panel],
                )
            )
        body += self._numbers(panel) + self._differences(panel) + self._pairs(panel)
        self._keep("curves_by_seed", tables.curves_by_seed(panel))
        if self.export:
            self._keep("queried_by_seed", tables.queried_by_seed(panel))
        self._keep("curves", tables.curves(panel))
        return Section(title, body)

    def _numbers(self, panel: Panel) -> list[Html]:
        if len(panel.budgets) < 2:
            return [
                markup.paragraph("There are no two numbers of labels that all strategies have reached, so there is nothing to compute yet.")
            ]
        rows = self._keep("summary", tables.summary(panel))
        wanted = list(self.levels) or findings.default_levels(panel)
        levels = self._keep("labels_to_reach", tables.levels(panel, wanted))
        parts = [
            markup.heading("Areas and break-even points"),
            markup.paragraph(f"Over {panel.budgets[0]:,} to {panel.budgets[-1]:,} labeled items; in brackets 95 % intervals over seeds."),
            markup.table(rows, readable.summary(panel.baseline.label if panel.baseline else None)),
        ]
        if levels:
            parts += [markup.heading("Labels needed to reach a level"), markup.table(readable.level_rows(levels), readable.levels(wanted))]
        return parts

    def _differences(self, panel: Panel) -> list[Html]:
        if panel.baseline is None or not panel.others or len(panel.budgets) < 2:
            return []
        by_budget, overall = findings.by_budget(panel), findings.overall(panel)
        all_rows = self._keep("differences_by_budget", tables.contrasts(panel, by_budget))
        rows = self._keep("differences", tables.contrasts(panel, overall))
        base = panel.baseline.label
        return [
            markup.heading(f"Differences to {base}"),
            markup.paragraph(
                f"In points of the metric, in the mean over the {len(panel.budgets) - 1} budgets after cycle 0. "
                + _PAIRED.format("Holm-corrected over strategies")
            ),
            markup.table(rows, readable.contrast("strategy", None)),
            self._gallery.show(
                partial(comparisons.differences, panel, by_budget, self._look),
                _slug(self._prefixes[panel.name], "differences"),
                f"Difference to {base} at each budget, paired by seed, with 95 % intervals (Student's t).",
                [panel],
            ),
            markup.folded(
                f"Tests at each budget, Holm-corrected over strategies and budgets together ({len(by_budget)} comparisons)",
                markup.table(all_rows, readable.contrast("strategy", None, Column("labeled", lambda row: columns.count(row["labeled"])))),
            ),
        ]

    def _pairs(self, panel: Panel) -> list[Html]:
        labels = [series.label for series in panel.compared]
        if len(labels) < 2 or len(panel.budgets) < 2:
            return []
        rows = self._keep("pairwise", tables.contrasts(panel, findings.pairwise(panel)))
        pairs = markup.table(rows, readable.contrast("first", "second"))
        shares = findings.penalties(panel)
        self._keep("penalties", tables.penalties(panel, shares))
        matrix: Rows = [{"": label, **dict(zip(labels, line, strict=True))} for label, line in zip(labels, shares.tolist(), strict=True)]
        matrix.append({"": "penalty (mean of the column)", **dict(zip(labels, _column_means(shares.tolist()), strict=True))})
        return [
            *self._against_mean(panel),
            markup.heading("Strategies against each other"),
            markup.paragraph(
                "Each row is the first strategy minus the second, in points, in the mean over the budgets after cycle 0. "
                + _PAIRED.format("Holm-corrected over all pairs")
            ),
            pairs if len(rows) <= _SHOWN else markup.folded(f"All {len(rows)} pairs", pairs),
            markup.heading("Pairwise penalty matrix"),
            markup.paragraph(
                "A cell is the share of budgets at which the strategy of its row beats the strategy of its column: a higher mean, and p < "
                "0.05 in the paired t-test, not corrected, as Ash et al. (2020) publish it. Read along a row: how often it wins. Read down "
                "a column: how often it loses; the mean of the column is its penalty, and the lowest is the best."
            ),
            markup.table(matrix, [columns.text("", ""), *(columns.number(label, label, columns.decimal) for label in labels)]),
            self._gallery.show(
                partial(comparisons.penalty_map, labels, shares),
                _slug(self._prefixes[panel.name], "penalties"),
                "The penalty matrix: dark where the row beats the column at most budgets.",
                [panel],
            ),
        ]

    def _against_mean(self, panel: Panel) -> list[Html]:
        rows = self._keep("against_mean", tables.contrasts(panel, findings.against_mean(panel)))
        if not rows:
            return []
        told = "Each strategy that counts pixels, or aggregates them otherwise, minus the same one by their mean. "
        return [
            markup.heading("Counting against the mean over pixels"),
            markup.paragraph(told + _PAIRED.format("Holm-corrected over these comparisons")),
            markup.table(rows, readable.contrast("first", "second")),
        ]

    def _trends(self) -> list[Section]:
        across = trends.across_panels(self.comparison)
        found = ([across] if across else []) + trends.within_panels(self.comparison)
        if not found:
            return []
        body: list[Html] = []
        for each in found:
            rows = self._keep("trends", tables.trends([each]))
            title = f"{', '.join(each.lines)} against {each.setting}" + (f" ({each.where})" if each.where else "")
            body += [
                markup.heading(title),
                self._gallery.show(
                    partial(comparisons.trend, each, self._look),
                    _slug(self._prefixes.get(each.where, ""), "trend", *_named(each)),
                    f"{title}: break-even point, and mean difference to {each.baseline} with 95 % intervals (Student's t). {_never(each)}",
                    [panel for panel in self.comparison.panels if each.where in ("", panel.name)],
                ),
                markup.table(rows, readable.trend(each.setting)),
            ]
        return [Section("Against a setting", body)]

    def _watched(self) -> list[Section]:
        """Runs in which somebody is to see when to stop."""
        rows = self._keep("when_to_stop", [dict(run.stopping) for run in self.comparison.runs if run.stopping is not None])
        return [Section("When to stop", [markup.paragraph(stopping.EXPLAINED), markup.table(rows, readable.STOPPING)])] if rows else []

    def _in_pixels(self) -> list[Section]:
        """Images and crops in one figure, where both are there: a figure a kind of strategies."""
        panels = comparisons.of_unlike_items(self.comparison.panels)
        kinds = dict.fromkeys(names.kind(series.strategy) for panel in panels for series in panel.others)
        figures = [
            self._gallery.show(
                partial(comparisons.in_pixels, panels, kind, self.comparison.metric, self._look),
                _slug("pixels", kind),
                f"{kind} strategies against the pixels of what is labeled. The bands are from the lowest to the highest mean of all "
                "strategies of a setting.",
                panels,
            )
            for kind in kinds
        ]
        return [Section("Items of unlike sizes", figures)] if figures else []

    def _cost(self) -> Section:
        rows = [row for panel in self.comparison.panels for row in self._keep("cost", tables.cost(panel))]
        text = (
            "Means over the runs of a strategy, of whole runs so far; memory is the largest peak of any query. Pixels are those of the "
            "queried images or crops, without the initial set, where a run recorded them. Labels are those of the last training set, and "
            "those that validate it: both are spent."
        )
        return Section("Cost", [markup.paragraph(text), markup.table(rows, readable.COST)])

    def _compared(self) -> Section:
        runs = self._keep("runs", tables.runs(self.comparison))
        strategies = self._keep("strategies", tables.strategies(self.comparison))
        differing = self._keep("settings", tables.differing_settings(self.comparison))
        self._keep("other_runs", tables.other_runs(self.comparison))
        body = [
            markup.heading("Strategies"),
            markup.table(strategies, [columns.text("strategy", "strategy"), columns.text("settings", "settings")]),
        ]
        if differing:
            panels = [columns.text(panel.name, panel.name) for panel in self.comparison.panels]
            body += [markup.heading("Settings that differ"), markup.table(differing, [columns.text("setting", "setting"), *panels])]
        told = ["run", "setting", "strategy", "seed", "cycles", "labeled", "state"]
        same = {name: runs[0][name] for name in runs[0] if name not in told and len({row[name] for row in runs} - {""}) == 1}
        shown = [columns.text(name.replace("_", " "), name, differs=name not in told) for name in runs[0] if name not in same]
        ran_on = f"All ran on {', '.join(f'{name} {value}' for name, value in same.items())}. " if same else ""
        body += [
            markup.heading("Runs"),
            markup.paragraph(
                f"{ran_on}Whatever else is recorded of what a run ran on has its column, marked where most have something else."
            ),
            markup.table(runs, shown) if len(runs) <= _SHOWN else markup.folded(f"All {len(runs)} runs", markup.table(runs, shown)),
        ]
        return Section("What was compared", body)

    # Writing

    def _keep(self, name: str, rows: Rows) -> Rows:
        """Remembers rows for the table of that name, which has those of all panels."""
        if rows:
            self._tables.setdefault(name, []).extend(rows)
        return rows


# Words


def _column_means(shares: Sequence[Sequence[float]]) -> list[float]:
    """Of the cells that are numbers; NaN where none is."""
    kept = [[share for share in column if share == share] for column in zip(*shares, strict=True)]
    return [sum(column) / len(column) if column else float("nan") for column in kept]


def _summary(panel: Panel) -> list[str]:
    """A sentence a strategy, those that are furthest above the baseline first."""
    tests = sorted(findings.overall(panel), key=lambda test: -test.difference.mean if test.difference.seeds else float("inf"))
    if not tests:
        return ["Nothing can be compared with a baseline."]
    return [notes.verdict(test) for test in tests]


def _never(found: Trend) -> str:
    named = [f"{label} at {point.value:g}" for label, points in found.lines.items() for point in points if math.isinf(point.break_even)]
    return f"Crosses at the upper edge, never above at the end: {', '.join(named)}." if named else ""


def _named(found: Trend) -> list[str]:
    return [*(found.lines if len(found.lines) == 1 else []), found.setting]


def _groups(panel: Panel) -> dict[str, list[Series]]:
    """The kinds of strategies with several series."""
    counts = Counter(names.kind(series.strategy) for series in panel.others)
    return {kind: [each for each in panel.others if names.kind(each.strategy) == kind] for kind, number in counts.items() if number > 1}


def _slug(*parts: str) -> str:
    """A file's name."""
    words = [re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts if part]
    return "--".join(words)[:150]
