"""The data of interactive charts, which the page's script draws: lines that can be hidden, values under the pointer, single seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from al_lightning.analysis.drawings.lines import Line
from al_lightning.analysis.numbers.comparison import Panel
from al_lightning.percent import in_percent

BySeed = Mapping[int, Mapping[int, float]]
"""For each seed, values by the number of labeled items."""


def as_chart(lines: Sequence[Line], by_seed: Mapping[str, BySeed], ylabel: str) -> dict[str, Any]:
    """Makes the data of a chart.

    Args:
        lines: the lines, in percent or points.
        by_seed: for the name of each line, the fractions of its seeds. A line without seeds may be missing.
        ylabel: label of the y-axis.
    """
    return {"xlabel": "labeled items", "ylabel": ylabel, "lines": [_line(line, by_seed.get(line.name, {})) for line in lines]}


def curves_by_seed(panel: Panel) -> dict[str, BySeed]:
    """Returns the learning curve of each seed, by the strategy's label."""
    return {series.label: series.curves for series in panel.series}


def differences_by_seed(panel: Panel) -> dict[str, BySeed]:
    """Returns the difference to the baseline of each common seed, by the strategy's label."""
    if panel.baseline is None:
        return {}
    base = panel.baseline.curves
    return {
        series.label: {
            seed: {labeled: value - base[seed][labeled] for labeled, value in curve.items() if labeled in base[seed]}
            for seed, curve in series.curves.items()
            if seed in base
        }
        for series in panel.others
    }


def _line(line: Line, seeds: BySeed) -> dict[str, Any]:
    return {
        "name": line.name,
        "color": "#888888" if line.style["color"] == "black" else line.style["color"],  # visible on light and on dark pages
        "dashed": line.style["linestyle"] != "-",
        "x": [*line.x],
        "mean": _known(line.mean),
        "low": _known(line.low),
        "high": _known(line.high),
        "seeds": {seed: _known(in_percent(curve.get(int(x), math.nan)) for x in line.x) for seed, curve in seeds.items()},
    }


def _known(values: Iterable[float]) -> list[float | None]:
    """Rounds numbers; None in place of those that JSON does not have (NaN and infinity)."""
    return [round(float(value), 4) if math.isfinite(value) else None for value in values]
