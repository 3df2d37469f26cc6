"""Loaders whose processes live on from one epoch to the next, and what such a process does besides loading."""

import os
import sys
from collections.abc import Iterator
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import DataLoader

from al_lightning.refusals import refusal


class EpochLoader(DataLoader[Any]):
    """Loads one epoch after the other: while the last batches of one are trained on, its processes load the first of the next.

    Its sampler goes on from epoch to epoch, always with as many items, and knows by ``epoch`` where to begin: an epoch that is not the
    one that follows, or that follows one which was left before its end, is begun anew, by the same processes.
    """

    _loaded_next: int | None = None  # the epoch that its processes are loading already

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch: int = self.sampler.epoch  # type: ignore[attr-defined]
        begun = self._iterator if self._loaded_next == epoch else None
        batches = super().__iter__() if begun is None else begun
        self._loaded_next = None
        for left in reversed(range(len(self))):
            batch = next(batches)
            if left == 0:  # before it is handed out: nobody may ask for more
                self._loaded_next = epoch + 1
            yield batch


def end_where_nothing_can_be_sent(_: int) -> None:
    """Makes a loading process end, and say why, where a batch can't be sent: Python goes on without it, and torch waits for it for ever.

    The ``worker_init_fn`` of a DataLoader.
    """
    Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: Exception, _: object) -> None:
    print(f"al_lightning: error: {refusal(error) or error}", file=sys.stderr, flush=True)
    os._exit(1)
