"""Computes numbers from learning curves, by pure functions.

A curve is given by two arrays: the number of labeled items in each cycle, which rises, and the metric of each cycle.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from al_lightning.errors import UserError
from al_lightning.percent import ROUNDING, in_percent

Values = npt.NDArray[np.floating[Any]]


def alc(values: npt.ArrayLike, labeled: npt.ArrayLike, query_size: float) -> float:
    """Area under the learning curve by trapezoids, in percent times cycles: the unit of Chen's thesis (2020).

    Args:
        values: ``(n,)`` metric of each cycle, in [0, 1].
        labeled: ``(n,)`` labeled items of each cycle, rising.
        query_size: the number of labeled items that counts as one cycle on the x-axis; the mean if the sizes of the queries differ.

    Raises:
        UserError: the curve has fewer than 2 points, ``labeled`` does not rise, or ``query_size`` is not positive.

    Example:
        >>> round(alc([0.5, 0.6, 0.7], [100, 200, 300], query_size=100), 6)
        120.0
    """
    y, x = _curve(values, labeled)
    if query_size <= 0:
        raise UserError(f"Expected a query_size above 0, got {query_size}.")
    return float(np.trapezoid(in_percent(y), x / query_size))


def normalized(values: npt.ArrayLike, start: float, full: float) -> Values:
    """Maps a curve linearly, so that the metric of the first training set becomes 0 and that of the whole pool becomes 1.

    Args:
        values: ``(n,)`` metric of each cycle.
        start: metric of cycle 0, the same for all strategies that are compared.
        full: metric of a model trained on the whole pool.

    Raises:
        UserError: ``start`` and ``full`` are equal.
    """
    if full == start:
        raise UserError(f"Expected the full pool's metric to differ from cycle 0's to normalise by it, but both are {start}.")
    scaled: Values = (np.asarray(values, float) - start) / (full - start)
    return scaled


def break_even(values: npt.ArrayLike, baseline: npt.ArrayLike, labeled: npt.ArrayLike) -> float | None:
    """The number of labeled items from which on a mean curve stays above the baseline's: their last crossing.

    Args:
        values: ``(n,)`` mean metric of each cycle.
        baseline: ``(n,)`` mean metric of each cycle of the baseline.
        labeled: ``(n,)`` labeled items of each cycle, rising; the same for both curves.

    Returns:
        Where the curves cross for the last time, on straight lines between cycles. The first number of labels if the curve is above in
        every cycle. None if the curve does not end above the baseline's.

    Raises:
        UserError: a curve has fewer than 2 points, or ``labeled`` does not rise.
    """
    difference, x = _differences(values, baseline, labeled)
    not_above = np.flatnonzero(difference <= 0)
    last = int(not_above[-1]) if len(not_above) else -1
    return None if last == len(x) - 1 else _crossing(difference, x, last + 1)


def first_crossing(values: npt.ArrayLike, baseline: npt.ArrayLike, labeled: npt.ArrayLike) -> float | None:
    """The number of labeled items where a mean curve rises above the baseline's for the first time, whether or not it stays there.

    Args:
        values: see :func:`break_even`.
        baseline: see :func:`break_even`.
        labeled: see :func:`break_even`.

    Returns:
        Where the curves cross before the first cycle in which the curve is above, on straight lines between cycles. None if there is no
        such cycle.

    Raises:
        UserError: a curve has fewer than 2 points, or ``labeled`` does not rise.
    """
    difference, x = _differences(values, baseline, labeled)
    above = np.flatnonzero(difference > 0)
    return _crossing(difference, x, int(above[0])) if len(above) else None


def _differences(values: npt.ArrayLike, baseline: npt.ArrayLike, labeled: npt.ArrayLike) -> tuple[Values, Values]:
    y, x = _curve(values, labeled)
    other = _curve(baseline, labeled)[0]
    return np.where(np.isclose(y, other, rtol=ROUNDING, atol=0), 0, y - other), x


def _crossing(difference: Values, x: Values, above: int) -> float:
    """Where the straight line to the point at position ``above`` crosses 0. If that is the first point, its own x."""
    if above == 0:
        return float(x[0])
    low, high = difference[above - 1], difference[above]
    return float(x[above - 1] + (x[above] - x[above - 1]) * -low / (high - low))


def labels_to_reach(level: float, values: npt.ArrayLike, labeled: npt.ArrayLike) -> float | None:
    """The number of labeled items where a curve first reaches a level, on straight lines between cycles; None if it never does.

    Args:
        level: of the metric.
        values: ``(n,)`` metric of each cycle.
        labeled: ``(n,)`` labeled items of each cycle, rising.

    Raises:
        UserError: the curve has fewer than 2 points, or ``labeled`` does not rise.
    """
    y, x = _curve(values, labeled)
    reached = np.flatnonzero((y >= level) | np.isclose(y, level, rtol=ROUNDING, atol=0))
    if len(reached) == 0:
        return None
    first = int(reached[0])
    if first == 0:
        return float(x[0])
    share = (level - y[first - 1]) / (y[first] - y[first - 1])
    return float(x[first - 1] + (x[first] - x[first - 1]) * min(share, 1.0))


def _curve(values: npt.ArrayLike, labeled: npt.ArrayLike) -> tuple[Values, Values]:
    y, x = np.asarray(values, float), np.asarray(labeled, float)
    if y.shape != x.shape or y.ndim != 1 or len(y) < 2 or not (np.diff(x) > 0).all():
        raise UserError(f"Expected a curve of at least 2 points over a rising number of labels, got {y.tolist()} over {x.tolist()}.")
    return y, x
