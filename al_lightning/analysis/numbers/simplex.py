"""Distributions over C classes as points of the probability simplex, and bounds between uncertainty measures.

Axes: N distributions, C classes.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import entr, softmax

from al_lightning.analysis.numbers.curves import Values

_LARGEST_SCALE = 10.0


def simplex_grid(steps: int) -> Values:
    """Makes a regular grid over the simplex of 3 classes, including its edges and corners.

    Args:
        steps: intervals along an edge. If it is a multiple of 3, the uniform distribution is one of the points.

    Returns:
        ``(N, 3)`` with N = (steps + 1) (steps + 2) / 2.
    """
    first, second = (axis.ravel() for axis in np.mgrid[: steps + 1, : steps + 1])
    inside = first + second <= steps
    counts_N3 = np.stack([first, second, steps - first - second], axis=1)[inside]
    points: Values = counts_N3 / steps
    return points


def barycentric(distributions: npt.ArrayLike) -> Values:
    """Maps distributions to points in the plane: the corners of a triangle with edges of length 1, weighted by the probabilities.

    Args:
        distributions: ``(N, 3)``.

    Returns:
        ``(N, 2)``: the first class is the lower left corner, the second the lower right corner, the third the top corner.
    """
    places: Values = np.asarray(distributions) @ np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    return places


def random_distributions(count: int, classes: int, seed: int) -> Values:
    """Draws random distributions that cover the whole range of entropies. High entropies are more frequent.

    Each distribution is the softmax of ``s z``: z has C independent standard normal logits, and the scale is ``s = 10 u ** 2`` with u
    uniform in [0, 1]. Small scales are the most frequent; they give distributions that are nearly uniform over the classes.

    Args:
        count: N.
        classes: C.
        seed: seed of the random numbers.

    Returns:
        ``(N, C)``.
    """
    generator = np.random.default_rng(seed)
    scales_N1 = _LARGEST_SCALE * generator.random((count, 1)) ** 2
    drawn: Values = softmax(scales_N1 * generator.standard_normal((count, classes)), axis=1)
    return drawn


def cumulative_average(values: npt.ArrayLike, order_by: npt.ArrayLike) -> Values:
    """The normalised cumulative average of values, which are sorted by ``order_by`` first.

    The n-th cumulative average is the mean of the first n values. It is scaled linearly, so that the first is 0 and the last is 1.

    Args:
        values: ``(N,)``; the first sorted value must differ from the mean of all.
        order_by: ``(N,)`` what the values are sorted by, rising.

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
    """The largest entropy, in nats, of a distribution whose largest probability is m: all other classes have equal probabilities.

    ``-m log m - (1 - m) log((1 - m) / (C - 1))``. Source: Fano's inequality (Cover & Thomas, Elements of Information Theory, 2.10).

    Args:
        max_p: m, in [1 / C, 1], of any shape.
        classes: C, at least 2.

    Returns:
        The entropies, in the shape of ``max_p``.

    Raises:
        ValueError: a value of ``max_p`` is outside of [1 / C, 1].
    """
    m = np.asarray(max_p, dtype=np.float64)
    if bool(((m < 1 / classes) | (m > 1)).any()):
        raise ValueError(f"Expected largest probabilities from 1/{classes} to 1, got {m.min()} to {m.max()}.")
    found: Values = entr(m) + entr(1 - m) + (1 - m) * np.log(classes - 1)
    return found


def smallest_entropy(max_p: npt.ArrayLike) -> Values:
    """The smallest entropy, in nats, of a distribution whose largest probability is m: as many classes as possible have probability m.

    ``-k m log m - r log r`` with ``k = floor(1 / m)`` classes of probability m, and one more class with the rest ``r = 1 - k m``. Entropy
    falls when probability moves from a less probable class to a more probable one; in this distribution no more can move. Source: Feder &
    Merhav, Relations between Entropy and Error Probability, 1994.

    Args:
        max_p: m, in (0, 1], of any shape. With C classes, m is at least 1 / C.

    Returns:
        The entropies, in the shape of ``max_p``.

    Raises:
        ValueError: a value of ``max_p`` is outside of (0, 1].
    """
    m = np.asarray(max_p, dtype=np.float64)
    if bool(((m <= 0) | (m > 1)).any()):
        raise ValueError(f"Expected largest probabilities above 0 and up to 1, got {m.min()} to {m.max()}.")
    full = np.floor(1 / m)
    found: Values = full * entr(m) + entr(np.clip(1 - full * m, 0, None))
    return found
