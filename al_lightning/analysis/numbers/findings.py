"""Computes areas, break-even points, saved labels and tests from panels, by pure functions.

Numbers of whole curves use the budgets that most seeds of every series of the panel have reached, and the seeds that have reached all of
these budgets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from al_lightning import settings
from al_lightning.analysis.numbers.comparison import Panel, Series
from al_lightning.analysis.numbers.curves import Values, alc, break_even, first_crossing, labels_to_reach, normalized
from al_lightning.analysis.numbers.statistics import Difference, Interval, holm, mean_interval, paired_difference, penalty_matrix


@dataclass(frozen=True)
class Contrast:
    """A test of one strategy against another.

    Attributes:
        first: label of the strategy.
        second: label of the strategy whose metric is subtracted.
        labeled: the budget; None for the mean over all budgets after cycle 0.
        difference: first minus second.
        corrected: the p-value after Holm's correction in the family of tests; NaN if there is no test.
    """

    first: str
    second: str
    labeled: int | None
    difference: Difference
    corrected: float


@dataclass(frozen=True)
class Area:
    """The areas under the learning curves of a series. Each is a mean over seeds with its interval.

    Attributes:
        mean: the mean metric over the curve, as a fraction: the area divided by the range of labels.
        alc: the area under the learning curve, in percent times cycles.
        normalized: the same area of the normalised curve (cycle 0 at 0, whole pool at 100); None if the whole pool's metric is unknown.
        final: the metric at the last common budget, as a fraction.
    """

    mean: Interval
    alc: Interval
    normalized: Interval | None
    final: Interval


@dataclass(frozen=True)
class Level:
    """The labels that a series needs to reach a level of the metric.

    Attributes:
        level: the level, as a fraction.
        labels: the number of labels that the mean curve needs; infinite if it does not reach the level, NaN if there is no curve.
        saved: 1 - labels / the baseline's labels; negative if the series needs more, NaN if one of the two does not reach the level.
    """

    level: float
    labels: float
    saved: float


def curve(series: Series) -> list[tuple[int, Interval]]:
    """Returns each number of labeled items with the mean over the seeds that have reached it."""
    return [(labeled, mean_interval([*series.at(labeled).values()])) for labeled in series.budgets]


def mean_curve(series: Series, budgets: Sequence[int]) -> Values | None:
    """Returns the mean ``(len(budgets),)`` over the seeds that have reached all budgets; None without budgets or such seeds."""
    curves = series.over(budgets)
    return np.mean([*curves.values()], axis=0) if curves and len(budgets) else None


def area(panel: Panel, series: Series) -> Area | None:
    """Computes the areas of a series over the common budgets; None if no seed has reached all of them, or if there are fewer than two.

    Raises:
        UserError: the whole pool's metric equals that of cycle 0, so that curves can't be normalised.
    """
    curves, scale = series.over(panel.budgets), panel.scale
    if not curves or len(panel.budgets) < 2:
        return None

    def areas(transform: Callable[[Values], Values]) -> Interval:
        return mean_interval([alc(transform(values), panel.budgets, panel.query_size) for values in curves.values()])

    labels = panel.budgets[-1] - panel.budgets[0]
    return Area(
        mean_interval([float(np.trapezoid(values, panel.budgets)) / labels for values in curves.values()]),
        areas(lambda values: values),
        None if scale is None else areas(lambda values: normalized(values, *scale)),
        mean_interval([values[-1] for values in curves.values()]),
    )


def break_even_point(panel: Panel, series: Series) -> float:
    """The number of labeled items from which on the mean curve stays above the baseline's. Both means are over their common seeds.

    Returns:
        Infinite if the curve does not end above; NaN for the baseline itself, and if there is nothing to compare.
    """
    return _against_baseline(panel, series, break_even)


def first_above(panel: Panel, series: Series) -> float:
    """The number of labeled items where the mean curve rises above the baseline's for the first time. Both means are over common seeds.

    Returns:
        Infinite if the curve is nowhere above; NaN for the baseline itself, and if there is nothing to compare.
    """
    return _against_baseline(panel, series, first_crossing)


def _against_baseline(panel: Panel, series: Series, find: Callable[[Values, Values, list[int]], float | None]) -> float:
    if series not in panel.others or (curves := _paired_with_baseline(panel, series)) is None:
        return float("nan")
    found = find(*curves, panel.budgets)
    return float("inf") if found is None else found


def _paired_with_baseline(panel: Panel, series: Series) -> tuple[Values, Values] | None:
    """The mean curves of a series and of the baseline over their common seeds; None if there is nothing to compare."""
    if panel.baseline is None or len(panel.budgets) < 2:
        return None
    mine, its = series.over(panel.budgets), panel.baseline.over(panel.budgets)
    seeds = sorted(set(mine) & set(its))
    return (np.mean([mine[s] for s in seeds], axis=0), np.mean([its[s] for s in seeds], axis=0)) if seeds else None


def default_levels(panel: Panel) -> list[float]:
    """Chooses up to three round levels between the first and the last mean of the baseline; none if there is no baseline that rises."""
    values = None if panel.baseline is None or not panel.others else mean_curve(panel.baseline, panel.budgets)
    if values is None or values[-1] <= values[0]:
        return []
    wanted = values[0] + (values[-1] - values[0]) * np.array([0.5, 0.75, 0.95])
    digits = int(np.ceil(-np.log10(values[-1] - values[0]))) + 1
    rounded = sorted({round(float(level), digits) for level in wanted})
    return [level for level in rounded if values[0] < level <= values.max()]


def levels_reached(panel: Panel, series: Series, levels: Sequence[float]) -> list[Level]:
    """Computes how many labels the mean curve of a series needs to reach each level, and what share it saves against the baseline.

    What it saves is computed over the seeds that both have.
    """

    def needed(values: Values | None, level: float) -> float:
        if values is None or len(panel.budgets) < 2:
            return float("nan")
        labels = labels_to_reach(level, values, panel.budgets)
        return float("inf") if labels is None else labels

    def saved(level: float) -> float:
        mine, its = (needed(values, level) for values in _paired_with_baseline(panel, series) or (None, None))
        return 1 - mine / its if np.isfinite([mine, its]).all() else float("nan")

    curve = mean_curve(series, panel.budgets)
    return [Level(level, needed(curve, level), saved(level)) for level in levels]


def by_budget(panel: Panel) -> list[Contrast]:
    """Tests each strategy against the baseline at each budget after cycle 0. All tests are one family for Holm's correction."""
    base = panel.baseline
    if base is None:
        return []
    return _family(
        [
            (series.label, base.label, labeled, paired_difference(series.at(labeled), base.at(labeled)))
            for series in panel.others
            for labeled in panel.queried
        ]
    )


