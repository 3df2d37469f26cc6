"""What a cycle came to: what hooks are told, tables hold and a person reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from al_lightning.percent import told
from al_lightning.run_tables import FIRST_CURVE_COLUMNS, LAST_CURVE_COLUMNS


@dataclass(frozen=True)
class Query:
    """What a cycle chose to label.

    Attributes:
        indices: int64 ``(n,)``, in rank order, which is that of the choice.
        scores: float64 ``(n,)``, what the strategy says of these; NaN of one that it has not chosen (drawn at random) and gives no score.
        pool_indices: int64 ``(N,)``, of every unlabeled item, sorted.
        pool_scores: float64 ``(N,)``, of these; None where the strategy gives no item a score of its own.
        recorded: by name, further scores ``(N,)`` of these, which decided nothing.
        tied_share: share of the pool's ranking keys that another one equals; 0 where there are none.
        notes: sentences for a person who watches.
        seconds: for scoring and selecting.
        at_random: int64 ``(m,)``, those of the indices that were drawn at random, and not chosen.
        peak_bytes: memory, see :class:`~al_lightning.callbacks.scoring.PeakMemory`.
    """

    indices: Tensor
    scores: Tensor
    pool_indices: Tensor
    pool_scores: Tensor | None
    recorded: dict[str, Tensor]
    tied_share: float
    notes: list[str]
    seconds: float
    peak_bytes: int
    at_random: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))


@dataclass(frozen=True)
class FinishedCycle:
    """What a cycle came to: the argument of the hook ``on_cycle_end``.

    Attributes:
        cycle: its number, from 0.
        labeled: size of its training set.
        metrics: the evaluation's, by name.
        epochs: finished epochs.
        train_steps: optimizer steps.
        train_seconds: for training, with the validation in it.
        logged_steps: steps of all cycles so far, as the loggers count them.
        query: None in the last cycle.
    """

    cycle: int
    labeled: int
    metrics: dict[str, float]
    epochs: int
    train_steps: int
    train_seconds: float
    logged_steps: int
    query: Query | None

    def row(self) -> dict[str, Any]:
        """The row of learning_curve.csv, whose columns :class:`~al_lightning.run_tables.CycleRow` lists."""
        first, last = ({name: self._cell(name) for name in names} for names in (FIRST_CURVE_COLUMNS, LAST_CURVE_COLUMNS))
        return {**first, **self.metrics, **last}

    def _cell(self, column: str) -> Any:
        if (name := column.removeprefix("query_")) != column:
            return None if self.query is None else getattr(self.query, name)
        return getattr(self, column)

    def line(self, cycles: int | None, growth: Sequence[int], stopped: str | None) -> str:
        """One line for a person.

        Args:
            cycles: how many there will be; None if nobody knows.
            growth: items that each further cycle trains on beyond the one before, the last going on; 0 where its length does not depend
                on them.
            stopped: why this was the last cycle, if it was.
        """
        # A third part, as in val/iou/road, is for tables.
        metrics = [told(name, value) for name, value in self.metrics.items() if name.count("/") < 2]
        shown = [f"{self.labeled:,} labeled", *metrics]
        shown.append(f"{self.train_seconds:.1f} s training")
        if self.query is not None:
            shown.append(f"{self.query.seconds:.1f} s query")
        if self.query is not None and cycles is not None and self.train_steps > 0:  # what was taken over says nothing of the others
            later = cycles - self.cycle - 1
            left = _trained_on(self.labeled, growth, later) / self.labeled * self.train_seconds + self.query.seconds * later
            shown.append(f"about {clock(left)} left")
        if stopped is not None:
            shown.append(stopped)
        among = f" of 0-{cycles - 1}" if cycles is not None and cycles > 1 else ""
        return f"cycle {self.cycle}{among}: {', '.join(shown)}"


def _trained_on(labeled: int, growth: Sequence[int], cycles: int) -> int:
    """Items that so many further cycles train on, all together."""
    *first, last = growth[: cycles + 1]
    sizes = [labeled := labeled + more for more in first]
    rest = cycles - len(first)
    return sum(sizes) + rest * labeled + last * rest * (rest + 1) // 2


def clock(seconds: float) -> str:
    """Seconds as people read them: ``0:01:05``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
