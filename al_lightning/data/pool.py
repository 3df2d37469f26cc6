"""The pool: which items of a data set are labeled, which are not, and since when."""

from typing import Any, Literal, TypedDict

import numpy as np
import torch
from torch import Tensor

from al_lightning.errors import UserError
from al_lightning.numbers import PositiveInt


class Repeat(TypedDict):
    """An item of which the pool gets copies, to find out whether a strategy avoids what the network already knows.

    Attributes:
        item: its name or its index.
        copies: number of copies beside the item itself.
    """

    item: str | int
    copies: PositiveInt


class Pool:
    """Two boolean masks over a data set's own indices. Only :meth:`label` marks items as labeled.

    Args:
        size: number of items in the data set, N.
        members: indices of the items in the pool; None for all. Other items are in neither mask.
        answerable: bool ``(N,)``, the items for which the oracle has a label; None for all. Other items are never queried.

    Attributes:
        labeled: bool ``(N,)``, the labeled items of the pool.
        unlabeled: bool ``(N,)``, the other items of the pool.
        answerable: bool ``(N,)``, see above.
        labeled_in: int32 ``(N,)``, the cycle whose training set the item first joined; -1 if it is not labeled.
        cycle: the current cycle, whose training set the labeled items are: the number of calls of :meth:`label`, less one.
    """

    def __init__(self, size: int, members: Tensor | None = None, answerable: Tensor | None = None) -> None:
        self.labeled = torch.zeros(size, dtype=torch.bool)
        self.unlabeled = torch.ones(size, dtype=torch.bool)
        if members is not None:
            self.unlabeled.zero_()
            self.unlabeled[members] = True
        self.answerable = torch.ones(size, dtype=torch.bool) if answerable is None else answerable
        self.labeled_in = torch.full((size,), -1, dtype=torch.int32)
        self.cycle = -1
        self._apart = torch.zeros(size, dtype=torch.bool)

    @property
    def labeled_indices(self) -> Tensor:
        """Sorted indices of the labeled items."""
        return self.labeled.nonzero().flatten()

    @property
    def unlabeled_indices(self) -> Tensor:
        """Sorted indices of the unlabeled items."""
        return self.unlabeled.nonzero().flatten()

    @property
    def candidates(self) -> Tensor:
        """Sorted indices of the items that can be queried: they are unlabeled, and the oracle has a label for them."""
        return (self.unlabeled & self.answerable).nonzero().flatten()

    def label(self, indices: Tensor) -> None:
        """Marks items as labeled and begins the next cycle.

        Args:
            indices: int64 ``(n,)``, each of them a candidate.

        Raises:
            UserError: an index is out of range, comes twice, is labeled already, is not part of the pool, or has no label. Nothing is
                changed then.
        """
        size = len(self.labeled)
        if bool(((indices < 0) | (indices >= size)).any()):
            raise UserError(f"Expected indices from 0 to {size - 1}, got {indices[(indices < 0) | (indices >= size)].tolist()[:5]}.")
        if len(indices.unique()) < len(indices):
            raise UserError("Expected each index once: the query names an item twice.")
        refused = indices[~self.unlabeled[indices]]
        if len(refused):
            why = "labeled already" if bool(self.labeled[refused[0]]) else "not part of the pool"
            raise UserError(f"Expected unlabeled items, but item {int(refused[0])} is {why} ({len(refused)} such items).")
        if len(refused := indices[~self.answerable[indices]]):
            raise UserError(f"Expected items that have a label, but item {int(refused[0])} has none ({len(refused)} such items).")
        self.cycle += 1
        self.labeled[indices] = True
        self.unlabeled[indices] = False
        self.labeled_in[indices] = self.cycle

    def leave_out(self, indices: Tensor) -> None:
        """Takes unlabeled items out of the pool; they are in neither mask then."""
        self.unlabeled[indices] = False

    def begin_with(self, indices: Tensor) -> None:
        """Unmarks all labeled items, and labels these as the initial set.

        Raises:
            UserError: see :meth:`label`.
        """
        self.unlabeled |= self.labeled
        self.labeled.zero_()
        self.labeled_in.fill_(-1)
        self.cycle = -1
        self.label(indices)

    def set_apart(self, apart: Tensor) -> None:
        """Takes items out of both masks. Items of an earlier call come back, unlabeled.

        Args:
            apart: bool ``(N,)``.
        """
        self.unlabeled |= self._apart
        self._apart = apart & (self.unlabeled | self.labeled)
        self.unlabeled &= ~apart
        self.labeled &= ~apart
        self.labeled_in[apart] = -1

    def state_dict(self) -> dict[str, Any]:
        """Everything that :meth:`load_state_dict` needs, as tensors and builtins; masks as bits, because every checkpoint has them."""
        return {
            "size": len(self.labeled),
            "unlabeled": _packed(self.unlabeled),
            "labeled": _packed(self.labeled),
            "labeled_in": self.labeled_in[self.labeled],
            "cycle": self.cycle,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a pool's state.

        Raises:
            UserError: it is the state of a pool of another size.
        """
        size = len(self.labeled)
        if state["size"] != size:
            raise UserError(f"Expected the state of a pool of {size} items, got one of {state['size']}.")
        self.unlabeled, self.labeled = (_unpacked(state[name], size) for name in ("unlabeled", "labeled"))
        self.labeled_in.fill_(-1)
        self.labeled_in[self.labeled] = state["labeled_in"].cpu()
        self.cycle = state["cycle"]


def _packed(mask: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(mask.numpy()))


def _unpacked(bits: Tensor, size: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits.cpu().numpy(), count=size).view(bool))


def draw_initial(candidates: Tensor, size: int | Literal["all"], generator: torch.Generator, labels: Tensor | None = None) -> Tensor:
    """Draws the initial labeled set.

    Args:
        candidates: indices to draw from.
        size: number of items to draw; ``all`` makes a run on the whole pool, the reference of normalised curves.
        generator: source of the draw.
        labels: ``(N,)``, the class of each item in the data set, for a class-balanced draw (which uses labels that a real annotator has not
            given yet); None draws uniformly. If the size is no multiple of the number of classes, the first classes get one item more.

    Returns:
        ``(size,)`` indices, in the order of the draw.

    Raises:
        UserError: there are not enough candidates, or not enough of a class.
    """
    if size == "all":
        size = len(candidates)
        labels = None
    if not 1 <= size <= len(candidates):
        raise UserError(f"Expected an initial_size from 1 to the pool's {len(candidates)} labels, or all, got {size}.")
    shuffled = candidates[torch.randperm(len(candidates), generator=generator)]
    if labels is None:
        return shuffled[:size]
    classes = labels[candidates].unique()
    drawn = []
    for position, label in enumerate(classes):
        wanted = size // len(classes) + (position < size % len(classes))
        of_class = shuffled[labels[shuffled] == label]
        if len(of_class) < wanted:
            raise UserError(
                f"Expected {wanted} items of class {int(label)} for a balanced initial set of {size}, but the pool has {len(of_class)}."
            )
        drawn.append(of_class[:wanted])
    return torch.cat(drawn)
