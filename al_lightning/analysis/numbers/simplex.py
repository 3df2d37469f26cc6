"""Distributions over C classes, as points of the probability simplex: where they lie, and how far uncertainty measures can disagree there.

Axes: N distributions, C classes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import entr, softmax

Values = npt.NDArray[np.floating[Any]]

_LARGEST_SCALE = 10.0


def simplex_grid(steps: int) -> Values:
    """An even grid over the simplex of 3 classes, its edges and corners included.

    Args:
        steps: intervals along an edge; with a multiple of 3, the uniform distribution is one of the points.

    Returns:
        ``(N, 3)`` with N = (steps + 1) (steps + 2) / 2.
    """
    first, second = (axis.ravel() for axis in np.mgrid[: steps + 1, : steps + 1])
    inside = first + second <= steps
    counts_N3 = np.stack([first, second, steps - first - second], axis=1)[inside]
    points: Values = counts_N3 / steps
    return points


def barycentric(distributions: npt.ArrayLike) -> Values:
    """Places in the plane: the corners of a triangle with edges of length 1, weighted by the probabilities.

    Args:
        distributions: ``(N, 3)``.

    Returns:
        ``(N, 2)``: the first class is the lower left corner, the second the lower right one, the third the top.
    """
    places: Values = np.asarray(distributions) @ np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    return places


def random_distributions(count: int, classes: int, seed: int) -> Values:
    """Random distributions that cover the whole range of entropies, more densely where it is high.

    Each is the softmax of ``s z``, with C independent standard normal logits z and a scale ``s = 10 u ** 2`` of its own, u uniform in
    [0, 1]: small scales, which come out nearly uniform over the classes, are the most frequent.

    Args:
        count: N.
        classes: C.
        seed: of the draw.

    Returns:
        ``(N, C)``.
    """
    generator = np.random.default_rng(seed)
    scales_N1 = _LARGEST_SCALE * generator.random((count, 1)) ** 2
    drawn: Values = softmax(scales_N1 * generator.standard_normal((count, classes)), axis=1)
    return drawn


def cumulative_average(values: npt.ArrayLike, order_by: npt.ArrayLike) -> Values:
    """Normalised cumulative average: the running mean over the sorted items, scaled so that its first is 0 and its last 1.

    With the items sorted by ``order_by``, rising, the n-th running mean is that of the first n values.

    Args:
        values: ``(N,)``, with another first running mean than the last.
        order_by: ``(N,)``.

    Returns:
        ``(N,)``, in the sorted order.

    Example:
        >>> cumulative_average([3.0, 1.0, 8.0], order_by=[20, 10, 30]).round(3).tolist()
        [0.0, 0.333, 1.0]
    """
    ordered = np.asarray(values, dtype=np.float64)[np.argsort(order_by, kind="stable")]
    means = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    scaled: Values = (means - means[0]) / (means[-1] - means[0])
    return scaled


def largest_entropy(max_p: npt.ArrayLike, classes: int) -> Values:
    """The largest entropy of a distribution whose largest probability is m, in nats: all other classes share the rest evenly.

    ``-m log m - (1 - m) log((1 - m) / (C - 1))``. Source: Fano's inequality (Cover & Thomas, Elements of Information Theory, 2.10).

    Args:
        max_p: m, in [1 / C, 1], of any shape.
        classes: C, at least 2.

    Returns:
        Of the shape of ``max_p``.

    Raises:
        ValueError: no distribution over C classes has such a largest probability.
    """
    m = np.asarray(max_p, dtype=np.float64)
    if bool(((m < 1 / classes) | (m > 1)).any()):
        raise ValueError(f"Expected largest probabilities from 1/{classes} to 1, got {m.min()} to {m.max()}.")
    found: Values = entr(m) + entr(1 - m) + (1 - m) * np.log(classes - 1)
    return found


def smallest_entropy(max_p: npt.ArrayLike) -> Values:
    """The smallest entropy of a distribution whose largest probability is m, in nats: as many classes as can have m have it.

    ``-k m log m - r log r`` with ``k = floor(1 / m)`` and the rest ``r = 1 - k m`` in one further class. Entropy falls when mass moves from
    a less probable class to a more probable one, and this distribution is where no more can move. Source: Feder & Merhav, Relations
    between Entropy and Error Probability, 1994.

    Args:
        max_p: m, in (0, 1], of any shape. C classes have room for it from 1 / C on.

    Returns:
        Of the shape of ``max_p``.

    Raises:
        ValueError: it is no largest probability.
    """
    m = np.asarray(max_p, dtype=np.float64)
    if bool(((m <= 0) | (m > 1)).any()):
        raise ValueError(f"Expected largest probabilities above 0 and up to 1, got {m.min()} to {m.max()}.")
    full = np.floor(1 / m)
    found: Values = full * entr(m) + entr(np.clip(1 - full * m, 0, None))
    return found
