"""Lets a strategy choose a query from what is known of the items."""

from collections.abc import Callable

import torch
from torch import Tensor

from al_lightning.acquisition import Choice, Items, Scored, Strategy
from al_lightning.acquisition.batches import NotFinite
from al_lightning.callbacks.gathering import Gathered
from al_lightning.errors import UserError


def seeded_order(candidates: Tensor, total: int, generator: torch.Generator) -> Tensor:
    """Items ``(n,)`` in a random order. Which of two items comes first does not depend on the other candidates.

    Args:
        candidates: ``(n,)`` dataset indices.
        total: number of items in the data set.
        generator: the source of the order.
    """
    order, among = torch.empty(total, dtype=torch.int64), torch.zeros(total, dtype=torch.bool)
    order[torch.randperm(total, generator=generator)] = torch.arange(total)
    among[candidates] = True
    return order[among[order]]


class ScoredPool:
    """What a query knows of the items that were scored.

    Args:
        strategy: the strategy that chooses.
        indices: ``(n,)``, dataset indices of these items.
        keys: float64 ``(n,)``, their ranking keys; None if the strategy scores no single items.
        gathered: their representations; None if the strategy needs none.
        item: gives the name of an index.
    """

    def __init__(
        self, strategy: Strategy, indices: Tensor, keys: Tensor | None, gathered: Gathered | None, item: Callable[[int], str]
    ) -> None:
        self.strategy, self.ranking_keys, self.gathered, self.item = strategy, keys, gathered, item
        self._places = torch.empty(int(indices.max()) + 1 if len(indices) else 0, dtype=torch.int64)
        self._places[indices] = torch.arange(len(indices))

    def scored(self, order: Tensor, labeled: Tensor, stride: int = 1, cycle: int = 0) -> Scored:
        """What the strategy chooses from.

        Args:
            order: ``(n,)``, the items that can be queried, see :func:`seeded_order`.
            labeled: ``(m,)``, the labeled items, which must have been scored if the strategy looks at them.
            stride: stride of a ranking.
            cycle: number of the cycle that queries.

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
        """Lets the strategy choose ``size`` items, or all if there are fewer.

        Raises:
            UserError: the strategy refuses, or numbers that it looks at are too large to compute with.
        """
        if (size := min(size, len(scored.unlabeled.indices))) <= 0:
            return Choice(torch.empty(0, dtype=torch.int64))
        try:
            chosen = self.strategy.select(scored, size, generator)
        except NotFinite as error:
            items = scored.labeled if error.which == "labeled" else scored.unlabeled
            finite = torch.arange(len(items.indices)) != error.position
            refuse_not_finite(self.item, items.indices, finite, f"What {self.strategy} computes of")
            raise
        indices, scores = chosen if isinstance(chosen, Choice) else (chosen, None)
        self._refuse_other_choice(indices, scored.unlabeled.indices, size)
        return Choice(indices.long().cpu(), None if scores is None else scores.double().cpu())

    def _refuse_other_choice(self, indices: object, among: Tensor, size: int) -> None:
        """Makes sure that a strategy has chosen what it was asked for, before anything is written.

        Raises:
            UserError: it has not.
        """
        found: str | None = None
        if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
            found = f"{indices.dtype}" if isinstance(indices, Tensor) else type(indices).__name__
        elif indices.shape != (size,):
            found = f"a tensor of {'x'.join(map(str, indices.shape)) or 'no axis'}"
        elif len(indices.unique()) < size:
            found = "some of them twice"
        elif not bool((ours := torch.isin(indices.cpu(), among.cpu())).all()):
            found = f"{int((~ours).sum())} that can't be queried, {self.item(int(indices[~ours.to(indices.device)][0]))} among them"
        if found is not None:
            raise UserError(
                f"Expected {self.strategy} to select {size} different unlabeled items, as a tensor of their indices, got {found}."
            )

    def goes_by_items(self, choice: Choice) -> bool:
        """Whether the strategy has chosen by scores of single items, not by what it says of the query."""
        return self.ranking_keys is not None and choice.scores is None

    def scores_of(self, indices: Tensor, choice: Choice) -> Tensor:
        """Scores of items, float64 ``(n,)``: those of the choice, and NaN for others; or, if it has none, their scores as single items."""
        if self.ranking_keys is not None and self.goes_by_items(choice):
            return self.strategy.score(self.ranking_keys[self._places[indices]])
        if (scores := choice.scores) is None:
            scores = -torch.arange(len(choice.indices), dtype=torch.float64)
        said = dict(zip(choice.indices.tolist(), scores.tolist(), strict=True))
        return torch.tensor([said.get(index, torch.nan) for index in indices.tolist()], dtype=torch.float64)


def refuse_not_finite(item: Callable[[int], str], indices: Tensor, finite: Tensor, what: str, when: str = "") -> None:
    """Refuses numbers that are NaN or infinite.

    Args:
        item: gives the name of an index.
        indices: ``(n,)``, the items.
        finite: bool ``(n,)``, whether their numbers are finite.
        what: begins the message, as "The score of"; the number of items follows.
        when: ends its first half, as " in cycle 3", with a space before it.

    Raises:
        UserError: an item's number is not finite.
    """
    if not bool(finite.all()):
        names = [item(int(index)) for index in indices[~finite]]
        raise UserError(
            f"{what} {len(names)} items became NaN or infinite{when}, the first of them {', '.join(names[:5])}. "
            "Look at these items; if it is every item, the training diverged: lower the learning rate."
        )
