"""Squared distances between rows, block by block in float32, whatever type the rows are kept in."""

from collections.abc import Iterator

import torch
from torch import Tensor

from al_lightning.acquisition.batches.batch import NotFinite

TILE = 2**19  # numbers held at once: what a core's cache holds
_FEW_FEATURES = 16  # up to here, differences are as fast as products, and exact
RESOLUTION = 2.0**-20  # of the squared norms: products in float32 can't tell a smaller squared distance from 0


class Rows:
    """Rows relative to an offset. It does not change distances, and the nearer it is to the rows, the more exact they are.

    Args:
        matrix: ``(n, D)`` of any floating type.
        which: what the matrix is called in an error.
        offset: float32 ``(D,)``; the rows' mean by default.

    Attributes:
        norms: squared norms of the rows minus the offset, float32 ``(n,)``.

    Raises:
        NotFinite: a row with NaN or infinity.
    """

    def __init__(self, matrix: Tensor, which: str, offset: Tensor | None = None) -> None:
        self.matrix = matrix.detach()
        self.offset = _mean(self.matrix) if offset is None else offset
        self.norms = torch.empty(len(matrix), dtype=torch.float32, device=matrix.device)
        for part, rows in self.blocks():
            self.norms[part] = rows.square().sum(1)
        finite = self.norms.isfinite()
        if not bool(finite.all()):
            raise NotFinite(which, self._first_not_finite(finite))

    def _first_not_finite(self, finite: Tensor) -> int:
        """The first row that is not finite itself: if the mean is not finite, no norm is."""
        for part in self._parts(_step(self.matrix)):
            wrong = ~self.matrix[part].isfinite().all(1)
            if bool(wrong.any()):
                return int(part.start) + int(wrong.nonzero()[0])
        return int((~finite).nonzero()[0])

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, which: Tensor | slice) -> Tensor:
        return self.matrix[which].float() - self.offset

    def _parts(self, step: int) -> Iterator[slice]:
        for start in range(0, len(self.matrix), step):
            yield slice(start, min(start + step, len(self.matrix)))

    def blocks(self, at_most: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Yields the place of each block, and its rows minus the offset, in float32. The next block overwrites the memory of the last."""
        step = min(_step(self.matrix), at_most or _step(self.matrix))
        shape = min(step, len(self.matrix)), self.matrix.shape[1]
        memory = torch.empty(shape, dtype=torch.float32, device=self.matrix.device)
        for part in self._parts(step):
            rows = memory[: part.stop - part.start]
            yield part, torch.sub(rows.copy_(self.matrix[part]), self.offset, out=rows)


def _step(matrix: Tensor) -> int:
    return max(1, TILE // max(1, matrix.shape[1]))


def _mean(matrix: Tensor) -> Tensor:
    sums = torch.zeros(matrix.shape[1], dtype=torch.float64, device=matrix.device)
    for part in matrix.split(_step(matrix)):
        sums += part.float().sum(0, dtype=torch.float64)
    return (sums / max(1, len(matrix))).float()


def squared_distances(a: Tensor, a_norms: Tensor, b: Tensor, b_norms: Tensor) -> Tensor:
    """Squared distances ``(A, B)`` of rows ``(A, D)`` and ``(B, D)``, float32, from their squared norms ``(A,)`` and ``(B,)``.

    They are computed from products, unless there are few features. What products can't tell from 0 becomes 0, so that a duplicate has
    distance 0.
    """
    if a.shape[1] <= _FEW_FEATURES:
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square_()
    shrunk = 1 - RESOLUTION
    products = torch.addmm((b_norms * shrunk).unsqueeze(0), a, b.T, alpha=-2)
    return products.add_((a_norms * shrunk).unsqueeze(1)).clamp_min_(0)


def leading(values: Tensor, count: int) -> Tensor:
    """Positions ``(min(count, n),)`` of the largest values ``(n,)``, in rising order; of those that tie for the last place, the first."""
    if not 0 < count < len(values):
        return torch.arange(min(count, len(values)), device=values.device)
    last = values.topk(count, sorted=False).values.min()
    chosen = values > last
    tied = (values == last).nonzero().flatten()[: count - int(chosen.sum())]
    chosen[tied] = True
    return chosen.nonzero().flatten()


def first_largest(values: Tensor) -> int:
    """The first position of the largest value."""
    return int((values == values.max()).nonzero()[0])
