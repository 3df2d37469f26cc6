"""What the page's script draws: lines to look at one by one, with the values under the pointer and single seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from al_lightning.analysis.drawings.lines import Line
from al_lightning.analysis.numbers.comparison import Panel
from al_lightning.percent import in_percent

BySeed = Mapping[int, Mapping[int, float]]
"""Values by number of labeled items, by seed."""


def as_chart(lines: Sequence[Line], by_seed: Mapping[str, BySeed], ylabel: str) -> dict[str, Any]:
    """The data of a chart.

    Args:
        lines: in percent or points.
        by_seed: fractions, by the line's name; no seeds where it has none.
        ylabel: says what they are.
    """
    return {"xlabel": "labeled items", "ylabel": ylabel, "lines": [_line(line, by_seed.get(line.name, {})) for line in lines]}


def curves_by_seed(panel: Panel) -> dict[str, BySeed]:
    """Every seed's learning curve, by the strategy's label."""
    return {series.label: series.curves for series in panel.series}


def differences_by_seed(panel: Panel) -> dict[str, BySeed]:
    """Every common seed's difference to the baseline, likewise."""
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
        "color": "#888888" if line.style["color"] == "black" else line.style["color"],  # seen on light and on dark
        "dashed": line.style["linestyle"] != "-",
        "x": [*line.x],
        "mean": _known(line.mean),
        "low": _known(line.low),
        "high": _known(line.high),
        "seeds": {seed: _known(in_percent(curve.get(int(x), math.nan)) for x in line.x) for seed, curve in seeds.items()},
    }


def _known(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON has them."""
    return [round(float(value), 4) if math.isfinite(value) else None for value in values]
