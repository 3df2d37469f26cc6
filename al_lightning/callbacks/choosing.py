"""From what is known of the items to a query."""

from collections.abc import Callable

import torch
from torch import Tensor

from al_lightning.acquisition import Choice, Items, Scored, Strategy
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
        keys: float64 ``(n,)`` of these; None where the strategy scores no items.
        gathered: their representations; None where the strategy wants none.
        total: number of items in the data set.
    """

    def __init__(self, strategy: Strategy, indices: Tensor, keys: Tensor | None, gathered: Gathered | None, total: int) -> None:
        self.strategy, self.keys, self.gathered = strategy, keys, gathered
        self._places = torch.empty(total, dtype=torch.int64)
        self._places[indices] = torch.arange(len(indices))

    def of(self, indices: Tensor) -> Items:
        """Of these items ``(B,)``, which were scored."""
        keys = None if self.keys is None else self.keys[self._places[indices]]
        return Items(indices, keys, () if self.gathered is None else self.gathered.rows(indices))

    def choose(
        self, order: Tensor, labeled: Tensor, size: int, generator: torch.Generator, item: Callable[[int], str], stride: int = 1, cycle: int = 0
    ) -> Choice:
        """Lets the strategy choose.

        Args:
            order: ``(n,)`` the items to choose from, see :func:`seeded_order`.
            labeled: ``(m,)`` the others; scored, where the strategy asks for them.
            size: how many to choose, if there are so many.
            generator: of what is random in it.
            item: names an index.
            stride: of a ranking.
            cycle: the number of the cycle that chooses.

        Raises:
            UserError: a representation is not finite, or the strategy's own.
        """
        if self.gathered is not None:
            asked = torch.cat([order, labeled]) if self.strategy.sees_labeled else order
            refuse_not_finite(item, asked, self.gathered.finite_of(asked), f"What {self.strategy} looks at in")
        others = self.of(labeled) if self.strategy.sees_labeled else Items(labeled)
        chosen = self.strategy.select(Scored(self.of(order), others, stride, cycle), min(size, len(order)), generator)
        if isinstance(chosen, Choice):
            return Choice(chosen.indices.cpu(), chosen.scores.double().cpu())
        if self.keys is None:  # it says nothing but the order
            return Choice(chosen, -torch.arange(len(chosen), dtype=torch.float64))
        return Choice(chosen, self.strategy.score(self.keys[self._places[chosen]]))


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
