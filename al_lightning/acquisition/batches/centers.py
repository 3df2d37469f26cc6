"""K-center: the batch after which no item is far from one that is labeled."""

import math

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import Batch, refuse_size
from al_lightning.acquisition.batches.distances import TILE, Rows, first_largest, leading, squared_distances
from al_lightning.acquisition.batches.precision import float32_products

_CANDIDATES = 1024  # between two passes over all items, the next centers are searched among so many
_TOGETHER = 256  # new centers whose distances one pass computes


def k_center(unlabeled: Tensor, labeled: Tensor, size: int) -> Tensor:
    """Greedy farthest first: each choice is the item farthest from all labeled and chosen ones; the radius is at most twice the optimum.

    If nothing is labeled, the first choice is the item nearest the mean. Duplicates of labeled or chosen items come last, by position.

    A distance only shrinks as centers are added. So the next centers are searched among the 1,024 farthest items, until one of the others
    could be farther; then one pass over the matrix computes the distances to all new centers at once. Time: at most one pass per choice,
    and n m D for the labeled items. Memory: about 25 bytes per item, and 15 MB. With more than 16 features, distances are computed from
    products in float32: those below a thousandth of the norms (of the rows minus their mean) count as 0.

    Source: Gonzalez, Clustering to minimize the maximum intercluster distance, 1985; Sener & Savarese, Active Learning for Convolutional
    Neural Networks: A Core-Set Approach, ICLR 2018, algorithm 1.

    Args:
        unlabeled: ``(n, D)``.
        labeled: ``(m, D)``.
        size: how many to choose.

    Returns:
        ``(size,)`` positions.

    Raises:
        NotFinite: NaN or infinity in a row.
    """
    return scored_k_center(unlabeled, labeled, size).indices


@float32_products()
def scored_k_center(unlabeled: Tensor, labeled: Tensor, size: int) -> Batch:
    """See :func:`k_center`; the scores are distances to the nearest labeled or chosen item; to the mean, if there is none."""
    refuse_size(size, len(unlabeled))
    rows = Rows(unlabeled, "unlabeled")
    farthest = Farthest(rows, Rows(labeled, "labeled", rows.offset))
    indices: list[int] = []
    squared: list[float] = []
    while len(indices) < size:
        for index, distance in farthest.take(size - len(indices)):
            indices.append(index)
            squared.append(distance)
    return Batch.of(indices, [math.sqrt(square) for square in squared], unlabeled.device)


class Farthest:
    """Takes the items farthest from all centers.

    Args:
        rows: the items.
        centers: relative to the same offset.
        taken: positions of items that are centers, too.
    """

    def __init__(self, rows: Rows, centers: Rows, taken: Tensor | None = None) -> None:
        self.rows = rows
        self.squared = torch.full_like(rows.norms, torch.inf)  # to the nearest center; -inf for one
        self.started = False
        for part, block in centers.blocks(at_most=_TOGETHER):
            self._measure(block, centers.norms[part])
        for part in () if taken is None or not len(taken) else taken.split(_TOGETHER):
            self._add_centers(part)

    def _measure(self, centers: Tensor, norms: Tensor) -> None:
        """Updates the distances to the nearest center, in one pass over all items."""
        self.started = True
        for part, block in self.rows.blocks(at_most=max(1, TILE // len(centers))):
            nearest = squared_distances(centers, norms, block, self.rows.norms[part]).amin(0)
            torch.minimum(self.squared[part], nearest, out=self.squared[part])

    def _add_centers(self, taken: Tensor) -> None:
        self._measure(self.rows[taken], self.rows.norms[taken])
        self.squared[taken] = -torch.inf

    def take(self, count: int) -> list[tuple[int, float]]:
        """The next items and their squared distances: at least one, at most ``count``, as many as are certain before the next pass."""
        if not self.started:
            first = first_largest(-self.rows.norms)
            taken = [(first, float(self.rows.norms[first]))]
        else:
            taken = self._among_candidates(min(count, _TOGETHER))
        if len(taken) < count:
            self._add_centers(torch.tensor([position for position, _ in taken], device=self.squared.device))
        return taken

    def _among_candidates(self, count: int) -> list[tuple[int, float]]:
        positions = leading(self.squared, _CANDIDATES)
        rows, norms, squared = self.rows[positions], self.rows.norms[positions], self.squared[positions].clone()
        others = squared.min() if len(positions) < len(self.squared) else -torch.inf  # no other item is farther
        taken: list[tuple[int, float]] = []
        while len(taken) < count:
            best = first_largest(squared)
            if taken and not squared[best] > others:
                break
            taken.append((int(positions[best]), float(squared[best])))
            nearest = squared_distances(rows[best : best + 1], norms[best : best + 1], rows, norms)[0]
            torch.minimum(squared, nearest, out=squared)
            squared[best] = -torch.inf
        return taken
