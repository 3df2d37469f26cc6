"""Losses keep their precision in a model of 16-bit floats."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class MeanLoss(Metric):
    """The mean of a loss over items, NaN if a batch's is. Its sum is in float32 at least, whatever ``precision`` makes of the model."""

    total: Tensor
    items: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("items", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, items: int) -> None:
        """Adds a batch: the mean of its items' losses, and their number."""
        self.total += loss.to(self.total.dtype) * items
        self.items += items

    def compute(self) -> Tensor:
        """The mean over all items."""
        return self.total / self.items

    def _apply(self, fn: Callable[..., Any], exclude_state: Any = "") -> nn.Module:
        moved = super()._apply(fn, exclude_state)
        default = self._defaults["total"]
        assert isinstance(default, Tensor)
        self.total, self._defaults["total"] = at_least_single(self.total), at_least_single(default)
        return moved


def at_least_single(numbers: Tensor) -> Tensor:
    """Floats in float32 if they are in fewer bits."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


@contextmanager
def keeping_precision(module: nn.Module) -> Iterator[None]:
    """Within the block a module may be moved, and cast to fewer bits than float32: afterwards it has the numbers that it had."""
    before = [tensor.detach() for tensor in _floats(module)]
    yield
    for tensor, number in zip(_floats(module), before, strict=True):
        if tensor.dtype.itemsize < min(torch.float32.itemsize, number.dtype.itemsize):
            tensor.data = at_least_single(number).to(tensor.device)


def _floats(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
