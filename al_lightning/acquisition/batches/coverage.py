"""Batches that cover the pool: every item should be near, or similar to, a labeled one."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import Batch, refuse_not_finite, refuse_other_length, refuse_size, refuse_unless
from al_lightning.acquisition.batches.centers import Farthest
from al_lightning.acquisition.batches.distances import TILE, Rows, squared_distances
from al_lightning.acquisition.batches.lazy import LazyGreedy
from al_lightning.acquisition.batches.precision import float32_products

_TILE = 2**20  # numbers of a kernel matrix held at once
_ROUNDING = 2.0**-18  # growth of an item's coverage that counts as rounding
_SAMPLED = 1000  # items from whose neighbours the radius is estimated

Kernel = Callable[[Tensor], Tensor]
"""Turns squared distances, in place, into similarities in [0, 1], which fall with distance."""


def prob_cover(unlabeled: Tensor, labeled: Tensor, size: int, delta: float | None = None) -> Tensor:
    """Greedy cover: each choice is the item with the most items within delta that no labeled or chosen item covers yet.

    When all items are covered, the rest of the batch are chosen farthest first (:func:`k_center`). Distances are as exact as there: with
    more than 16 features, those below a thousandth of the norms count as 0.

    Time: n (n + m) D once, then a few times n D per choice. Memory: a few numbers per item.

    Source: Yehuda et al., Active Learning Through a Covering Lens, NeurIPS 2022, algorithm 1.

    Args:
        unlabeled: ``(n, D)``.
        labeled: ``(m, D)``.
        size: how many to choose.
        delta: radius, >= 0; None is :func:`coverage_radius`.

    Returns:
        ``(size,)`` positions.

    Raises:
        NotFinite: NaN or infinity in a row.
        ValueError: delta is negative or NaN.
    """
    return scored_prob_cover(unlabeled, labeled, size, delta).indices


@float32_products()
def scored_prob_cover(unlabeled: Tensor, labeled: Tensor, size: int, delta: float | None = None) -> Batch:
    """See :func:`prob_cover`; the scores are the numbers of items newly covered."""
    radius = coverage_radius(unlabeled, labeled, size) if delta is None else delta
    refuse_unless(radius >= 0, "a delta of at least 0", radius)
    return _covering(unlabeled, labeled, size, lambda squared: squared.sqrt_().le_(radius), None)


def max_herding(unlabeled: Tensor, labeled: Tensor, size: int, sigma: float | None = None) -> Tensor:
    """Greedy maximum of the mean over items of ``max over labeled or chosen x' of exp(-|x - x'|^2 / sigma^2)``.

    When no item adds anything, the rest of the batch are chosen farthest first (:func:`k_center`). Distances are as exact as there: with
    more than 16 features, those below a thousandth of the norms count as 0. Time and memory: see :func:`prob_cover`.

    Source: Bae et al., Generalized Coverage for More Robust Low-Budget Active Learning, ECCV 2024.

    Args:
        unlabeled: ``(n, D)``.
        labeled: ``(m, D)``.
        size: how many to choose.
        sigma: width of the kernel, > 0; None is :func:`kernel_width`.

    Returns:
        ``(size,)`` positions.

    Raises:
        NotFinite: NaN or infinity in a row.
        ValueError: sigma is not above 0.
    """
    return scored_max_herding(unlabeled, labeled, size, sigma).indices


@float32_products()
def scored_max_herding(unlabeled: Tensor, labeled: Tensor, size: int, sigma: float | None = None) -> Batch:
    """See :func:`max_herding`; the score of an item is what it adds to the mean over the unlabeled items."""
    return _herding(unlabeled, labeled, size, kernel_width(unlabeled) if sigma is None else sigma, None)


def uncertainty_herding(unlabeled: Tensor, labeled: Tensor, size: int, uncertainties: Tensor, sigma: float | None = None) -> Tensor:
    """:func:`max_herding` with each item's similarity weighted by its uncertainty: UHerding.

    Source: Bae et al., Uncertainty Herding: One Active Learning Method for All Label Budgets, ICLR 2025; there, uncertainty is the margin
    score of probabilities at a calibrated temperature.

    Args:
        unlabeled: ``(n, D)``.
        labeled: ``(m, D)``.
        size: how many to choose.
        uncertainties: ``(n,)`` >= 0.
        sigma: width of the kernel, > 0; None is :func:`uncertainty_width`.

    Returns:
        ``(size,)`` positions.

    Raises:
        NotFinite: NaN or infinity in a row or an uncertainty.
        ValueError: a negative uncertainty, another number of them than of items, or a sigma that is not above 0.
    """
    return scored_uncertainty_herding(unlabeled, labeled, size, uncertainties, sigma).indices


@float32_products()
def scored_uncertainty_herding(unlabeled: Tensor, labeled: Tensor, size: int, uncertainties: Tensor, sigma: float | None = None) -> Batch:
    """See :func:`uncertainty_herding`; the score of an item is what it adds to the weighted mean."""
    refuse_other_length("an uncertainty", uncertainties, len(unlabeled))
    refuse_not_finite("unlabeled", uncertainties)
    uncertainties = uncertainties.detach()
    lowest = float(uncertainties.min()) if len(uncertainties) else 0.0
    refuse_unless(lowest >= 0, "uncertainties of at least 0", lowest)
    width = uncertainty_width(unlabeled, labeled) if sigma is None else sigma
    return _herding(unlabeled, labeled, size, width, uncertainties)


@float32_products()
def coverage_radius(unlabeled: Tensor, labeled: Tensor, size: int) -> float:
    """The radius within which a typical item has ``k = N / (m + size)`` of all N items.

    It is the median of the distance to the k-th nearest of all items (the item itself is the first), over 1,000 unlabeled items evenly
    spaced in their order. The paper takes the largest radius whose balls are 95 % pure, with clusters in place of classes, and so needs the
    number of classes; this radius shrinks as the budget grows.
    """
    if not len(unlabeled):
        return 0.0
    rows = Rows(unlabeled, "unlabeled")
    all_rows = [rows, Rows(labeled, "labeled", rows.offset)]
    share = max(1, round((len(unlabeled) + len(labeled)) / (len(labeled) + max(1, size))))
    sample = torch.linspace(0, len(rows) - 1, min(_SAMPLED, len(rows)), dtype=torch.float64).round().long().to(unlabeled.device)
    radii = []
    for some in sample.split(max(1, 8 * _TILE // (len(rows) + len(labeled)))):
        squared = [squared_distances(rows[some], rows.norms[some], block, of.norms[part]) for of in all_rows for part, block in of.blocks()]
        radii.append(torch.cat(squared, 1).kthvalue(share, 1).values)
    return float(torch.cat(radii).sqrt().median())


@float32_products()
def kernel_width(unlabeled: Tensor) -> float:
    """Root of the mean squared distance of the unlabeled items from their mean; 1 if that is 0, or without items.

    The paper takes 1 for features of length 1, which is the same if their mean is near 0. This width follows the scale of the features.
    """
    norms = Rows(unlabeled, "unlabeled").norms
    return float((norms.sum(dtype=torch.float64) / max(1, len(norms))).sqrt()) or 1.0


@float32_products()
def uncertainty_width(unlabeled: Tensor, labeled: Tensor) -> float:
    """The smallest distance above 0 of two labeled items, as in the paper, but at most :func:`kernel_width`.

    With fewer than two labeled items, it is :func:`kernel_width`.
    """
    width = kernel_width(unlabeled)
    rows = Rows(labeled, "labeled")
    smallest = width**2
    for part, block in rows.blocks(at_most=max(1, _TILE // max(1, len(rows)))):
        for other, others in rows.blocks():
            squared = squared_distances(block, rows.norms[part], others, rows.norms[other])
            smallest = float(squared[squared > 0].min().clamp_max(smallest)) if bool((squared > 0).any()) else smallest
    return math.sqrt(smallest)


def _herding(unlabeled: Tensor, labeled: Tensor, size: int, width: float, weights: Tensor | None) -> Batch:
    refuse_unless(width > 0, "a sigma above 0", width)
    # Width squared, or 1 / it, may be no number of float32. Widths that are none themselves make similarities 0 and 1 like the nearest.
    single = torch.finfo(torch.float32)
    scale = 1 / min(max(width, single.tiny), single.max)

    def gaussian(squared: Tensor) -> Tensor:
        return squared.mul_(scale).mul_(-scale).exp_()

    batch = _covering(unlabeled, labeled, size, gaussian, weights)
    return Batch(batch.indices, batch.scores / max(1, len(unlabeled)))


def _covering(unlabeled: Tensor, labeled: Tensor, size: int, kernel: Kernel, weights: Tensor | None) -> Batch:
    refuse_size(size, len(unlabeled))
    rows = Rows(unlabeled, "unlabeled")
    centers = Rows(labeled, "labeled", rows.offset)
    coverage = Coverage(rows, centers, kernel, weights)
    greedy = LazyGreedy(coverage.gains, len(rows), unlabeled.device)
    indices: list[int] = []
    scores: list[float] = []
    while len(indices) < size:
        item, gain = greedy.take()
        if gain == 0:
            break
        coverage.add(item)
        indices.append(item)
        scores.append(gain)
    if len(indices) < size:
        farthest = Farthest(rows, centers, torch.tensor(indices, dtype=torch.int64, device=unlabeled.device))
        while len(indices) < size:
            indices += [item for item, _ in farthest.take(size - len(indices))]
    return Batch.of(indices, scores + [0.0] * (size - len(scores)), unlabeled.device)


class Coverage:
    """How similar each item is to the nearest labeled or chosen one.

    Args:
        rows: the items to cover, and to choose from.
        centers: the labeled items, which cover others already.
        kernel: from squared distances to similarities.
        weights: ``(n,)`` of the items; None for equal weights.
    """

    def __init__(self, rows: Rows, centers: Rows, kernel: Kernel, weights: Tensor | None) -> None:
        self.rows = rows
        self.kernel = kernel
        self.weights = torch.ones_like(rows.norms) if weights is None else weights.float()
        self.grain = _ROUNDING * (float(self.weights.max()) if len(rows) else 0.0) or 1.0
        self.covered = torch.zeros_like(rows.norms)
        for part, block in centers.blocks(at_most=256):
            self._cover(block, centers.norms[part])

    def _cover(self, centers: Tensor, norms: Tensor) -> None:
        for part, block in self.rows.blocks(at_most=max(1, TILE // len(centers))):
            squared = squared_distances(centers, norms, block, self.rows.norms[part]).amin(0)
            torch.maximum(self.covered[part], self.kernel(squared), out=self.covered[part])

    def add(self, item: int) -> None:
        """Adds a chosen item to those that cover others."""
        which = slice(item, item + 1)
        self._cover(self.rows[which], self.rows.norms[which])

    def gains(self, items: Tensor) -> Tensor:
        """What items ``(b,)`` would add to the weighted sum of similarities, float64 ``(b,)``."""
        gained = torch.cat([self._gains(part) for part in items.split(512)])
        # Two items that are similar only to each other add the same. Rounding must not decide between them.
        return (gained / self.grain).round() * self.grain

    def _gains(self, items: Tensor) -> Tensor:
        candidates, norms = self.rows[items], self.rows.norms[items]
        gained = torch.zeros(len(items), dtype=torch.float64, device=items.device)
        for part, block in self.rows.blocks(at_most=max(1, _TILE // len(items))):
            similarity = self.kernel(squared_distances(candidates, norms, block, self.rows.norms[part]))
            growth = similarity.sub_(self.covered[part])
            # Rounding must not make a duplicate seem to add something.
            gained += torch.threshold_(growth, _ROUNDING, 0.0) @ self.weights[part]
        return gained
