"""Collects the representations of all items in the first process."""

from collections.abc import Sequence
from itertools import zip_longest
from threading import Lock

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from al_lightning.acquisition.representations import Rows


class Gathered:
    """Rows of items, in memory that is allocated once, when the first rows arrive.

    Args:
        order: ``(n,)`` dataset indices, in the order in which their rows are stored.
        total: number of items in the data set.
        device: the device that stores the rows.
    """

    def __init__(self, order: Tensor, total: int, device: torch.device) -> None:
        self.device = device
        self._arrived = torch.zeros(len(order), dtype=torch.bool)
        self._places = torch.full((total,), -1)
        self._places[order] = torch.arange(len(order))
        self._rows: Rows = ()
        self._lock = Lock()  # several threads put rows

    def put(self, indices: Tensor, rows: Rows) -> None:
        """Stores the rows of a batch.

        Args:
            indices: ``(B,)``, the items of the batch.
            rows: each ``(B, *)``, on any device.
        """
        with self._lock:
            if not self._rows:
                size = len(self._arrived)
                with torch.inference_mode(False):  # autograd can't use inference tensors later
                    self._rows = tuple(torch.empty(size, *part.shape[1:], dtype=part.dtype, device=self.device) for part in rows)
        places = self._places[indices]
        self._arrived[places] = True
        places = places.to(self.device)
        for own, part in zip(self._rows, rows, strict=True):
            own.index_copy_(0, places, part.to(self.device))

    def finite_of(self, indices: Tensor) -> Tensor:
        """Bool ``(B,)``, on the CPU: whether the rows of items ``(B,)`` have arrived, without NaN or infinity in them."""
        finite = self._arrived[self._places[indices]]
        for part in self.rows(indices):
            # A sum is NaN or infinite if one of its numbers is, and is quick to check.
            if not bool(part.sum(dtype=torch.float32).isfinite()):
                finite &= part.flatten(1).sum(dim=1, dtype=torch.float32).isfinite().cpu()
        return finite

    def rows(self, indices: Tensor) -> Rows:
        """The rows of items ``(B,)``; without a copy if they are stored next to each other in this order."""
        places = self._places[indices]
        if not len(places):
            return tuple(part[:0] for part in self._rows)
        if torch.equal(places, torch.arange(int(places[0]), int(places[0]) + len(places))):
            return tuple(part[int(places[0]) :][: len(places)] for part in self._rows)
        return tuple(part[places.to(self.device)] for part in self._rows)


class FromAllProcesses:
    """Sends the rows of all processes to the first one, in rounds of one batch from each. The other processes keep none.

    Args:
        trainer: knows the processes.
        share: the batches of each process. The first process has at least as many as any other.
        gathered: stores the rows, in the first process.
    """

    def __init__(self, trainer: Trainer, share: Sequence[Sequence[Tensor]], gathered: Gathered) -> None:
        self.trainer = trainer
        self.gathered = gathered
        self._rounds = [*zip_longest(*share, fillvalue=torch.empty(0, dtype=torch.int64))]
        self._empty: Rows | None = None  # what a process sends that has no batch left

    def put(self, indices: Tensor, rows: Rows | None) -> None:
        """Sends this process's next batch; to be called equally often in each process.

        Args:
            indices: ``(B,)``, the items of the batch.
            rows: each ``(B, *)``; None if this process has no batch left.
        """
        strategy = self.trainer.strategy
        batches = self._rounds.pop(0)
        if self._empty is None:
            kinds: list[tuple[torch.Size, torch.dtype]] = [(part.shape[1:], part.dtype) for part in rows or ()]
            kinds = strategy.broadcast(kinds)
            self._empty = tuple(torch.empty(0, *shape, dtype=dtype, device=self.gathered.device) for shape, dtype in kinds)
        longest = max(map(len, batches))
        of_all = []
        for part in self._empty if rows is None else rows:
            padded = torch.zeros(longest, *part.shape[1:], dtype=part.dtype, device=self.gathered.device)
            padded[: len(part)] = part
            of_all.append(strategy.all_gather(padded))
        if self.trainer.is_global_zero:
            for rank, batch in enumerate(batches):
                if len(batch):
                    self.gathered.put(batch, tuple(part[rank, : len(batch)] for part in of_all))

    def finish(self) -> None:
        """Takes part in the remaining rounds, in which only other processes have a batch."""
        while self._rounds:
            self.put(torch.empty(0, dtype=torch.int64), None)
