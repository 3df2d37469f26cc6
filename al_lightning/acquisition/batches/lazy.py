"""Greedy choice, where what an item adds can only shrink while others are chosen."""

from collections.abc import Callable

import torch
from torch import Tensor

from al_lightning.acquisition.batches.distances import first_largest, leading

_FEWEST, _MOST = 16, 4096  # items computed at once


class LazyGreedy:
    """Takes the item that adds most, again and again; of equal ones, the first.

    What an item adds to a submodular objective never grows, so what it added earlier bounds what it adds now: only the items whose bound
    could still win are computed again. Source: Minoux, Accelerated greedy algorithms for maximizing submodular set functions, 1978.

    Args:
        gains: from positions ``(b,)`` to what these items add now, ``(b,)``, at least 0.
        n: how many items there are.
        device: of the positions.
    """

    def __init__(self, gains: Callable[[Tensor], Tensor], n: int, device: torch.device) -> None:
        self.gains = gains
        everything = torch.arange(n, device=device)
        self.bounds = gains(everything).double() if n else everything.double()

    def take(self) -> tuple[int, float]:
        """The next item's position, and what it adds. At least one item must be left."""
        unsure, count = self.bounds.clone(), _FEWEST
        sure = torch.full_like(unsure, -torch.inf)
        while True:
            part = leading(unsure, count)
            part = part[unsure[part] > -torch.inf]
            sure[part] = self.bounds[part] = self.gains(part).double()
            unsure[part] = -torch.inf
            best, rival = first_largest(sure), first_largest(unsure)
            if (-float(sure[best]), best) < (-float(unsure[rival]), rival) or unsure[rival] == -torch.inf:
                break
            count = min(2 * count, _MOST)
        self.bounds[best] = -torch.inf
        return best, float(sure[best])
