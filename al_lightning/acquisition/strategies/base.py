"""What every strategy has, and what it chooses from."""

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
"""Makes the sums that take the logits of all passes and give one value of each item or pixel. Strategies with equal ones share them."""


class Items(NamedTuple):
    """What is known of some items.

    Attributes:
        indices: ``(n,)`` dataset indices, on the CPU.
        ranking_keys: float64 ``(n,)``, on the CPU; None if the strategy scores no items, or did not ask for these.
        rows: the parts of the representation, each ``(n, *)``, on the device; empty if the strategy did not ask for them.
    """

    indices: Tensor
    ranking_keys: Tensor | None = None
    rows: Rows = ()


class Scored(NamedTuple):
    """What a strategy chooses from.

    Attributes:
        unlabeled: the items that can be queried, in a seeded order: taking the first of equal items is a seeded tie-break.
        labeled: the others; their indices alone, if the strategy does not need more of them (``sees_labeled``).
        stride: take every ``stride``-th item of the ranking; 1 is the top.
        cycle: number of the cycle that chooses.
    """

    unlabeled: Items
    labeled: Items
    stride: int = 1
    cycle: int = 0


class Choice(NamedTuple):
    """A query with the scores that a person reads.

    Attributes:
        indices: ``(size,)`` dataset indices, in the order of choice.
        scores: ``(size,)``, what the strategy says of these items in the query; None for their scores as single items, or, of a strategy
            that scores no single items, for 0, -1, -2, ...
    """

    indices: Tensor
    scores: Tensor | None = None


class Strategy:
    """How a query is chosen.

    A strategy declares what it needs of each item: a score (``inference``, ``measure`` and :meth:`ranking_keys`), a representation
    (``represented``), or both. Then :meth:`select` chooses the query, once, in the first process; by default, the top of the ranking.

    Attributes:
        inference: how logits are made; None if items are scored without logits.
        measure: what is computed from the logits; None without an ``inference``.
        represented: the representation that :meth:`select` needs of each item; None if it needs none.
        scores_items: whether :meth:`ranking_keys` gives each item a score of its own.
        below_zero: whether such a score can be below 0.
        ranks: whether a query is the top of a ranking by these scores. Only such a strategy can have a stride, or be inside a strategy
            that ranks or chooses by its scores (``Inverse``, ``Power``, ``Diverse`` ...).
        sees_labeled: whether :meth:`select` needs the same of the labeled items. Then their images pass through the network, too; their
            labels are not read.
        reads_labels: whether it looks at labels that nobody has given yet. Such a strategy works in simulations only.
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
    def depends_on_labeled(self) -> bool:
        """Whether the choice depends on which items are labeled."""
        return self.sees_labeled

    @property
    def inferences(self) -> list[Inference]:
        """The inferences that it needs; there may be none."""
        needed = [self.inference, self.represented.inference if self.represented else None]
        return [inference for inference in needed if inference is not None]

    def ranking_keys(self, values: Tensor | None, indices: Tensor, seed: int) -> Tensor:
        """Ranking keys ``(B,)``: the highest is queried first.

        Args:
            values: ``(B, *)``, what ``measure`` made of the logits; None without an ``inference``.
            indices: ``(B,)`` dataset indices.
            seed: of what is random in the strategy.

        Raises:
            UserError: the strategy does not fit the task.
        """
        raise NotImplementedError(f"{type(self).__name__} has no ranking_keys, but says that it scores items.")

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor | Choice:
        """Chooses a query.

        Args:
            scored: the items.
            size: of the query; at most the number of unlabeled items.
            generator: of what is random in the choice, on the CPU.

        Returns:
            ``(size,)`` dataset indices, each once, in the order of choice; or a :class:`Choice`, if their scores are not those of
            :meth:`score`.

        Raises:
            UserError: it can't choose by such scores.
            NotFinite: a representation has a number that is not finite.
        """
        assert scored.unlabeled.ranking_keys is not None
        return scored.unlabeled.indices[top(scored.unlabeled.ranking_keys, size, scored.stride)]

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """Looks at the data set before the first cycle.

        Args:
            size: number of items.
            item: from an index to the item's name.
            oracle_labels: from indices ``(B,)`` to the classes ``(B, *)`` of items, labeled or not. Only oracle strategies use it: they
                cheat, to show what a strategy could reach.

        Raises:
            UserError: the strategy does not fit the data.
        """

    def readable(self, values: Tensor) -> Tensor | None:
        """The scores that a person reads, pixel by pixel, from what ``measure`` made of the logits; higher = more worth labeling.

        None if pixels have no scores.
        """
        return values

    def score(self, keys: Tensor) -> Tensor:
        """The score that a person reads, from ranking keys: float64, in the same order."""
        return keys.double()

    def logarithms(self, keys: Tensor) -> Tensor:
        """The logarithms of the scores, from ranking keys: float64; -inf for a score of 0."""
        return self.score(keys).log()

    def aggregated_by(self, aggregation: Aggregation) -> "Strategy":
        """The same strategy with another aggregation.

        Raises:
            UserError: the strategy aggregates nothing.
        """
        raise UserError(f"Expected a strategy with pixel scores for the aggregation {aggregation}, got {self}.")

    def __str__(self) -> str:
        return described(self)


def top(keys: Tensor, size: int, stride: int = 1) -> Tensor:
    """Positions ``(size,)`` of the highest keys ``(n,)``, or of every stride-th one in the ranking; equal keys keep their order."""
    positions = torch.arange(len(keys))
    return selection.choose(keys, positions, positions, size, stride)


def refuse_unranked(strategy: Strategy, wrapper: str) -> None:
    """Refuses a strategy that does not rank items, as another strategy needs its ranking.

    Args:
        strategy: the one inside.
        wrapper: the name of the other, for the message.

    Raises:
        UserError: the query of the strategy is not the top of a ranking.
    """
    if not strategy.ranks:
        raise UserError(
            f"Expected a strategy that ranks items by a score of each for {wrapper}, like Entropy, got {strategy}, which chooses a query "
            "as a whole."
        )
