"""Loaders whose processes go on from one epoch to the next, and what such a process does if it can't send a batch."""

import os
import sys
from collections.abc import Iterator
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import DataLoader

from al_lightning.refusals import refusal


class EpochLoader(DataLoader[Any]):
    """Loads one epoch after the other: while the last batches of an epoch are trained on, its processes load the first of the next one.

    Its sampler must yield one epoch after the other without an end, beginning with the one in its attribute ``epoch``, and equally many
    items in each. If another epoch than the next one is wanted, or the last one was left before its end, the same processes start over.
    """

    _loaded_next: int | None = None  # the epoch that its processes are already loading

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch: int = self.sampler.epoch  # type: ignore[attr-defined]
        begun = self._iterator if self._loaded_next == epoch else None
        batches = super().__iter__() if begun is None else begun
        self._loaded_next = None
        for left in reversed(range(len(self))):
            batch = next(batches)
            if left == 0:  # before the last batch is yielded, because the caller may not ask for more
                self._loaded_next = epoch + 1
            yield batch


def end_where_nothing_can_be_sent(_: int) -> None:
    """Makes a loading process end with a message if it can't send a batch: Python would drop the batch, and torch wait for it for ever.

    It is the ``worker_init_fn`` of a DataLoader.
    """
    Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: Exception, _: object) -> None:
    print(f"al_lightning: error: {refusal(error) or error}", file=sys.stderr, flush=True)
    os._exit(1)
