"""Strategies that are another one, changed in something."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from al_lightning.acquisition.aggregation import Aggregation
from al_lightning.acquisition.inference import ByExpert
from al_lightning.acquisition.representations import Represented
from al_lightning.acquisition.strategies.base import Choice, Scored, Strategy, refuse_together
from al_lightning.errors import UserError


class Wrapped(Strategy):
    """Another strategy, changed in something."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.prediction = strategy.prediction
        self.measure = strategy.measure
        self.represented = strategy.represented
        self.scores_items = strategy.scores_items
        self.ranks = strategy.ranks
        self.sees_labeled = strategy.sees_labeled
        self.reads_labels = strategy.reads_labels

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        return self.strategy.keys(measured, indices, seed)

    def readable(self, measured: Tensor) -> Tensor:
        """See :meth:`Strategy.readable`."""
        return self.strategy.readable(measured)

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return self.strategy.score(keys)

    def meet(self, size: int, item: Callable[[int], str], peek: Callable[[Tensor], Tensor]) -> None:
        """See :meth:`Strategy.meet`."""
        self.strategy.meet(size, item, peek)

    def aggregated_by(self, aggregation: Aggregation) -> Strategy:
        """See :meth:`Strategy.aggregated_by`."""
        other = copy.copy(self)
        other.strategy = self.strategy.aggregated_by(aggregation)
        return other


class Expert(Wrapped):
    """Another strategy with the scores of a given model instead of the current one, for example of one trained on the whole pool.

    Args:
        checkpoint: of a cycle (``cycles/NNN/last.ckpt``) of a run with the same network.
        strategy: what is made of the expert's predictions, or features.
    """

    def __init__(self, checkpoint: str, strategy: Strategy) -> None:
        super().__init__(strategy)
        if not strategy.predictions:
            raise UserError(f"Expected a strategy that looks at predictions for an expert to make, got {strategy}.")
        self.checkpoint = checkpoint
        if strategy.prediction is not None:
            self.prediction = ByExpert(checkpoint, strategy.prediction)
        if strategy.represented is not None:
            self.represented = Represented(ByExpert(checkpoint, strategy.represented.prediction), strategy.represented.kind)

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor | Choice:
        """See :meth:`Strategy.select`; as the other strategy chooses, by what the expert makes of the items."""
        return self.strategy.select(scored, size, generator)


class Inverse(Wrapped):
    """Another strategy, lowest first.

    Args:
        strategy: the one to turn round, which ranks.
    """

    def __init__(self, strategy: Strategy) -> None:
        refuse_together(strategy, "Inverse")
        super().__init__(strategy)

    def keys(self, measured: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """See :meth:`Strategy.keys`."""
        return -self.strategy.keys(measured, indices, seed)

    def readable(self, measured: Tensor) -> Tensor:
        """See :meth:`Strategy.readable`."""
        return -self.strategy.readable(measured)

    def score(self, keys: Tensor) -> Tensor:
        """See :meth:`Strategy.score`."""
        return -self.strategy.score(-keys)
