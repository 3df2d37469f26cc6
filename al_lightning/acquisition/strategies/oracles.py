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


class _OracleStrategy(Strategy):
    """Knows the labels: no strategy for real annotation, but a bound for those that are."""

    inference = PlainPass()
    measure = partial(functional.OnePass, functional.predicted)
    reads_labels = True

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.prepare`."""
        self._oracle_labels = oracle_labels

    def _targets(self, indices: Tensor) -> Tensor:
        return self._oracle_labels(indices.cpu()).to(indices.device)


class MostIncorrect(_OracleStrategy):
    """An oracle for classification: the wrongly predicted first, in random order, then the rest in random order."""

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        if values is None or values.ndim != 1:
            raise UserError("Expected a classification for MostIncorrect. For segmentation use LowestMiou.")
        return (values != self._targets(indices)).double() + uniform(seed, indices)


class LowestMiou(_OracleStrategy):
    """An oracle for segmentation: the images whose prediction is worst first. Its score is 1 - the image's mean IoU."""

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        if values is None or values.ndim != 3:
            raise UserError("Expected a segmentation for LowestMiou. For classification use MostIncorrect.")
        return 1 - functional.image_miou(values, self._targets(indices))


class ClassAwareRandom(Strategy):
    """At random, but a share of the query by classes: a class at random, then an item at random that holds it. It reads labels to do so.

    What rare classes are worth: a strategy that reads none has to beat this one, not :class:`Random`. Classes are those of the items that
    can be queried; all labels of the pool are read once.

    Source: the random baselines that are aware of the foreground of Lüth et al., nnActive: A Framework for Evaluation of Active Learning
    in 3D Biomedical Segmentation, 2025.

    Args:
        share: of the query that is drawn by classes.
    """

    scores_items = False
    ranks = False
    reads_labels = True

    @checked
    def __init__(self, share: ClosedUnitInterval = 0.66) -> None:
        self.share = share
        self._held: dict[int, list[int]] = {}

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.prepare`."""
        self._oracle_labels = oracle_labels

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor:
        """See :meth:`Strategy.select`."""
        order = scored.unlabeled.indices
        for part in order[[index not in self._held for index in order.tolist()]].split(64):
            for index, target in zip(part.tolist(), self._oracle_labels(part), strict=True):
                self._held[index] = target[(target >= 0) & (target < 255)].unique().tolist()
        waiting: dict[int, list[int]] = {}
        for index in reversed(order.tolist()):  # which is at random already; the last of a list is its first
            for label in self._held[index]:
                waiting.setdefault(label, []).append(index)
        chosen: dict[int, None] = {}
        while len(chosen) < int(self.share * size) and waiting:
            label = sorted(waiting)[int(torch.randint(len(waiting), (), generator=generator))]
            its = waiting[label]
            while its and its[-1] in chosen:
                its.pop()
            if its:
                chosen[its.pop()] = None
            if not its:
                del waiting[label]
        rest = (index for index in order.tolist() if index not in chosen)
        return torch.tensor([*chosen, *rest][:size], dtype=torch.int64)
