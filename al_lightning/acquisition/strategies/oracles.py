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
    """A strategy that knows the labels: not for real annotation, but a bound for strategies that are."""

    inference = PlainPass()
    measure = partial(functional.OnePass, functional.predicted)
    reads_labels = True

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.prepare`."""
        self._oracle_labels = oracle_labels

    def readable(self, values: Tensor) -> Tensor | None:
        """See :meth:`Strategy.readable`; what is measured is a class."""
        return None

    def _targets(self, indices: Tensor) -> Tensor:
        return self._oracle_labels(indices.cpu()).to(indices.device)


class MostIncorrect(_OracleStrategy):
    """An oracle for classification: wrongly predicted items first, in random order, then the rest in random order."""

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        if values is None or values.ndim != 1:
            raise UserError("Expected a classification for MostIncorrect. For segmentation use LowestMiou.")
        return (values != self._targets(indices)).double() + uniform(seed, indices)


class LowestMiou(_OracleStrategy):
    """An oracle for segmentation: images with the worst predictions first. The score is 1 - the image's mean IoU."""

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.ranking_keys`."""
        if values is None or values.ndim != 3:
            raise UserError("Expected a segmentation for LowestMiou. For classification use MostIncorrect.")
        return 1 - functional.image_miou(values, self._targets(indices))


class ClassAwareRandom(Strategy):
    """At random, but for a share of the query, draws a class first and then an item that contains it. It reads labels to do so.

    It shows what it is worth to find rare classes: a strategy that reads no labels has to beat this baseline, not only :class:`Random`. A
    class is drawn from those of the unlabeled items. Each label of the pool is read once.

    Source: the foreground-aware random baselines of Lüth et al., nnActive: A Framework for Evaluation of Active Learning in 3D Biomedical
    Segmentation, 2025.

    Args:
        share: of the query that is drawn by classes, in [0, 1]; rounded down to whole items.
    """

    scores_items = False
    ranks = False
    reads_labels = True

    @checked
    def __init__(self, share: ClosedUnitInterval = 0.66) -> None:
        self.share = share

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.prepare`."""
        self._oracle_labels = oracle_labels
        self._held: dict[int, list[int]] = {}  # the classes in each item whose label was read

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor:
        """See :meth:`Strategy.select`."""
        order = scored.unlabeled.indices
        for index in order.tolist():
            if index not in self._held:
                self._held[index] = _classes_in(self._oracle_labels(torch.tensor([index]))[0])  # one by one: scenes differ in size
        by_class: dict[int, list[int]] = {}
        for index in reversed(order.tolist()):  # the order is random already; reversed, as items are taken from the ends of lists
            for label in self._held[index]:
                by_class.setdefault(label, []).append(index)
        chosen: dict[int, None] = {}
        while len(chosen) < int(self.share * size + 1e-9) and by_class:  # 0.29 of 100 is 28.999999999999996 in floats
            label = sorted(by_class)[int(torch.randint(len(by_class), (), generator=generator))]
            its = by_class[label]
            while its and its[-1] in chosen:
                its.pop()
            if its:
                chosen[its.pop()] = None
            if not its:
                del by_class[label]
        rest = (index for index in order.tolist() if index not in chosen)
        return torch.tensor([*chosen, *rest][:size], dtype=torch.int64)


def _classes_in(target: Tensor) -> list[int]:
    """The classes in a label: of an item ``()``, or of a scene ``(H, W)``, whose ignored pixels have none."""
    counted = target[(target >= 0) & (target < 255)] if target.ndim else target
    return counted.unique().tolist()  # type: ignore[no-any-return]
