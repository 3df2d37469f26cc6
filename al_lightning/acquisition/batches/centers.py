"""K-center: the batch after which no item is far from one that is labeled."""

import math

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import Batch, refuse_size
from al_lightning.acquisition.batches.distances import TILE, Rows, first_largest, leading, squared_distances

_CANDIDATES = 1024  # items that a next one is looked for among, between two passes over all
_TOGETHER = 256  # centers that one pass measures


def k_center(unlabeled: Tensor, labeled: Tensor, size: int) -> Tensor:
    """Greedy farthest first: each is the item farthest from all that is labeled or chosen; the radius is within twice the optimum.

    With nothing labeled, the very first is the item nearest the mean. Duplicates of what is labeled or chosen come last, by position.

    A distance only shrinks as centers are added, so the next centers are looked for among the 1,024 farthest items alone until one of the
    others could be farther; then one pass over the matrix measures all new centers at once. Time at most one pass a choice, and n m D for
    the labeled items; memory some 25 bytes an item and 15 MB. With more than 16 features, distances are from products in float32:
    below a thousandth of the norms (of what is left without the mean) they count as 0.

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


def scored_k_center(unlabeled: Tensor, labeled: Tensor, size: int) -> Batch:
    """See :func:`k_center`; the scores are distances to the nearest labeled or chosen item, the very first one's to the mean."""
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
        centers: from the same offset.
        taken: positions that are centers too.
    """

    def __init__(self, rows: Rows, centers: Rows, taken: Tensor | None = None) -> None:
        self.rows = rows
        self.squared = torch.full((len(rows),), torch.inf, device=rows.matrix.device)  # to the nearest center; -inf for one
        self.started = False
        for part, block in centers.blocks(at_most=_TOGETHER):
            self._measure(block, centers.norms[part])
        for part in () if taken is None or not len(taken) else taken.split(_TOGETHER):
            self._settle(part)

    def _measure(self, centers: Tensor, norms: Tensor) -> None:
        """One pass over all items."""
        self.started = True
        for part, block in self.rows.blocks(at_most=max(1, TILE // len(centers))):
            nearest = squared_distances(centers, norms, block, self.rows.norms[part]).amin(0)
            torch.minimum(self.squared[part], nearest, out=self.squared[part])

    def _settle(self, taken: Tensor) -> None:
        self._measure(self.rows[taken], self.rows.norms[taken])
        self.squared[taken] = -torch.inf

    def take(self, count: int) -> list[tuple[int, float]]:
        """The next items and their squared distances: at least one, at most so many, and no more than one pass can tell."""
        if not self.started:
            first = first_largest(-self.rows.norms)
            taken = [(first, float(self.rows.norms[first]))]
        else:
            taken = self._among_candidates(min(count, _TOGETHER))
        if len(taken) < count:
            self._settle(torch.tensor([position for position, _ in taken], device=self.squared.device))
        return taken

    def _among_candidates(self, count: int) -> list[tuple[int, float]]:
        positions = leading(self.squared, _CANDIDATES)
        rows, norms, squared = self.rows[positions], self.rows.norms[positions], self.squared[positions].clone()
        others = squared.min() if len(positions) < len(self.squared) else -torch.inf  # at most as far
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
