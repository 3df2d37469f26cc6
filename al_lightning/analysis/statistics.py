"""Differences between strategies, paired by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

_RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """A strategy against another one, on the seeds that both have.

    Attributes:
        seeds: that both have, sorted.
        mean: of the differences, first minus second; NaN without a common seed.
        low: lower end of the 95 % bootstrap interval of the mean; NaN with fewer than 2 seeds.
        high: upper end.
        p: of the two-sided paired t-test; NaN where ``note`` says why there is none.
        note: what a reader must know, or empty.
    """

    seeds: tuple[int, ...]
    mean: float
    low: float
    high: float
    p: float
    note: str


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Compares two strategies' values of the same seeds.

    The interval is the percentile bootstrap over seeds, drawn with a fixed seed, so that a report repeats itself.

    Args:
        first: value by seed.
        second: value by seed.
    """
    seeds = tuple(sorted(set(first) & set(second)))
    alone = sorted(set(first) ^ set(second))
    notes = [f"seeds {', '.join(map(str, alone))} are missing on one side"] if alone else []
    nothing = float("nan")
    if not seeds:
        return Difference(seeds, nothing, nothing, nothing, nothing, "no common seed")
    differences = np.array([first[seed] - second[seed] for seed in seeds])
    mean = float(differences.mean())
    if len(seeds) == 1:
        return Difference(seeds, mean, nothing, nothing, nothing, "; ".join([*notes, "one seed: no test, no interval"]))
    draws = np.random.default_rng(0).integers(len(seeds), size=(_RESAMPLES, len(seeds)))
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    if np.ptp(differences) <= 1e-12 * max(1.0, float(np.abs(differences).max())):
        return Difference(seeds, mean, mean, mean, nothing, "; ".join([*notes, "the difference is the same for every seed: no test"]))
    p = float(scipy.stats.ttest_1samp(differences, 0.0).pvalue)
    return Difference(seeds, mean, float(low), float(high), p, "; ".join(notes))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, 1979): the chance of any false positive among them stays below the level.

    Args:
        p_values: of one family of tests; NaN where there was no test, which counts for nothing.

    Returns:
        In the same order, each at least as large as it was, at most 1.

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
