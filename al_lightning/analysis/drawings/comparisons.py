"""Figures that compare strategies. Each shows the baseline as a black dashed line. A strategy has the same look in all figures."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from al_lightning import settings
from al_lightning.analysis.drawings.lines import Line, Style, drawn, legend, level
from al_lightning.analysis.drawings.paper import Paper
from al_lightning.analysis.drawings.rendering import legend_name
from al_lightning.analysis.numbers.comparison import Panel, Series
from al_lightning.analysis.numbers.curves import Values, normalized
from al_lightning.analysis.numbers.findings import Contrast, curve, mean_curve
from al_lightning.analysis.numbers.trends import Trend
from al_lightning.percent import in_percent, unsigned
from al_lightning.text import printable, shortened_apart

# Eight colours that people with any colour vision can tell apart: six by Okabe and Ito (2008), two by Tol (2021).
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BASELINE: Style = {"color": "black", "linestyle": "--", "marker": "", "zorder": 3}
_WHOLE_POOL: Style = {"color": "0.5", "linestyle": ":", "linewidth": 1}
_LABELS = "labeled items"
_ENDS = ("mean", "low", "high")


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """Gives each strategy except the baseline a look. Colours repeat after eight strategies; markers and kinds of lines differ then."""
    lines = [line for line in ("-", ":", "-.") for _ in _COLORS]
    looks = zip(cycle(_COLORS), cycle(_MARKERS), cycle(lines), strict=False)
    return {
        label: {"color": color, "marker": marker, "linestyle": line} for label, (color, marker, line) in zip(labels, looks, strict=False)
    }


def learning_curves(panel: Panel, metric: str, look: Mapping[str, Style], paper: Paper) -> Figure:
    """Draws the mean over seeds against labeled items, with its 95 % interval where there are at least two seeds."""
    return drawn(*curve_lines(panel, panel.series, look), paper, _LABELS, f"{metric} (%)")


def normalized_curves(panel: Panel, look: Mapping[str, Style], paper: Paper) -> Figure:
    """Draws learning curves on a scale where the metric of the first training set is 0 and that of the whole pool is 100."""
    assert panel.scale is not None
    start, full = panel.scale
    lines, references = curve_lines(panel, panel.series, look, start=start, full=full)
    whole = level("whole pool", panel.budgets or [0], 100, _WHOLE_POOL)
    return drawn(lines, [*references, whole], paper, _LABELS, "normalised (%)")


def zoom(panel: Panel, members: Sequence[Series], metric: str, look: Mapping[str, Style], paper: Paper) -> Figure:
    """Draws a group of strategies, the baseline and random. The y-axis covers the last three quarters of their curves."""
    shown = [series for series in panel.series if series in members or series is panel.baseline or series.strategy == "Random"]
    return drawn(*curve_lines(panel, shown, look, shown_part=0.75), paper, _LABELS, f"{metric} (%)")


def differences(panel: Panel, contrasts: Sequence[Contrast], look: Mapping[str, Style], paper: Paper) -> Figure:
    """Draws the mean difference to the baseline at each budget, paired by seed, with its 95 % interval."""
    assert panel.baseline is not None
    lines, references = difference_lines(panel, contrasts, look)
    return drawn(lines, references, paper, _LABELS, f"difference to {panel.baseline.label} (points)")


def curve_lines(
    panel: Panel, shown: Sequence[Series], look: Mapping[str, Style], *, start: float = 0.0, full: float = 1.0, shown_part: float = 1.0
) -> tuple[list[Line], list[Line]]:
    """Returns learning curves in percent as two lists: the strategies' curves, and the baseline's curve if ``shown`` has the baseline.

    Args:
        panel: says which series is the baseline.
        shown: the series whose curves are returned.
        look: by the label of the strategy.
        start: the value of the metric that becomes 0 %.
        full: the value of the metric that becomes 100 %.
        shown_part: see :attr:`Line.shown`.
    """
    lines = []
    for series in shown:
        points = curve(series)
        style = BASELINE if series is panel.baseline else look[series.label]
        mean, low, high = (in_percent(normalized([getattr(point, end) for _, point in points], start, full)) for end in _ENDS)
        lines.append(Line(series.label, [labeled for labeled, _ in points], mean, low, high, style, shown_part))
    apart = panel.baseline is not None and panel.baseline in shown
    return [line for line in lines if line.style is not BASELINE], [line for line in lines if line.style is BASELINE and apart]


def difference_lines(panel: Panel, contrasts: Sequence[Contrast], look: Mapping[str, Style]) -> tuple[list[Line], list[Line]]:
    """Returns each strategy's differences to the baseline in points, and the baseline as a line at 0."""
    assert panel.baseline is not None
    lines = []
    for series in panel.others:
        points = [(c.labeled or 0, c.difference) for c in contrasts if c.first == series.label and c.difference.seeds]
        mean, low, high = (in_percent(np.array([getattr(d, end) for _, d in points])) for end in _ENDS)
        lines.append(Line(series.label, [x for x, _ in points], mean, low, high, look[series.label]))
    return lines, [level(panel.baseline.label, panel.queried, 0.0, BASELINE)]


def of_unlike_items(panels: Sequence[Panel]) -> list[Panel]:
    """Returns the panels whose items have a known number of pixels, if these numbers differ by more than 1 %; else an empty list."""
    known = [panel for panel in panels if panel.others and np.isfinite(panel.item_pixels)]
    return known if known and np.ptp([panel.item_pixels for panel in known]) > 0.01 * known[0].item_pixels else []


