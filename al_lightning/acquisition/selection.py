"""From ranking keys to the query."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

_Number = TypeVar("_Number", int, float)


def choose(keys: Tensor, indices: Tensor, priority: Tensor, size: int, stride: int = 1) -> Tensor:
    """The query: :func:`take` of :func:`rank`, but only items that can be taken are sorted.

    The arguments are those of the two.

    Returns:
        ``(min(size, n),)`` indices in query order.
    """
    first = size * stride
    if 0 < first < len(keys):
        leading = keys >= keys.topk(first, sorted=False).values.min()  # with all that tie with the last one
        keys, indices = keys[leading], indices[leading]
    return take(rank(keys, indices, priority), size, stride)


def rank(keys: Tensor, indices: Tensor, priority: Tensor) -> Tensor:
    """Pool indices by falling key; equal keys by rising priority.

    Args:
        keys: ``(n,)`` finite ranking values, higher first.
        indices: ``(n,)`` dataset indices that the keys belong to.
        priority: ``(N,)`` a permutation over the whole dataset, so that a tie is broken in the same way whatever else is in the pool.

    Returns:
        ``(n,)`` the indices in query order.
    """
    by_priority = priority[indices].argsort()
    order = keys[by_priority].argsort(descending=True, stable=True)
    return indices[by_priority[order]]


def take(ranking: Tensor, size: int, stride: int = 1) -> Tensor:
    """Takes every ``stride``-th entry; at the end of the ranking it begins again at the top of what is left.

    Args:
        ranking: ``(n,)``.
        size: how many to take; a shorter ranking is taken whole.
        stride: 1 is top k; d takes the d-th, 2d-th, ... entry. If fewer than d are left, these are taken in order.

    Raises:
        ValueError: the stride is below 1.

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
    """How many items of a query to draw at random, so that the share holds for all queries together.

    Args:
        share: of all queried items that is drawn at random, in [0, 1].
        before: number of items in earlier queries.
        size: number of items in this query.

    Example:
        >>> [picks_at_random(0.1, before, 4) for before in (0, 4, 8, 12, 16)]
        [0, 1, 0, 1, 0]
    """
    return math.floor(share * (before + size) + 0.5) - math.floor(share * before + 0.5)


def mixed(ranked: Tensor, drawn: Tensor, generator: torch.Generator) -> Tensor:
    """Ranked items in their order, with drawn items at random places among them: a place does not tell which kind an item is of.

    Args:
        ranked: ``(n,)``.
        drawn: ``(m,)``.
        generator: of the places of drawn items.

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
    """The value of a cycle; the last value is also that of all later cycles."""
    return values[min(cycle, len(values) - 1)]


def tied_share(keys: Tensor) -> float:
    """Share of the keys that equal another key. Where it is large, the tie-break decides the ranking, not the strategy."""
    if len(keys) == 0:
        return 0.0
    rising = np.sort(keys.numpy(force=True))  # ten times as fast as torch's
    same = np.concatenate([[False], rising[1:] == rising[:-1], [False]])
    return float((same[1:] | same[:-1]).mean())
