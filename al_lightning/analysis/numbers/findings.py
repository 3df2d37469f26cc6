"""What a panel's runs say: areas, break-even points, labels saved, tests. Pure functions of panels.

Numbers of whole curves are over the range of labels that all series of the panel have in common, and over the seeds that have all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from al_lightning.analysis.numbers import settings
from al_lightning.analysis.numbers.comparison import Panel, Series
from al_lightning.analysis.numbers.curves import Values, alc, break_even, first_crossing, labels_to_reach, normalized
from al_lightning.analysis.numbers.statistics import Difference, Interval, holm, mean_interval, paired_difference, penalty_matrix


@dataclass(frozen=True)
class Contrast:
    """A test of one strategy against another.

    Attributes:
        first: label of the strategy.
        second: of the one that is subtracted.
        labeled: the budget; None for the mean over all budgets after cycle 0.
        difference: first minus second.
        corrected: its p-value after Holm's correction in its family; NaN without a test.
    """

    first: str
    second: str
    labeled: int | None
    difference: Difference
    corrected: float


@dataclass(frozen=True)
class Area:
    """The learning curve of a series as numbers.

    Attributes:
        mean: the metric in the mean over the curve, the area divided by the labels that it goes over; as fractions, over the seeds.
        alc: in percent times cycles, likewise.
        normalized: likewise, of the curve with cycle 0 at 0 and the full pool at 100; None where the full pool's metric is unknown.
        final: the metric at the last common budget.
    """

    mean: Interval
    alc: Interval
    normalized: Interval | None
    final: Interval


@dataclass(frozen=True)
class Level:
    """The labels that a series needs to reach a level of the metric.

    Attributes:
        level: of the metric.
        labels: that its mean curve needs; infinite where it does not reach the level, NaN where there is no curve.
        saved: share of the baseline's labels that it does not need, negative where it needs more; NaN where one of them does not reach it.
    """

    level: float
    labels: float
    saved: float


def curve(series: Series) -> list[tuple[int, Interval]]:
    """The mean over seeds at each number of labeled items, over the seeds that have reached it."""
    return [(labeled, mean_interval([*series.at(labeled).values()])) for labeled in series.budgets]


def mean_curve(series: Series, budgets: Sequence[int]) -> Values | None:
    """The mean ``(len(budgets),)`` of the seeds that have reached all budgets; None where none has."""
    curves = series.over(budgets)
    return np.mean([*curves.values()], axis=0) if curves else None


def area(panel: Panel, series: Series) -> Area | None:
    """A series' ALC, normalised ALC and last metric; None where no seed covers the common range."""
    curves = series.over(panel.budgets)
    if not curves or len(panel.budgets) < 2:
        return None

    def areas(transform: Callable[[Values], Values]) -> Interval:
        return mean_interval([alc(transform(values), panel.budgets, panel.query_size) for values in curves.values()])

    full, labels = panel.full, panel.budgets[-1] - panel.budgets[0]
    return Area(
        mean_interval([float(np.trapezoid(values, panel.budgets)) / labels for values in curves.values()]),
        areas(lambda values: values),
        None if full is None else areas(lambda values: normalized(values, panel.start, full)),
        mean_interval([values[-1] for values in curves.values()]),
    )


def break_even_point(panel: Panel, series: Series) -> float:
    """The number of labeled items where the mean curve rises above the baseline's for good, over the seeds that both have.

    Returns:
        Infinite where it does not end above; NaN for the baseline itself, and where there is nothing to compare.
    """
    return _against_baseline(panel, series, break_even)


def first_above(panel: Panel, series: Series) -> float:
    """The number of labeled items where the mean curve rises above the baseline's for the first time, likewise.

    Returns:
        Infinite where it is nowhere above; NaN as of :func:`break_even_point`.
    """
    return _against_baseline(panel, series, first_crossing)


