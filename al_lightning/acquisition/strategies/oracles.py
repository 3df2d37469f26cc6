"""Strategies that look at labels which nobody has given yet: bounds and baselines of simulations."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from al_lightning.acquisition import functional
from al_lightning.acquisition.hashing import uniform
from al_lightning.acquisition.inference import PlainPass
from al_lightning.acquisition.strategies.base import Scored, Strategy
from al_lightning.errors import UserError
from al_lightning.numbers import ClosedUnitInterval, checked


class _Oracle(Strategy):
    """Knows the labels: no strategy for real annotation, but a bound for those that are."""

    prediction = PlainPass()
    measure = partial(functional.OnePass, functional.predicted)
    reads_labels = True

    def meet(self, size: int, item: Callable[[int], str], peek: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.meet`."""
        self._peek = peek

    def _targets(self, indices: Tensor) -> Tensor:
        return self._peek(indices.cpu()).to(indices.device)


class MostIncorrect(_Oracle):
    """An oracle for classification: the wrongly predicted first, in random order, then the rest in random order."""

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        if measured is None or measured.ndim != 1:
            raise UserError("Expected a classification for MostIncorrect. For segmentation use LowestMiou.")
        return (measured != self._targets(indices)).double() + uniform(seed, indices)


class LowestMiou(_Oracle):
    """An oracle for segmentation: the images whose prediction is worst first. Its score is 1 - the image's mean IoU."""

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        if measured is None or measured.ndim != 3:
            raise UserError("Expected a segmentation for LowestMiou. For classification use MostIncorrect.")
        return 1 - functional.image_miou(measured, self._targets(indices))