def in_pixels(panels: Sequence[Panel], kind: str, metric: str, look: Mapping[str, Style], paper: Paper) -> Figure:
    """Draws the curves of several panels against labeled pixels.

    The lines are one kind of strategies, the baseline and random. A band goes from the lowest to the highest mean of all strategies.

    Args:
        panels: each has another band and other markers; those of the first one are filled.
        kind: see :func:`~al_lightning.settings.kind`.
        metric: name for the y-axis.
        look: by the label of the strategy.
        paper: width and font of the figure.
    """
    figure = Figure(figsize=(paper.width, (1.1 if paper.narrow else 0.5) * paper.width), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="labeled pixels", ylabel=f"{metric} (%)")
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_formatter(EngFormatter())
    for panel, shade, face in zip(panels, cycle(("0.8", "#f3d9b1", "#cfe3f2")), cycle((None, "white", "0.6")), strict=False):
        means = {series: mean_curve(series, panel.budgets) for series in panel.compared}
        shown = {series: in_percent(values) for series, values in means.items() if values is not None}
        if not shown:  # no seed of any strategy has the metric at all budgets
            continue
        x = [panel.compared[0].pixels(labeled) for labeled in panel.budgets]
        name = legend_name(panel.name)
        band = np.stack([*shown.values()])
        axes.fill_between(x, band.min(axis=0), band.max(axis=0), color=shade, alpha=0.7, linewidth=0, label=f"all strategies ({name})")
        for series, values in shown.items():
            if settings.kind(series.strategy) != kind and series is not panel.baseline and series.strategy != "Random":
                continue
            style = {**BASELINE, "marker": "o"} if series is panel.baseline else {**look[series.label]}
            places = [series.pixels(labeled) for labeled in panel.budgets]
            axes.plot(places, values, label=f"{legend_name(series.label)} ({name})", **style, markerfacecolor=face)
    legend(figure, paper)
    return figure


def penalty_map(labels: Sequence[str], shares: Values, paper: Paper) -> Figure:
    """Draws the penalty matrix as a heat map.

    Args:
        labels: of the N strategies.
        shares: ``(N, N)`` in [0, 1]: the share of budgets at which the row's strategy beats the column's strategy; NaN if unknown.
        paper: width and font of the figure.
    """
    width = min(paper.width, 4.4 + 0.55 * len(labels))
    figure = Figure(figsize=(width, (1.0 if paper.narrow else 0.85) * width), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(in_percent(shares), vmin=0, vmax=100, cmap="Blues", aspect="auto")
    size = min(0.8 * paper.size, 24 * width / (len(labels) + 4))
    for (row, column), share in np.ndenumerate(shares):
        if not np.isnan(share):
            color = "white" if share > 0.55 else "black"
            axes.text(column, row, unsigned(float(share), ".0f"), ha="center", va="center", fontsize=size, color=color)
    names = shortened_apart([printable(name) for name in labels], 22 if paper.narrow else 60)
    axes.set_xticks(range(len(labels)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=0.8 * paper.size)
    axes.set_yticks(range(len(labels)), names, fontsize=0.8 * paper.size)
    axes.set(xlabel="... this one, at so many % of budgets", ylabel="this strategy beats ...")
    if not paper.narrow:  # the numbers are in the cells
        figure.colorbar(image, ax=axes, label="share of budgets (%)", shrink=0.8)
    return figure


def trend(found: Trend, look: Mapping[str, Style], paper: Paper) -> Figure:
    """Draws the break-even point and the mean difference to the baseline against a setting.

    A cross at the upper edge marks a strategy that has no break-even point.
    """
    figure = Figure(figsize=(paper.width, (1.5 if paper.narrow else 0.42) * paper.width), layout="constrained")
    left, right = figure.subplots(2, 1) if paper.narrow else figure.subplots(1, 2)
    right.axhline(0, label=legend_name(found.baseline), **BASELINE)
    for name, points in found.lines.items():
        # A line that stands for a class of strategies gets the look of one of them.
        style = look.get(name) or next(look[other] for start in (f"{name}(", name) for other in look if other.startswith(start))
        values = [point.value for point in points]
        known = [point.break_even if np.isfinite(point.break_even) else np.nan for point in points]
        if not np.isnan(known).all():  # matplotlib would reserve space for a line without points
            left.plot(values, known, **style)
        never = [point.value for point in points if np.isinf(point.break_even)]
        if never:
            _cross(left, never, style)
        mean, low, high = (in_percent(np.array([getattr(point.difference, end) for point in points])) for end in ("mean", "low", "high"))
        right.errorbar(values, mean, yerr=np.abs([mean - low, high - mean]), capsize=3, label=legend_name(name), **style)
    left.set(ylabel="break-even point (labels)", ylim=(0, None))
    if not any(np.isfinite(point.break_even) for points in found.lines.values() for point in points):
        left.set_yticks([])  # only crosses are drawn, and these have no value
    right.set(ylabel=f"mean difference to {found.baseline} (points)")
    for axes in (left, right):
        _scale(axes, sorted({point.value for points in found.lines.values() for point in points}))
        axes.set_xlabel(found.setting)
        axes.grid(alpha=0.3)
    legend(figure, paper)
    return figure


def _cross(axes: Axes, values: Sequence[float], style: Style) -> None:
    """Draws a cross at the upper edge for each of these x-values."""
    axes.plot(
        values, [1.0] * len(values), transform=axes.get_xaxis_transform(), color=style["color"], marker="x", linestyle="", clip_on=False
    )


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Puts a tick at each value, on a logarithmic x-axis if the values are positive and span more than a factor of 10."""
    if values[0] > 0 and values[-1] / values[0] > 10:
        powers_of_two = all(float(np.log2(value)).is_integer() for value in values)
        axes.set_xscale("log", base=2 if powers_of_two else 10)
        axes.minorticks_off()
    axes.set_xticks(values, [f"{value:g}" for value in values])
