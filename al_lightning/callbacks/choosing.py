"""From what is known of the items to a query."""

from collections.abc import Callable

import torch
from torch import Tensor

from al_lightning.acquisition import Choice, Items, Scored, Strategy
from al_lightning.acquisition.batches import NotFinite
from al_lightning.callbacks.gathering import Gathered
from al_lightning.errors import UserError


def seeded_order(candidates: Tensor, total: int, generator: torch.Generator) -> Tensor:
    """Items ``(n,)`` in a random order, in which two of them come the same way round whatever else is there.

    Args:
        candidates: ``(n,)`` dataset indices.
        total: number of items in the data set.
        generator: of the order.
    """
    order, among = torch.empty(total, dtype=torch.int64), torch.zeros(total, dtype=torch.bool)
    order[torch.randperm(total, generator=generator)] = torch.arange(total)
    among[candidates] = True
    return order[among[order]]


class Knowledge:
    """What a query knows of items.

    Args:
        strategy: that chooses.
        indices: ``(n,)`` dataset indices of the items that were scored.
        ranking_keys: float64 ``(n,)`` of these; None where the strategy scores no items.
        gathered: their representations; None where the strategy wants none.
        item: names an index.
    """

    def __init__(
        self, strategy: Strategy, indices: Tensor, keys: Tensor | None, gathered: Gathered | None, item: Callable[[int], str]
    ) -> None:
        self.strategy, self.ranking_keys, self.gathered, self.item = strategy, keys, gathered, item
        self._places = torch.empty(int(indices.max()) + 1 if len(indices) else 0, dtype=torch.int64)
        self._places[indices] = torch.arange(len(indices))

    def scored(self, order: Tensor, labeled: Tensor, stride: int = 1, cycle: int = 0) -> Scored:
        """What the strategy is to choose from.

        Args:
            order: ``(n,)`` the items that can be queried, see :func:`seeded_order`.
            labeled: ``(m,)`` the others; they were scored, if the strategy asks for them.
            stride: of a ranking.
            cycle: the number of the cycle that chooses.

        Raises:
            UserError: a representation is not finite.
        """
        others = self._of(labeled) if self.strategy.sees_labeled else Items(labeled)
        return Scored(self._of(order), others, stride, cycle)

    def _of(self, indices: Tensor) -> Items:
        keys = None if self.ranking_keys is None else self.ranking_keys[self._places[indices]]
        if self.gathered is None:
            return Items(indices, keys)
        refuse_not_finite(self.item, indices, self.gathered.finite_of(indices), f"What {self.strategy} looks at in")
        return Items(indices, keys, self.gathered.rows(indices))

    def choose(self, scored: Scored, size: int, generator: torch.Generator) -> Choice:
        """Lets the strategy choose, as many as are wanted or there.

        Raises:
            UserError: the strategy's own, or numbers that it looks at are too large to compute with.
        """
        if (size := min(size, len(scored.unlabeled.indices))) <= 0:
            return Choice(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64))
        try:
            chosen = self.strategy.select(scored, size, generator)
        except NotFinite as error:
            items = scored.labeled if error.which == "labeled" else scored.unlabeled
            finite = torch.arange(len(items.indices)) != error.position
            refuse_not_finite(self.item, items.indices, finite, f"What {self.strategy} computes of")
            raise
        if isinstance(chosen, Choice):
            return Choice(chosen.indices.cpu(), chosen.scores.double().cpu())
        if self.ranking_keys is None:  # it says nothing but the order
            return Choice(chosen, -torch.arange(len(chosen), dtype=torch.float64))
        return Choice(chosen, self.strategy.score(self.ranking_keys[self._places[chosen]]))

    def scores_of(self, indices: Tensor, choice: Choice) -> Tensor:
        """What is said of items ``(n,)``, float64: by a choice of them; of others by the strategy, or NaN where it scores no items."""
        said = dict(zip(choice.indices.tolist(), choice.scores.tolist(), strict=True))
        others = torch.full((len(indices),), torch.nan, dtype=torch.float64)
        if self.ranking_keys is not None:
            others = self.strategy.score(self.ranking_keys[self._places[indices]])
        found = [said.get(index, other) for index, other in zip(indices.tolist(), others.tolist(), strict=True)]
        return torch.tensor(found, dtype=torch.float64)


def refuse_not_finite(item: Callable[[int], str], indices: Tensor, finite: Tensor, what: str, when: str = "") -> None:
    """Refuses numbers that are none.

    Args:
        item: names an index.
        indices: ``(n,)``.
        finite: bool ``(n,)``, whether what is known of these items are numbers.
        what: is known, in words that "... items" follows.
        when: in words, after a blank.

    Raises:
        UserError: some are not.
    """
    if not bool(finite.all()):
        names = [item(int(index)) for index in indices[~finite]]
        raise UserError(
            f"{what} {len(names)} items became NaN or infinite{when}, the first of them {', '.join(names[:5])}. "
            "Look at these items; if it is every item, the training diverged: lower the learning rate."
        )
