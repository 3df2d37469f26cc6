"""Scores to the query batch."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

_Number = TypeVar("_Number", int, float)


def choose(keys: Tensor, indices: Tensor, priority: Tensor, size: int, stride: int = 1) -> Tensor:
    """The query batch: :func:`take` of :func:`rank`, without sorting what can't be taken.

    Arguments as of these.

    Returns:
        ``(min(size, n),)`` indices in query order.
    """
    first = size * stride
    if 0 < first < len(keys):
        leading = keys >= keys.topk(first, sorted=False).values.min()  # with all ties of the last one
        keys, indices = keys[leading], indices[leading]
    return take(rank(keys, indices, priority), size, stride)


def rank(keys: Tensor, indices: Tensor, priority: Tensor) -> Tensor:
    """Pool indices by falling key; equal keys by rising priority.

    Args:
        keys: ``(n,)`` finite ranking values, higher first.
        indices: ``(n,)`` dataset indices that the keys belong to.
        priority: ``(N,)`` a permutation over the whole dataset, so that a tie falls the same way whatever else is in the pool.

    Returns:
        ``(n,)`` the indices in query order.
    """
    by_priority = priority[indices].argsort()
    order = keys[by_priority].argsort(descending=True, stable=True)
    return indices[by_priority[order]]


def take(ranking: Tensor, size: int, stride: int = 1) -> Tensor:
    """The first ``size`` of every ``stride``-th entry; at the end it starts again at the top of what is left.

    Args:
        ranking: ``(n,)``.
        size: how many to take; all of a shorter ranking.
        stride: 1 is top k; d takes the d-th, 2d-th, ... entry. Where fewer than d are left, those that are left are taken in order.

    Example:
        >>> take(torch.arange(1, 8), size=4, stride=3).tolist()
        [3, 6, 4, 5]
    """
    if stride < 1:
        raise ValueError(f"Expected a stride of at least 1, got {stride}.")
    taken: list[Tensor] = []
    missing = min(size, len(ranking))
    while missing > 0:
        step = stride if len(ranking) >= stride else 1
        chosen = ranking[step - 1 :: step][:missing]
        taken.append(chosen)
        missing -= len(chosen)
        ranking = ranking[~torch.isin(ranking, chosen)]
    return torch.cat(taken) if taken else ranking[:0]


def picks_at_random(share: float, before: int, size: int) -> int:
    """How many items of a query are drawn at random, so that of all queries together the share is.

    Args:
        share: of all items that are queried, in [0, 1].
        before: items of earlier queries.
        size: of this one.

    Example:
        >>> [picks_at_random(0.1, before, 4) for before in (0, 4, 8, 12, 16)]
        [0, 1, 0, 1, 0]
    """
    return math.floor(share * (before + size) + 0.5) - math.floor(share * before + 0.5)


def mixed(ranked: Tensor, drawn: Tensor, generator: torch.Generator) -> Tensor:
    """Items in their order, and others among them at places that tell nothing.

    Args:
        ranked: ``(n,)``.
        drawn: ``(m,)``.
        generator: of the places.

    Returns:
        ``(n + m,)``.
    """
    places = torch.randperm(len(ranked) + len(drawn), generator=generator)[: len(drawn)]
    found = torch.empty(len(ranked) + len(drawn), dtype=torch.int64)
    is_drawn = torch.zeros(len(found), dtype=torch.bool)
    is_drawn[places] = True
    found[places], found[~is_drawn] = drawn, ranked
    return found


def of_cycle(values: Sequence[_Number], cycle: int) -> _Number:
    """A cycle's own value; the last one goes on."""
    return values[min(cycle, len(values) - 1)]


def tied_share(keys: Tensor) -> float:
    """Share of the keys that another key equals: where it is large, the ranking is the tie-break's, not the strategy's."""
    if len(keys) == 0:
        return 0.0
    rising = np.sort(keys.numpy(force=True))  # ten times as fast as torch's
    same = np.concatenate([[False], rising[1:] == rising[:-1], [False]])
    return float((same[1:] | same[:-1]).mean())