def overall(panel: Panel) -> list[Contrast]:
    """Tests each strategy against the baseline by the mean over the budgets after cycle 0. All tests are one family."""
    return _family([_overall(panel, series, panel.baseline) for series in panel.others if panel.baseline and panel.queried])


def pairwise(panel: Panel) -> list[Contrast]:
    """Tests all pairs of strategies, including the baseline, by the mean over the budgets after cycle 0. All tests are one family."""
    return _family([_overall(panel, first, second) for first, second in combinations(panel.compared, 2) if panel.queried])


def against_mean(panel: Panel) -> list[Contrast]:
    """Tests strategies with different aggregations of pixel scores against each other. All tests are one family.

    Each strategy whose aggregation is not the mean, such as counting, is tested against the same strategy with the mean.
    """
    split = [(series, *settings.aggregation(series.choice)) for series in panel.compared]
    of_mean = [(series, rest) for series, aggregation, rest in split if not aggregation]
    others = [(series, rest) for series, aggregation, rest in split if aggregation]
    pairs = [(other, mean) for other, rest in others for mean, same in of_mean if rest == same]
    return _family([_overall(panel, other, mean) for other, mean in pairs if panel.queried])


def penalties(panel: Panel) -> Values:
    """Computes the penalty matrix of the compared series over the budgets after cycle 0; see :func:`penalty_matrix`."""
    return penalty_matrix([[series.at(labeled) for labeled in panel.queried] for series in panel.compared])


def _overall(panel: Panel, first: Series, second: Series) -> tuple[str, str, None, Difference]:
    means = [{seed: float(values.mean()) for seed, values in series.over(panel.queried).items()} for series in (first, second)]
    difference = paired_difference(*means)
    if not difference.seeds and {*first.runs} & {*second.runs}:
        difference = replace(difference, note="no common seed has a number at each of the common budgets")
    return first.label, second.label, None, difference


def _family(tests: Sequence[tuple[str, str, int | None, Difference]]) -> list[Contrast]:
    corrected = holm([test[-1].p for test in tests])
    return [Contrast(*test, p) for test, p in zip(tests, corrected, strict=True)]
