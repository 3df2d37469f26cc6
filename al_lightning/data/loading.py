"""What a loading process does besides loading."""

import os
import sys
from multiprocessing.queues import Queue

from al_lightning.refusals import refusal


def end_where_nothing_can_be_sent(_: int) -> None:
    """Makes a loading process end, and say why, where a batch can't be sent: Python goes on without it, and torch waits for it for ever.

    The ``worker_init_fn`` of a DataLoader.
    """
    Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: Exception, _: object) -> None:
    print(f"al_lightning: error: {refusal(error) or error}", file=sys.stderr, flush=True)
    os._exit(1)
