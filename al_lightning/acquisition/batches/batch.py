"""What all functions that choose a batch share: their result, and the checks of their arguments."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Chosen positions ``(size,)`` in the order of choice, and the score of each at the time it was chosen, float64 ``(size,)``."""

    indices: Tensor
    scores: Tensor

    @classmethod
    def of(cls, indices: list[int], scores: list[float], device: torch.device) -> "Batch":
        """A batch from lists, as tensors on a device."""
        return cls(torch.tensor(indices, dtype=torch.int64, device=device), torch.tensor(scores, dtype=torch.float64, device=device))


class NotFinite(ValueError):
    """A representation with NaN or infinity in it (or with values whose squares overflow float32).

    Attributes:
        which: the argument that it is in, for example "unlabeled".
        position: of the first such item.
    """

    def __init__(self, which: str, position: int) -> None:
        super().__init__(f"Expected finite numbers, got others in item {position} of the {which} ones.")
        self.which = which
        self.position = position


def refuse_not_finite(which: str, of_items: Tensor) -> None:
    """Raises :class:`NotFinite` for the first item ``(n,)`` or ``(n, *)`` that is not finite."""
    if bool(of_items.sum().isfinite()):  # so is each number
        return
    wrong = ~of_items.flatten(1).isfinite().all(1) if of_items.ndim > 1 else ~of_items.isfinite()
    if bool(wrong.any()):
        raise NotFinite(which, int(wrong.nonzero()[0]))


def refuse_size(size: int, n: int) -> None:
    """Raises ValueError for a batch that is larger than the n items there are."""
    refuse_unless(0 <= size <= n, f"a size from 0 to the {n} items there are", size)


def refuse_unless(holds: bool, what: str, got: float) -> None:
    """Raises ValueError with what was expected and what came; conditions are written so that NaN does not meet them."""
    if not holds:
        raise ValueError(f"Expected {what}, got {got}.")


def refuse_other_length(what: str, of_items: Tensor, n: int) -> None:
    """Raises ValueError unless there is one of something for each of n items."""
    refuse_unless(len(of_items) == n, f"{what} of each of {n} items", len(of_items))


def drawn(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Positions ``(count,)`` on the CPU, drawn independently in proportion to weights ``(n,)`` >= 0, at least one of them positive.

    The cumulative sum is inverted in float64 on the CPU. Unlike ``torch.multinomial``, this works for any n, and draws the same on every
    device.
    """
    sums = weights.double().cpu().cumsum(0)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    # A draw may round up to the whole sum. Then it means the last position with a positive weight.
    last = torch.searchsorted(sums, sums[-1:])
    return torch.searchsorted(sums, uniform * sums[-1], right=True).minimum(last)
