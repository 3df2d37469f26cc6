"""Numbers of learning curves: pure functions of labels and metric values.

A curve is given by the number of labeled items of each cycle, rising, and the metric of each cycle.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from al_lightning.errors import UserError
from al_lightning.percent import in_percent

Values = npt.NDArray[np.floating[Any]]


def alc(values: npt.ArrayLike, labeled: npt.ArrayLike, query_size: float) -> float:
    """Area under the learning curve by trapezoids, in percent times cycles: the unit of Chen's thesis (2020).

    Args:
        values: ``(n,)`` metric of each cycle, in [0, 1].
        labeled: ``(n,)`` labeled items of each cycle, rising.
        query_size: labeled items that make one cycle on the x-axis; the mean query where sizes differ.

    Raises:
        UserError: the curve has fewer than 2 points, or its x-axis does not rise.

    Example:
        >>> round(alc([0.5, 0.6, 0.7], [100, 200, 300], query_size=100), 6)
        120.0
    """
    y, x = _curve(values, labeled)
    if query_size <= 0:
        raise UserError(f"Expected a query_size above 0, got {query_size}.")
    return float(np.trapezoid(in_percent(y), x / query_size))


def normalized(values: npt.ArrayLike, start: float, full: float) -> Values:
    """The curve mapped so that the first training set's value is 0 and the full pool's is 1.

    Args:
        values: ``(n,)`` metric of each cycle.
        start: metric of cycle 0, common to all strategies that are compared.
        full: metric of a model trained on the whole pool.

    Raises:
        UserError: the two are equal.
    """
    if full == start:
        raise UserError(f"Expected the full pool's metric to differ from cycle 0's to normalise by it, but both are {start}.")
    scaled: Values = (np.asarray(values, float) - start) / (full - start)
    return scaled


def break_even(values: npt.ArrayLike, baseline: npt.ArrayLike, labeled: npt.ArrayLike) -> float | None:
    """The number of labeled items where a mean curve rises above the baseline's and stays there: its last crossing.

    Args:
        values: ``(n,)`` mean metric of each cycle.
        baseline: ``(n,)`` likewise, of the strategy that is compared with.
        labeled: ``(n,)`` labeled items of each cycle, rising; the same for both.

    Returns:
        Where the straight lines between the last two cycles in question cross; the first number of labels where the curve is never
        below but above somewhere; None where it ends below or level.
    """
    difference, x = _differences(values, baseline, labeled)
    not_above = np.flatnonzero(difference <= 0)
    last = int(not_above[-1]) if len(not_above) else -1
    return None if last == len(x) - 1 else _crossing(difference, x, last + 1)


def first_crossing(values: npt.ArrayLike, baseline: npt.ArrayLike, labeled: npt.ArrayLike) -> float | None:
    """The number of labeled items where a mean curve rises above the baseline's for the first time, whether or not it stays there.

    Args:
        values: as of :func:`break_even`.
        baseline: likewise.
        labeled: likewise.

    Returns:
        Where the straight lines cross, as there; None where the curve is nowhere above.
    """
    difference, x = _differences(values, baseline, labeled)
    above = np.flatnonzero(difference > 0)
    return _crossing(difference, x, int(above[0])) if len(above) else None


def _differences(values: npt.ArrayLike, baseline: npt.ArrayLike, labeled: npt.ArrayLike) -> tuple[Values, Values]:
    y, x = _curve(values, labeled)
    return y - _curve(baseline, labeled)[0], x


def _crossing(difference: Values, x: Values, above: int) -> float:
    """Where a straight line crosses 0 before a point that is above it; the first point where there is none before it."""
    if above == 0:
        return float(x[0])
    low, high = difference[above - 1], difference[above]
    return float(x[above - 1] + (x[above] - x[above - 1]) * -low / (high - low))


def labels_to_reach(level: float, values: npt.ArrayLike, labeled: npt.ArrayLike) -> float | None:
    """The number of labeled items where a curve first reaches a level, on straight lines between cycles; None where it never does."""
    y, x = _curve(values, labeled)
    reached = np.flatnonzero(y >= level)
    if len(reached) == 0:
        return None
    first = int(reached[0])
    if first == 0:
        return float(x[0])
    return float(x[first - 1] + (x[first] - x[first - 1]) * (level - y[first - 1]) / (y[first] - y[first - 1]))


def _curve(values: npt.ArrayLike, labeled: npt.ArrayLike) -> tuple[Values, Values]:
    y, x = np.asarray(values, float), np.asarray(labeled, float)
    if y.shape != x.shape or y.ndim != 1 or len(y) < 2 or not (np.diff(x) > 0).all():
        raise UserError(f"Expected a curve of at least 2 points over a rising number of labels, got {y.tolist()} over {x.tolist()}.")
    return y, x
