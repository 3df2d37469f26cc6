"""The section of a report about one panel: its curves, numbers and tests."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from al_lightning import settings as names
from al_lightning.analysis.drawings import comparisons
from al_lightning.analysis.numbers import findings, tables
from al_lightning.analysis.numbers.comparison import Panel, Series
from al_lightning.analysis.numbers.findings import Contrast
from al_lightning.analysis.numbers.tables import Rows
from al_lightning.analysis.pages import columns, explore, markup, notes, readable
from al_lightning.analysis.pages.columns import Column
from al_lightning.analysis.pages.markup import Html, Section
from al_lightning.analysis.pages.material import Material, explained, folded_if_long
from al_lightning.percent import percent

_PAIRED = (
    "Differences are paired by seed; intervals are 95 % intervals of the mean over seeds (Student's t), p-values are of two-sided paired "
    "t-tests, {}."
)


def section(material: Material, panel: Panel, levels: Sequence[float]) -> Section:
    """Makes the section of a panel.

    Args:
        material: what the sections of the report share.
        panel: the panel that the section shows.
        levels: levels of the metric in [0, 1]: the report counts the labels that reach them. Empty for three levels of the baseline.
    """
    tested = findings.by_budget(panel)
    body = [
        markup.bullets(notes.panel_warnings(panel), warn=True),
        *_main(material, panel, tested),
        *_charts(material, panel, tested),
        *_other_curves(material, panel),
        *_numbers(material, panel, levels),
        *_differences(material, panel, tested),
        *_pairs(material, panel),
    ]
    material.add_rows("curves_by_seed", tables.curves_by_seed(panel))
    material.add_rows("curves", tables.curves(panel))
    return Section(panel.name or "Learning curves", body)


def _main(material: Material, panel: Panel, tested: Sequence[Contrast]) -> list[Html]:
    """Learning curves, and their differences to the baseline."""
    metric = material.comparison.metric
    caption = f"Learning curves: {metric} against labeled items, mean over seeds with 95 % intervals."
    draw = partial(comparisons.learning_curves, panel, metric, material.look)
    shown = [material.add_figure(draw, ["learning curves"], caption, [panel], panel.name)]
    if tested and panel.baseline:
        caption = f"Difference to {panel.baseline.label} at each budget, paired by seed, with 95 % intervals (Student's t)."
        draw = partial(comparisons.differences, panel, tested, material.look)
        shown.append(material.add_figure(draw, ["differences"], caption, [panel], panel.name))
    return shown


def _charts(material: Material, panel: Panel, tested: Sequence[Contrast]) -> list[Html]:
    """Interactive charts of the learning curves and of the differences to the baseline."""
    told = "{}: point at the chart to read values with 95 % intervals; click on a name to hide its line. This chart needs scripts."
    lines, references = comparisons.curve_lines(panel, panel.series, material.look)
    metric = f"{material.comparison.metric} (%)"
    found = [markup.chart(explore.as_chart([*references, *lines], explore.curves_by_seed(panel), metric), told.format("Learning curves"))]
    if tested and panel.baseline:
        ylabel = f"difference to {panel.baseline.label} (points)"
        lines, references = comparisons.difference_lines(panel, tested, material.look)
        data = explore.as_chart([*references, *lines], explore.differences_by_seed(panel), ylabel)
        found.append(markup.chart(data, told.format(f"Differences to {panel.baseline.label}")))
    return found


def _other_curves(material: Material, panel: Panel) -> list[Html]:
    """Normalised curves, and a figure for each kind of strategies."""
    found: list[Html] = []
    if panel.full is None:
        found = [markup.paragraph(notes.NO_FULL, small=True)]
    elif panel.start is not None and panel.scale is None:
        found = [markup.paragraph(notes.NOT_ABOVE.format(percent(panel.full), percent(panel.start)), small=True)]
    elif panel.scale is not None:  # with one finished cycle there are no curves yet, and no metric that could become 0
        start, full = map(percent, panel.scale)
        caption = f"Normalised curves: 0 is the first training set ({start}), 100 the whole pool ({full})."
        draw = partial(comparisons.normalized_curves, panel, material.look)
        found = [material.add_figure(draw, ["normalised curves"], caption, [panel], panel.name)]
    for kind, members in _groups(panel).items():
        caption = f"All {kind} strategies. The y-axis covers the last three quarters of their curves."
        zoom = partial(comparisons.zoom, panel, members, material.comparison.metric, material.look)
        found.append(material.add_figure(zoom, ["zoom", kind], caption, [panel], panel.name))
    return found


def _numbers(material: Material, panel: Panel, wanted: Sequence[float]) -> list[Html]:
    if len(panel.budgets) < 2:
        return [markup.paragraph("No two numbers of labels are common to most seeds of all strategies: there is nothing to compute yet.")]
    rows = material.add_rows("summary", tables.summary(panel))
    wanted = wanted or findings.default_levels(panel)
    levels = material.add_rows("labels_to_reach", tables.levels(panel, wanted))
    parts = [
        markup.heading("Areas and break-even points"),
        markup.paragraph(f"Over {panel.budgets[0]:,} to {panel.budgets[-1]:,} labeled items; in brackets 95 % intervals over seeds."),
        *explained(markup.table(rows, readable.summary(panel.baseline.label if panel.baseline else None))),
    ]
    if levels:
        parts.append(markup.heading("Labels needed to reach a level"))
        parts += explained(markup.table(readable.level_rows(levels), readable.levels(wanted)))
    return parts


def _differences(material: Material, panel: Panel, tested: Sequence[Contrast]) -> list[Html]:
    if panel.baseline is None or not tested:
        return []
    all_rows = material.add_rows("differences_by_budget", tables.contrasts(panel, tested))
    rows = material.add_rows("differences", tables.contrasts(panel, findings.overall(panel)))
    return [
        markup.heading(f"Differences to {panel.baseline.label}"),
        markup.paragraph(
            f"In points of the metric, in the mean over the {len(panel.queried)} budgets after cycle 0. "
            + _PAIRED.format("Holm-corrected over strategies")
        ),
        markup.table(rows, readable.contrast("strategy", None)),
        markup.folded(
            f"Tests at each budget, Holm-corrected over strategies and budgets together ({len(tested)} comparisons)",
            markup.table(all_rows, readable.contrast("strategy", None, Column("labeled", lambda row: columns.count(row["labeled"])))),
        ),
    ]


def _pairs(material: Material, panel: Panel) -> list[Html]:
    if len(panel.compared) < 2 or len(panel.budgets) < 2:
        return []
    rows = material.add_rows("pairwise", tables.contrasts(panel, findings.pairwise(panel)))
    pairs = markup.table(rows, readable.contrast("first", "second"))
    return [
        *_against_mean(material, panel),
        markup.heading("Strategies against each other"),
        markup.paragraph(
            "Each row is the first strategy minus the second, in points, in the mean over the budgets after cycle 0. "
            + _PAIRED.format("Holm-corrected over all pairs")
        ),
        folded_if_long(pairs, rows, "pairs"),
        *_penalties(material, panel),
    ]


def _penalties(material: Material, panel: Panel) -> list[Html]:
    labels = [series.label for series in panel.compared]
    shares = findings.penalties(panel)
    material.add_rows("penalties", tables.penalties(panel, shares))
    matrix: Rows = [{"": label, **dict(zip(labels, line, strict=True))} for label, line in zip(labels, shares.tolist(), strict=True)]
    matrix.append({"": "penalty (mean of the column)", **dict(zip(labels, _column_means(shares.tolist()), strict=True))})
    return [
        markup.heading("Pairwise penalty matrix"),
        markup.paragraph(
            "A cell is the share of budgets at which the strategy of its row beats the strategy of its column: a higher mean, and p < "
            "0.05 in the paired t-test, not corrected, as Ash et al. (2020) publish it. Read along a row: how often it wins. Read down "
            "a column: how often it loses; the mean of the column is its penalty, and the lowest is the best."
        ),
        markup.table(matrix, [columns.text("", ""), *(columns.number(label, label, columns.whole_percent) for label in labels)]),
        material.add_figure(
            partial(comparisons.penalty_map, labels, shares),
            ["penalties"],
            "The penalty matrix: the strategy of a row beats that of a column at so many percent of the budgets. A dark row wins, a dark "
            "column loses.",
            [panel],
            panel.name,
        ),
    ]


def _against_mean(material: Material, panel: Panel) -> list[Html]:
    rows = material.add_rows("against_mean", tables.contrasts(panel, findings.against_mean(panel)))
    if not rows:
        return []
    told = "Each strategy that counts pixels, or aggregates their scores in another way, minus the same strategy with the mean. "
    return [
        markup.heading("Counting against the mean over pixels"),
        markup.paragraph(told + _PAIRED.format("Holm-corrected over these comparisons")),
        markup.table(rows, readable.contrast("first", "second")),
    ]


def _column_means(shares: Sequence[Sequence[float]]) -> list[float]:
    """The mean of each column without its NaNs; NaN if a column has nothing else."""
    kept = [[share for share in column if share == share] for column in zip(*shares, strict=True)]
    return [sum(column) / len(column) if column else float("nan") for column in kept]


def _groups(panel: Panel) -> dict[str, list[Series]]:
    """The series of each kind of strategies that has at least two."""
    counts = Counter(names.kind(series.strategy) for series in panel.others)
    return {kind: [each for each in panel.others if names.kind(each.strategy) == kind] for kind, number in counts.items() if number > 1}
