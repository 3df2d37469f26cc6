"""Figures of a comparison. The baseline is in each of them, black and dashed; a strategy looks the same in all."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from al_lightning.analysis.drawings.rendering import legend_name
from al_lightning.analysis.numbers import settings
from al_lightning.analysis.numbers.comparison import Panel, Series
from al_lightning.analysis.numbers.curves import Values, normalized
from al_lightning.analysis.numbers.findings import Contrast, curve, mean_curve
from al_lightning.analysis.numbers.trends import Trend

Style = Mapping[str, Any]
"""How matplotlib draws a line."""

# Eight colours that people with any colour vision tell apart: six of Okabe and Ito's (2008), two of Tol's (2021).
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_BASELINE: Style = {"color": "black", "linestyle": "--", "marker": "", "linewidth": 1.8, "zorder": 3}
_SIZE = (9.0, 4.6)


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """A look for each strategy that is no baseline. Colours repeat after eight; then markers and lines differ."""
    lines = [line for line in ("-", ":", "-.") for _ in _COLORS]
    looks = zip(cycle(_COLORS), cycle(_MARKERS), cycle(lines), strict=False)
    return {
        label: {"color": color, "marker": marker, "linestyle": line, "markersize": 4, "linewidth": 1.4}
        for label, (color, marker, line) in zip(labels, looks, strict=False)
    }


def learning_curves(panel: Panel, metric: str, look: Mapping[str, Style]) -> Figure:
    """Mean over seeds against labeled items, with the 95 % interval where there are two seeds or more."""
    figure, axes = _axes(f"{metric} (%)")
    _draw_curves(axes, panel, panel.series, look)
    return _finished(figure, axes)


def normalized_curves(panel: Panel, look: Mapping[str, Style]) -> Figure:
    """The same with the first training set at 0 and the whole pool at 100."""
    figure, axes = _axes("normalised (%)")
    assert panel.full is not None
    _draw_curves(axes, panel, panel.series, look, panel.start, panel.full)
    axes.axhline(100, color="0.5", linewidth=1, linestyle=":", label="whole pool")
    axes.set_ylim(top=max(105, axes.get_ylim()[1]))
    return _finished(figure, axes)


def zoom(panel: Panel, members: Sequence[Series], metric: str, look: Mapping[str, Style]) -> Figure:
    """A group of strategies, the baseline and random, as high as the later three quarters of their curves."""
    figure, axes = _axes(f"{metric} (%)")
    shown = [series for series in panel.series if series in members or series is panel.baseline or series.strategy == "Random"]
    _draw_curves(axes, panel, shown, look, later_part=0.75)
    return _finished(figure, axes)


def of_unlike_items(panels: Sequence[Panel]) -> list[Panel]:
    """The panels whose items' pixels are known, if their sizes are not the same everywhere; none otherwise."""
    known = [panel for panel in panels if panel.others and np.isfinite(panel.item_pixels)]
    return known if known and np.ptp([panel.item_pixels for panel in known]) > 0.01 * known[0].item_pixels else []


def in_pixels(panels: Sequence[Panel], kind: str, metric: str, look: Mapping[str, Style]) -> Figure:
    """Curves of several panels against labeled pixels: of a kind of strategies, of the baseline and random, and the band of them all.

    Args:
        panels: the first one's curves have filled markers.
        kind: see :func:`~al_lightning.analysis.numbers.settings.kind`.
        metric: for the axis.
        look: by label.
    """
    figure, axes = _axes(f"{metric} (%)")
    axes.set_xlabel("labeled pixels")
    axes.xaxis.set_major_formatter(EngFormatter())
    for panel, shade, face in zip(panels, cycle(("0.8", "#f3d9b1", "#cfe3f2")), cycle((None, "white", "0.6")), strict=False):
        means = {series: mean_curve(series, panel.budgets) for series in panel.compared}
        drawn = {series: 100 * values for series, values in means.items() if values is not None}
        x = [panel.compared[0].pixels(labeled) for labeled in panel.budgets]
        name = legend_name(panel.name)
        band = np.stack([*drawn.values()])
        axes.fill_between(x, band.min(axis=0), band.max(axis=0), color=shade, alpha=0.7, linewidth=0, label=f"all strategies ({name})")
        for series, values in drawn.items():
            if settings.kind(series.strategy) != kind and series is not panel.baseline and series.strategy != "Random":
                continue
            style = {**_BASELINE, "marker": "o"} if series is panel.baseline else {**look[series.label]}
            places = [series.pixels(labeled) for labeled in panel.budgets]
            axes.plot(places, values, label=f"{legend_name(series.label)} ({name})", **style, markerfacecolor=face)
    return _finished(figure, axes)


