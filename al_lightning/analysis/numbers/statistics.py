"""Means over seeds, and differences between strategies paired by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import scipy.special
import scipy.stats

LEVEL = 0.05
"""The significance level of tests. Intervals have the confidence level 1 - LEVEL."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: the mean of the values.
        low: lower end of the interval of the mean; NaN with fewer than 2 values.
        high: upper end, likewise.
        count: the number of values.
    """

    mean: float
    low: float
    high: float
    count: int


def mean_interval(values: npt.ArrayLike) -> Interval:
    """The mean of independent values with Student's interval, mean -+ t(0.975, n - 1) s / sqrt(n).

    Args:
        values: ``(n,)``, one for each seed; n at least 1.
    """
    x = np.asarray(values, float)
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, float("nan"), float("nan"), len(x))
    half = float(scipy.stats.t.ppf(1 - LEVEL / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return Interval(mean, mean - half, mean + half, len(x))


@dataclass(frozen=True)
class Difference:
    """The difference between two strategies on the seeds that both have.

    Attributes:
        seeds: the seeds that both have, sorted.
        mean: the mean difference, first minus second; NaN without a common seed.
        low: lower end of the 95 % interval of the mean (Student's t); NaN with fewer than 2 seeds.
        high: upper end, likewise.
        p: p-value of the two-sided paired t-test; NaN if there is no test, and ``note`` says why.
        note: what a reader must know, or empty.
    """

    seeds: tuple[int, ...]
    mean: float
    low: float
    high: float
    p: float
    note: str


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Compares the values of two strategies, paired by seed.

    The interval is Student's, so it excludes 0 exactly if the test has p < 0.05. A percentile bootstrap over 4 seeds would be too narrow.

    Args:
        first: the value of each seed.
        second: the value of each seed.
    """
    seeds = tuple(sorted(set(first) & set(second)))
    alone = sorted(set(first) ^ set(second))
    verb = "s {} are" if len(alone) > 1 else " {} is"
    notes = [f"seed{verb.format(', '.join(map(str, alone)))} missing on one side"] if alone else []
    nothing = float("nan")
    if not seeds:
        return Difference(seeds, nothing, nothing, nothing, nothing, "no common seed")
    differences = _differences(first, second)
    mean = float(differences.mean())
    if len(seeds) == 1:
        return Difference(seeds, mean, nothing, nothing, nothing, "; ".join([*notes, "one seed, which has no interval either"]))
    interval = mean_interval(differences)
    if _constant(differences):
        return Difference(seeds, mean, mean, mean, nothing, "; ".join([*notes, "the difference is the same for every seed"]))
    return Difference(seeds, mean, interval.low, interval.high, _p_value(differences), "; ".join(notes))


def penalty_matrix(strategies: Sequence[Sequence[Mapping[int, float]]]) -> npt.NDArray[np.float64]:
    """How often each strategy beats each other one (Ash et al., Deep Batch Active Learning by Diverse Gradients, 2020).

    A strategy beats another one at a budget if its mean over the common seeds is higher and the two-sided paired t-test has p < 0.05. As
    published, p is not corrected for the number of tests. Budgets with fewer than 2 common seeds do not count. If the difference is the
    same for every seed, no strategy beats the other.

    Args:
        strategies: for each of N strategies and each of the same B budgets, the metric by seed.

    Returns:
        ``(N, N)``: row i, column j is the share of the budgets at which i beats j, in [0, 1]; NaN on the diagonal and if no budget
        counts. The mean of a column is the penalty of its strategy: the lower the better.
    """
    shares = np.full((len(strategies), len(strategies)), np.nan)
    for (i, first), (j, second) in combinations(enumerate(strategies), 2):
        pairs = [_differences(a, b) for a, b in zip(first, second, strict=True) if len(set(a) & set(b)) > 1]
        if pairs:
            signs = np.array([0.0 if _constant(x) or _p_value(x) >= LEVEL else np.sign(x.mean()) for x in pairs])
            shares[i, j], shares[j, i] = (signs > 0).mean(), (signs < 0).mean()
    return shares


def _differences(first: Mapping[int, float], second: Mapping[int, float]) -> npt.NDArray[np.float64]:
    return np.array([first[seed] - second[seed] for seed in sorted(set(first) & set(second))])


def _constant(differences: npt.NDArray[np.float64]) -> bool:
    """Whether all differences are the same up to rounding, of metrics in float32. There is no variance for a test then."""
    return bool(np.ptp(differences) <= 1e-6 * max(1.0, float(np.abs(differences).max())))


def _p_value(differences: npt.NDArray[np.float64]) -> float:
    """The p-value of the two-sided t-test of the hypothesis that the mean is 0. SciPy's ttest_1samp takes twenty times as long."""
    t = differences.mean() / (differences.std(ddof=1) / np.sqrt(len(differences)))
    return float(2 * scipy.special.stdtr(len(differences) - 1, -abs(t)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for the number of tests (Holm, 1979), so that the chance of any false positive among them is at most the level.

    Args:
        p_values: of one family of tests; NaN if there was no test, which does not count.

    Returns:
        The corrected p-values in the same order, each at least as large as before, and at most 1.

    Example:
        >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in corrected]
