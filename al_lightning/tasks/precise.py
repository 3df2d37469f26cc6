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
        self.add_state("items", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor | float = 1) -> None:
        """Adds losses, each with the number of items that it is the mean of."""
        weights = torch.as_tensor(weight, device=value.device).expand_as(value)
        self.total += (value.to(self.total.dtype) * weights).sum()
        self.items += weights.sum()

    def compute(self) -> Tensor:
        """The mean over all items."""
        return self.total / self.items

    def _apply(self, fn: Callable[..., Any], exclude_state: Any = "") -> nn.Module:
        moved = super()._apply(fn, exclude_state)
        for name, default in self._defaults.items():
            assert isinstance(default, Tensor)
            self._defaults[name] = at_least_single(default)
            setattr(self, name, at_least_single(getattr(self, name)))
        return moved


def as_for(loss: nn.Module, logits: Tensor) -> Tensor:
    """Logits in float64 for a loss that has numbers of that type, else in float32, in which losses are written."""
    return logits.to(torch.float64 if any(number.dtype == torch.float64 for number in _floats(loss)) else torch.float32)


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
