"""How a strategy compares with the baseline when one numeric setting changes: a network's width, a temperature, a stride."""

from collections.abc import Sequence
from dataclasses import dataclass

from al_lightning import settings as names
from al_lightning.analysis.numbers.comparison import Comparison, Panel, Series
from al_lightning.analysis.numbers.findings import break_even_point, overall
from al_lightning.analysis.numbers.statistics import Difference
from al_lightning.settings import Settings


@dataclass(frozen=True)
class Point:
    """A strategy at one value of the setting.

    Attributes:
        value: the value of the setting.
        break_even: the break-even point in labeled items; infinite if the strategy does not end above the baseline.
        difference: the difference to the baseline, as the mean over the budgets after cycle 0.
    """

    value: float
    break_even: float
    difference: Difference


@dataclass(frozen=True)
class Trend:
    """Strategies at several values of one setting.

    Attributes:
        setting: short name of the setting.
        where: what else distinguishes the panels from others; empty if nothing does.
        baseline: label of the baseline.
        lines: for the label or class of each strategy, at least two points with rising values.
        panels: where the strategies that have a line were compared.
    """

    setting: str
    where: str
    baseline: str
    lines: dict[str, list[Point]]
    panels: Sequence[Panel]


def across_panels(comparison: Comparison) -> list[Trend]:
    """Compares each strategy across panels that differ in one numeric setting.

    If they differ in other settings, too, which are no numbers, each choice of these has a trend of its own.
    """
    panels = [panel for panel in comparison.panels if panel.others]
    differ = names.differing([panel.settings for panel in panels])
    numbers = [key for key in differ if all(names.is_number(panel.settings.get(key)) for panel in panels)]
    if len(numbers) != 1:
        return []
    (key,) = numbers
    rests = [{other: value for other, value in panel.settings.items() if other != key} for panel in panels]
    groups: dict[str, list[Panel]] = {}
    for panel, name in zip(panels, _named_apart(rests), strict=True):
        groups.setdefault(name, []).append(panel)
    return [trend for name, group in groups.items() if (trend := _across(group, key, name)).lines]


def _named_apart(rests: Sequence[Settings]) -> list[str]:
    """Names equal settings alike, and others otherwise; empty if all are equal."""
    distinct = list({names.key_of(rest): rest for rest in rests}.values())
    named = dict(zip(map(names.key_of, distinct), names.short_names(distinct) if len(distinct) > 1 else [""], strict=True))
    return [named[names.key_of(rest)] for rest in rests]


def _across(panels: Sequence[Panel], key: str, where: str) -> Trend:
    lines: dict[str, list[tuple[Panel, Point]]] = {}
    for panel in sorted(panels, key=lambda panel: float(panel.settings[key])):
        for label, point in _points(panel, {series.label: float(panel.settings[key]) for series in panel.others}).items():
            lines.setdefault(label, []).append((panel, point))
    baseline = panels[0].baseline
    assert baseline is not None
    drawn = {label: found for label, found in lines.items() if len(found) > 1}
    having = {id(panel) for found in drawn.values() for panel, _ in found}
    points = {label: [point for _, point in found] for label, found in drawn.items()}
    return Trend(_last(key), where, baseline.label, points, [panel for panel in panels if id(panel) in having])


def within_panels(comparison: Comparison) -> list[Trend]:
    """Compares, within each panel, the strategies of a class that differ in exactly one numeric argument, or in the stride."""
    trends = []
    for panel in comparison.panels:
        by_class: dict[str, list[Series]] = {}
        for series in panel.others:
            by_class.setdefault(series.strategy, []).append(series)
        for strategy, members in by_class.items():
            key = _only_number([series.choice for series in members])
            if key is None or panel.baseline is None:
                continue
            points = _points(panel, {series.label: float(series.choice[key]) for series in members})
            line = sorted(points.values(), key=lambda point: point.value)
            if len(line) > 1:
                trends.append(Trend(_last(key), panel.name, panel.baseline.label, {strategy: line}, [panel]))
    return trends


def _only_number(all_settings: Sequence[Settings]) -> str | None:
    keys = names.differing(all_settings) if len(all_settings) > 1 else []
    if len(keys) != 1 or not all(names.is_number(settings.get(keys[0])) for settings in all_settings):
        return None
    return keys[0]


def _points(panel: Panel, values: dict[str, float]) -> dict[str, Point]:
    """Returns points by label, for the series that have a value in ``values`` and seeds in common with the baseline."""
    by_label = {series.label: series for series in panel.others}
    return {
        contrast.first: Point(values[contrast.first], break_even_point(panel, by_label[contrast.first]), contrast.difference)
        for contrast in overall(panel)
        if contrast.first in values and contrast.difference.seeds
    }


def _last(key: str) -> str:
    return key.rpartition(".")[2]
