"""Lines with bands. A few lines share one axes. Many lines become small multiples: one axes for each line, with the others in grey."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from al_lightning.analysis.drawings.paper import Paper
from al_lightning.analysis.drawings.rendering import legend_name
from al_lightning.analysis.numbers.curves import Values
from al_lightning.text import printable

Style = Mapping[str, Any]
"""How matplotlib draws a line."""

FEW = 4
"""The largest number of lines that share one axes, not counting the reference lines."""
_GREY: Style = {"color": "0.8", "linewidth": 0.7, "zorder": 1}
_LETTERS = 24  # the longest line of text in a label
_LINES = 3  # the most lines of text in a label, if that tells it from others


@dataclass(frozen=True)
class Line:
    """A line of a figure, with a band around it.

    Attributes:
        name: name for the legend.
        x: ``(n,)`` values on the x-axis.
        mean: ``(n,)`` values on the y-axis.
        low: ``(n,)`` lower edge of the band; NaN where there is no band.
        high: ``(n,)`` upper edge of the band, likewise.
        style: how matplotlib draws the line.
        shown: the last part of the line, in (0, 1], that the limits of the y-axis are chosen for.
    """

    name: str
    x: Sequence[float]
    mean: Values
    low: Values
    high: Values
    style: Style
    shown: float = 1.0

    @property
    def later(self) -> tuple[Values, Values, Values]:
        """Mean, low and high of the part of the line that the limits of the y-axis are chosen for."""
        first = int(len(self.mean) * (1 - self.shown))
        return self.mean[first:], self.low[first:], self.high[first:]


def level(name: str, x: Sequence[float], y: float, style: Style) -> Line:
    """Returns a horizontal line from the first to the last x, without a band."""
    nothing = np.full(2, np.nan)
    return Line(name, [x[0], x[-1]], np.full(2, y), nothing, nothing, style)


def drawn(lines: Sequence[Line], references: Sequence[Line], paper: Paper, xlabel: str, ylabel: str) -> Figure:
    """Draws lines.

    Args:
        lines: each gets its own axes if there are more than :data:`FEW`.
        references: lines that every axes shows, such as the baseline; drawn first.
        paper: width and font of the figure.
        xlabel: label of the x-axis.
        ylabel: label of the y-axis.
    """
    return (_together if len(lines) <= FEW else _apart)(lines, references, paper, xlabel, ylabel)


def _together(lines: Sequence[Line], references: Sequence[Line], paper: Paper, xlabel: str, ylabel: str) -> Figure:
    figure = Figure(figsize=(paper.width, (0.8 if paper.narrow else 0.5) * paper.width), layout="constrained")
    axes = figure.add_subplot()
    shown = [*references, *lines]
    for line in shown:
        _draw(axes, line)
    _frame(axes, shown)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if paper.narrow:
        legend(figure, paper)
    else:
        _name_ends(axes, shown, paper.size, figure.get_figheight() - 0.8)
    return figure


def _apart(lines: Sequence[Line], references: Sequence[Line], paper: Paper, xlabel: str, ylabel: str) -> Figure:
    columns = 2 if paper.narrow else min(4, -(-len(lines) // 2))
    titles = _wrapped([line.name for line in lines], 22 if paper.narrow else _LETTERS)
    figure, grid = _grid(len(lines), columns, 1 + max(title.count("\n") for title in titles), paper)
    for axes, line, title in zip(grid, lines, titles, strict=True):
        for other in lines:
            axes.plot(other.x, other.mean, **_GREY)
        for each in references:  # without the band, which would look like another grey line
            axes.plot(each.x, each.mean, label=legend_name(each.name), **each.style)
        _draw(axes, line)
        axes.set_title(title, color=line.style["color"], fontsize=0.9 * paper.size, pad=0.4 * paper.size)
        axes.grid(alpha=0.3)
    _frame(grid[0], [*references, *lines])
    handles = grid[0].get_lines()
    named = [(handles[len(lines) + place], legend_name(reference.name)) for place, reference in enumerate(references)]
    shown, names = zip(*named, (handles[0], "the others"), strict=True)
    figure.legend(shown, names, loc="upper center", ncols=3, frameon=False, borderpad=0)
    figure.supxlabel(xlabel, fontsize=paper.size, y=0.05 * paper.size / 72 / figure.get_figheight(), va="bottom")
    figure.supylabel(ylabel, fontsize=paper.size)
    return figure


def _grid(number: int, columns: int, title_lines: int, paper: Paper) -> tuple[Figure, list[Axes]]:
    """Makes axes that share their scales.

    Their positions are computed here, because matplotlib's layout engine would take seconds. This works as only numbers stand around them.
    """
    rows, line = -(-number // columns), 1.3 * paper.size / 72  # inches
    left, bottom, top = 4.4 * line, 2.8 * line, 1.6 * line + title_lines * line
    wide = (paper.width - left - 0.6 * line) / columns
    tall = 0.75 * wide + title_lines * line
    height = bottom + 1.6 * line + rows * tall
    figure = Figure(figsize=(paper.width, height))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    gap = (title_lines + 0.8) * line
    figure.subplots_adjust(left / paper.width, bottom / height, 1 - 0.6 * line / paper.width, 1 - top / height, 0.08, gap / (tall - gap))
    shown = list(axes.flat)
    for place, each in enumerate(shown):
        if place >= number:
            each.remove()
        elif place + columns >= number:  # there is no axes below this one
            each.tick_params(labelbottom=True)
    return figure, shown[:number]


def legend(figure: Figure, paper: Paper) -> None:
    """Adds a legend of everything that has a label. It stands outside the axes."""
    where: Any = "outside lower center" if paper.narrow else "outside right upper"
    figure.legend(loc=where, ncols=2 if paper.narrow else 1, frameon=False)


def _draw(axes: Axes, line: Line) -> None:
    axes.plot(line.x, line.mean, label=legend_name(line.name), **line.style)
    if not np.isnan(line.low).all():
        axes.fill_between(line.x, line.low, line.high, color=line.style["color"], alpha=0.12, linewidth=0)


def _frame(axes: Axes, lines: Sequence[Line]) -> None:
    """Formats axes; all lines are visible, but wide bands are cut off: with two seeds a band can be hundreds of points wide."""
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.grid(alpha=0.3)
    means = np.concatenate([line.later[0] for line in lines]) if lines else np.zeros(0)
    if not len(means):
        return
    bands = np.concatenate([means, *(edge for line in lines for edge in line.later[1:])])
    bottom, top = means.min(), means.max()
    room = 0.35 * (top - bottom) or 1.0
    axes.set_ylim(max(np.nanmin(bands), bottom - room) - 0.05 * room, min(np.nanmax(bands), top + room) + 0.15 * room)


def _name_ends(axes: Axes, lines: Sequence[Line], size: float, height: float) -> None:
    """Writes the names of lines to the right of the axes, and connects each name to the end of its line.

    Args:
        axes: its limits must be set already.
        lines: the lines in the axes.
        size: font size in points.
        height: approximate height of the axes in inches.
    """
    shown = sorted((line for line in lines if len(line.mean)), key=lambda line: line.mean[-1])
    names = _wrapped([line.name for line in shown], _LETTERS)
    tall = [1.3 * size * (name.count("\n") + 1) / 72 / height for name in names]
    low, high = axes.get_ylim()
    places = apart([float((line.mean[-1] - low) / (high - low)) for line in shown], tall)
    for line, name, place in zip(shown, names, places, strict=True):
        color = line.style["color"]
        axes.annotate(
            name,
            (line.x[-1], line.mean[-1]),
            (1.03, place),
            textcoords="axes fraction",
            va="center",
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)},
        )


def apart(places: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Moves labels so that they do not overlap and stay within 0 and 1. If they need more space, they go beyond 1.

    Args:
        places: ``(n,)`` the wanted centres, rising.
        sizes: ``(n,)`` the heights of the labels.

    Returns:
        The new centres ``(n,)``.

    Example:
        >>> apart([0.5, 0.5], [0.2, 0.2])
        [0.5, 0.7]
        >>> apart([0.5, 1.0], [0.2, 0.2])
        [0.5, 0.9]
    """
    found: list[float] = []
    free = 0.0
    for place, size in zip(places, sizes, strict=True):
        found.append(max(place, free + size / 2))
        free = found[-1] + size / 2
    free = max(1.0, sum(sizes))
    for number in reversed(range(len(found))):
        found[number] = round(min(found[number], free - sizes[number] / 2), 9)
        free = found[number] - sizes[number] / 2
    return found


def _wrapped(names: Sequence[str], letters: int) -> list[str]:
    """Breaks names into a few lines each, and cuts off the rest; into more lines if different names would look alike."""
    breakable = [shown if len(shown := printable(name)) <= letters else shown.replace("(", " (") for name in names]
    for most in range(_LINES, max(map(len, names), default=0) + _LINES + 1):
        wrapped = ["\n".join(textwrap.wrap(name, letters, max_lines=most, placeholder=" …")) or name for name in breakable]
        if len({*wrapped}) == len({*names}):
            break
    return wrapped