def _against_baseline(panel: Panel, series: Series, find: Callable[[Values, Values, list[int]], float | None]) -> float:
    if panel.baseline is None or series not in panel.others:
        return float("nan")
    mine, its = series.over(panel.budgets), panel.baseline.over(panel.budgets)
    seeds = sorted(set(mine) & set(its))
    if not seeds or len(panel.budgets) < 2:
        return float("nan")
    found = find(np.mean([mine[s] for s in seeds], axis=0), np.mean([its[s] for s in seeds], axis=0), panel.budgets)
    return float("inf") if found is None else found


def default_levels(panel: Panel) -> list[float]:
    """Three round values between the baseline's first and last mean; fewer where they are too close, none without a baseline."""
    values = None if panel.baseline is None or not panel.others else mean_curve(panel.baseline, panel.budgets)
    if values is None or values[-1] <= values[0]:
        return []
    wanted = values[0] + (values[-1] - values[0]) * np.array([0.5, 0.75, 0.95])
    digits = int(np.ceil(-np.log10(values[-1] - values[0]))) + 1
    rounded = sorted({round(float(level), digits) for level in wanted})
    return [level for level in rounded if values[0] < level <= values.max()]


def levels_reached(panel: Panel, series: Series, levels: Sequence[float]) -> list[Level]:
    """The labels that the mean curve of a series needs to reach some levels, and what it saves against the baseline."""

    def needed(which: Series | None) -> list[float]:
        values = None if which is None or len(panel.budgets) < 2 else mean_curve(which, panel.budgets)
        if values is None:
            return [float("nan")] * len(levels)
        found = [labels_to_reach(level, values, panel.budgets) for level in levels]
        return [float("inf") if labels is None else labels for labels in found]

    return [
        Level(level, mine, 1 - mine / its if np.isfinite([mine, its]).all() else float("nan"))
        for level, mine, its in zip(levels, needed(series), needed(panel.baseline), strict=True)
    ]


def by_budget(panel: Panel) -> list[Contrast]:
    """Each strategy against the baseline at each budget after cycle 0; one family of tests."""
    base = panel.baseline
    if base is None:
        return []
    return _family(
        [
            (series.label, base.label, labeled, paired_difference(series.at(labeled), base.at(labeled)))
            for series in panel.others
            for labeled in panel.budgets[1:]
        ]
    )


def overall(panel: Panel) -> list[Contrast]:
    """Each strategy against the baseline in the mean over the budgets after cycle 0; one family of tests."""
    return _family([_overall(panel, series, panel.baseline) for series in panel.others if panel.baseline and panel.budgets[1:]])


def pairwise(panel: Panel) -> list[Contrast]:
    """Every two strategies, the baseline among them, in the mean over the budgets after cycle 0; one family of tests."""
    return _family([_overall(panel, first, second) for first, second in combinations(panel.compared, 2) if panel.budgets[1:]])


def against_mean(panel: Panel) -> list[Contrast]:
    """Each strategy that counts pixels, or aggregates them otherwise, against the same one by their mean, likewise; one family of tests."""
    split = [(series, *settings.aggregation(series.choice)) for series in panel.compared]
    pairs = [(other, mean) for other, how, what in split for mean, none, same in split if how and not none and what == same]
    return _family([_overall(panel, other, mean) for other, mean in pairs if panel.budgets[1:]])


def penalties(panel: Panel) -> Values:
    """The penalty matrix of the compared series over the budgets after cycle 0; see :func:`penalty_matrix`."""
    return penalty_matrix([[series.at(labeled) for labeled in panel.budgets[1:]] for series in panel.compared])


def _overall(panel: Panel, first: Series, second: Series) -> tuple[str, str, None, Difference]:
    means = [{seed: float(values.mean()) for seed, values in series.over(panel.budgets[1:]).items()} for series in (first, second)]
    return first.label, second.label, None, paired_difference(*means)


def _family(tests: Sequence[tuple[str, str, int | None, Difference]]) -> list[Contrast]:
    corrected = holm([test[-1].p for test in tests])
    return [Contrast(*test, p) for test, p in zip(tests, corrected, strict=True)]