def differences(panel: Panel, contrasts: Sequence[Contrast], look: Mapping[str, Style]) -> Figure:
    """Mean of the differences to the baseline at each budget, paired by seed, with 95 % intervals."""
    assert panel.baseline is not None
    figure, axes = _axes(f"difference to {panel.baseline.label} (points)")
    axes.axhline(0, label=legend_name(panel.baseline.label), **_BASELINE)
    drawn = []
    for series in panel.others:
        points = [(c.labeled, c.difference) for c in contrasts if c.first == series.label and c.difference.seeds]
        mean, low, high = (100 * np.array([getattr(d, end) for _, d in points]) for end in ("mean", "low", "high"))
        drawn.append(_line(axes, [x for x, _ in points], (mean, low, high), series.label, look[series.label]))
    _limit(axes, drawn, [0.0])
    return _finished(figure, axes)


def penalty_map(labels: Sequence[str], shares: Values) -> Figure:
    """The penalty matrix as a heat map: the share of budgets at which the row beats the column."""
    edge = 1.2 + 0.55 * len(labels)
    figure = Figure(figsize=(edge + 3.2, edge + 1.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for (row, column), share in np.ndenumerate(shares):
        if not np.isnan(share):
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=8, color="white" if share > 0.55 else "black")
    names = [legend_name(name) for name in labels]
    axes.set_xticks(range(len(labels)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(labels)), names, fontsize=8)
    axes.set(xlabel="... this strategy", ylabel="beats ...")
    figure.colorbar(image, ax=axes, label="share of budgets", shrink=0.8)
    return figure


def trend(found: Trend, look: Mapping[str, Style]) -> Figure:
    """Break-even point and mean difference to the baseline against a setting; a cross at the upper edge says: never."""
    figure = Figure(figsize=(12.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    right.axhline(0, label=legend_name(found.baseline), **_BASELINE)
    for name, points in found.lines.items():
        # A line of a whole class looks like one of its strategies.
        style = look.get(name) or next(style for other, style in look.items() if other.startswith(name))
        values = [point.value for point in points]
        known = [point.break_even if np.isfinite(point.break_even) else np.nan for point in points]
        if not np.isnan(known).all():  # a line without a point would take room in the layout
            left.plot(values, known, **style)
        never = [point.value for point in points if np.isinf(point.break_even)]
        left.plot(
            never, [1.0] * len(never), transform=left.get_xaxis_transform(), color=style["color"], marker="x", linestyle="", clip_on=False
        )
        mean, low, high = (100 * np.array([getattr(point.difference, end) for point in points]) for end in ("mean", "low", "high"))
        right.errorbar(values, mean, yerr=np.abs([mean - low, high - mean]), capsize=3, label=legend_name(name), **style)
    left.set(ylabel="break-even point (labels)", ylim=(0, None))
    right.set(ylabel=f"mean difference to {found.baseline} (points)")
    for axes in (left, right):
        _scale(axes, sorted({point.value for points in found.lines.values() for point in points}))
        axes.set_xlabel(found.setting)
        axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def _axes(ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel="labeled items", ylabel=ylabel)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    return figure, axes


def _finished(figure: Figure, axes: Axes) -> Figure:
    many = len(axes.get_legend_handles_labels()[0]) > 14
    figure.legend(loc="outside right upper", fontsize="x-small" if many else "small", frameon=False)
    return figure


def _draw_curves(
    axes: Axes,
    panel: Panel,
    shown: Sequence[Series],
    look: Mapping[str, Style],
    start: float = 0.0,
    full: float = 1.0,
    later_part: float = 1.0,
) -> None:
    drawn = []
    for series in shown:
        points = curve(series)
        style = _BASELINE if series is panel.baseline else look[series.label]
        ends = tuple(100 * normalized([getattr(point, end) for _, point in points], start, full) for end in ("mean", "low", "high"))
        mean, low, high = _line(axes, [labeled for labeled, _ in points], ends, series.label, style)
        first = int(len(points) * (1 - later_part))
        drawn.append((mean[first:], low[first:], high[first:]))
    _limit(axes, drawn)


def _line(axes: Axes, x: Sequence[Any], ends: Any, name: str, style: Style) -> tuple[Values, Values, Values]:
    """Draws a line and its band, and gives them back."""
    mean, low, high = ends
    axes.plot(x, mean, label=legend_name(name), **style)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.1, linewidth=0)
    return mean, low, high


def _limit(axes: Axes, drawn: Sequence[tuple[Values, Values, Values]], others: Sequence[float] = ()) -> None:
    """Shows all lines, and as much of their bands as leaves the lines room: with two seeds a band can be hundreds of points wide."""
    means = np.concatenate([np.asarray(others, float), *(mean for mean, _, _ in drawn)])
    if not len(means):
        return
    bands = np.concatenate([means, *(np.concatenate([low, high]) for _, low, high in drawn)])
    bottom, top = means.min(), means.max()
    room = 0.35 * (top - bottom) or 1.0
    axes.set_ylim(max(np.nanmin(bands), bottom - room) - 0.05 * room, min(np.nanmax(bands), top + room) + 0.15 * room)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic x-axis where values span more than a decade, with a tick at each value."""
    if values[0] > 0 and values[-1] / values[0] > 10:
        powers_of_two = all(float(np.log2(value)).is_integer() for value in values)
        axes.set_xscale("log", base=2 if powers_of_two else 10)
        axes.minorticks_off()
    axes.set_xticks(values, [f"{value:g}" for value in values])
