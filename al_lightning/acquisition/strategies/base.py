"""What a strategy says, and what it chooses from."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from al_lightning.acquisition import selection
from al_lightning.acquisition.aggregation import Aggregation
from al_lightning.acquisition.description import described
from al_lightning.acquisition.functional import PassSums
from al_lightning.acquisition.inference import Inference
from al_lightning.acquisition.representations import Represented, Rows
from al_lightning.errors import UserError

Measure = Callable[[], PassSums]
"""Makes what takes the logits of all passes and gives one value a pixel, or an item. The same object measures the same."""


class Items(NamedTuple):
    """What is known of some items.

    Attributes:
        indices: ``(n,)`` dataset indices, on the CPU.
        ranking_keys: float64 ``(n,)``, on the CPU; None where the strategy scores no items, or has not asked for these.
        rows: ``(n, *)`` each, the parts of the representation, on the device; none where the strategy has not asked for them.
    """

    indices: Tensor
    ranking_keys: Tensor | None = None
    rows: Rows = ()


class Scored(NamedTuple):
    """What a strategy chooses from.

    Attributes:
        unlabeled: what can be queried, in a seeded order: who takes the first of equals has a seeded tie-break.
        labeled: the others; of those that did not pass through the network the indices alone.
        stride: of a ranking.
        cycle: the number of the cycle that chooses.
    """

    unlabeled: Items
    labeled: Items
    stride: int = 1
    cycle: int = 0


class Choice(NamedTuple):
    """A query, and what the strategy says of it.

    Attributes:
        indices: ``(size,)`` dataset indices, in the order of choice.
        scores: ``(size,)`` of these.
    """

    indices: Tensor
    scores: Tensor


class Strategy:
    """How a query is chosen.

    It says what it needs of each item: a score, by ``inference``, ``measure`` and :meth:`ranking_keys`, a representation, or both. Then it
    chooses by :meth:`select`, once, in the first process: the top of the ranking, if it says nothing else.

    Attributes:
        inference: how logits are made; None where items are scored without looking at them.
        measure: what is made of the logits, if there are any.
        represented: what :meth:`select` wants to know of each item besides; None for nothing.
        scores_items: whether :meth:`ranking_keys` gives each item a score of its own.
        below_zero: whether such a score can be below 0.
        ranks: whether a query is the top of a ranking by these scores. Only that can be strided, turned
            round, or chosen by in another way.
        sees_labeled: whether :meth:`select` wants to know as much of the labeled items, which pass through the network then: of their
            images, not of their labels.
        reads_labels: whether it looks at labels that nobody has given yet: it can be simulated, and is of no use to people who label.
    """

    inference: Inference | None = None
    measure: Measure | None = None
    represented: Represented | None = None
    scores_items: bool = True
    below_zero: bool = False
    ranks: bool = True
    sees_labeled: bool = False
    reads_labels: bool = False

    @property
    def inferences(self) -> list[Inference]:
        """Those that it needs, of which it may need none."""
        needed = [self.inference, self.represented.inference if self.represented else None]
        return [inference for inference in needed if inference is not None]

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """Ranking keys ``(B,)``.

        Args:
            values: ``(B, *)`` what ``measure`` made of the logits; None without an ``inference``.
            indices: ``(B,)`` dataset indices.
            seed: of whatever is random in the strategy.
        """
        raise NotImplementedError(f"{type(self).__name__} has no ranking_keys, but says that it scores items.")

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor | Choice:
        """Chooses a query.

        Args:
            scored: the items.
            size: of the query; as many unlabeled items are there at least.
            generator: of whatever is random, on the CPU.

        Returns:
            ``(size,)`` dataset indices, each once, in the order of choice; or a :class:`Choice`, where there is more to say of them than
            their :meth:`score`.
        """
        assert scored.unlabeled.ranking_keys is not None
        return scored.unlabeled.indices[top(scored.unlabeled.ranking_keys, size, scored.stride)]

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """Gets to know the data set, before the first cycle.

        Args:
            size: number of items.
            item: the name of an index.
            oracle_labels: the labels of items, ``(B,)`` indices to ``(B, *)`` classes, whether anybody has labeled them or not. An oracle
                cheats with it, to show what a strategy could reach; others leave it alone.

        Raises:
            UserError: the strategy does not fit the data.
        """

    def readable(self, values: Tensor) -> Tensor:
        """The scores that a person reads, pixel by pixel, from what ``measure`` made of the logits; higher = more worth labeling."""
        return values

    def score(self, keys: Tensor) -> Tensor:
        """The score that a person reads, from ranking keys: float64, in the same order."""
        return keys.double()

    def logarithms(self, keys: Tensor) -> Tensor:
        """The logarithms of the scores, from ranking keys: float64; -inf of a score of 0."""
        return self.score(keys).log()

    def aggregated_by(self, aggregation: Aggregation) -> "Strategy":
        """The same strategy with another aggregation.

        Raises:
            UserError: it has none.
        """
        raise UserError(f"Expected a strategy with pixel scores for the aggregation {aggregation}, got {self}.")

    def __str__(self) -> str:
        return described(self)


def top(keys: Tensor, size: int, stride: int = 1) -> Tensor:
    """Positions ``(size,)`` of the highest keys ``(n,)``, or of every stride-th of the ranking; equal ones in their order."""
    positions = torch.arange(len(keys))
    return selection.choose(keys, positions, positions, size, stride)


def refuse_together(strategy: Strategy, wrapper: str) -> None:
    """Refuses a strategy whose query is not the top of a ranking, where another one needs its scores.

    Raises:
        UserError: it is such a one.
    """
    if not strategy.ranks:
        raise UserError(
            f"Expected a strategy that ranks items by a score of each for {wrapper}, like Entropy, got {strategy}, which chooses a query "
            "as a whole."
        )
