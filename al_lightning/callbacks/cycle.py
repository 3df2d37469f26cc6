"""The result of a cycle, as hooks receive it, as tables store it, and as a person reads it."""

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
        indices: int64 ``(n,)``, the items in the order of their ranks.
        scores: float64 ``(n,)``, the strategy's scores of these; NaN for an item that was drawn at random and has no score.
        pool_indices: int64 ``(N,)``, sorted, all items that could be queried.
        pool_scores: float64 ``(N,)``, their scores; None if the strategy chooses by no scores of single items.
        recorded: scores ``(N,)`` of these by further strategies, by name; they did not affect the choice.
        tied_share: share of the pool's ranking keys that equal another one, in [0, 1]; 0 if there are no keys.
        notes: sentences to show to the user.
        seconds: time for scoring and choosing.
        peak_bytes: peak memory, see :class:`~al_lightning.callbacks.scoring.PeakMemory`.
        at_random: int64 ``(m,)``, those of the indices that were drawn at random, not chosen by the strategy.
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
    """The result of a cycle: the argument of the hook ``on_cycle_end``.

    Attributes:
        cycle: its number, from 0.
        labeled: size of its training set.
        metrics: metrics of the evaluation, by name.
        epochs: number of finished epochs.
        train_steps: number of optimizer steps.
        train_seconds: time for training and the validation during it.
        logged_steps: number of steps of all cycles so far, as the loggers count them.
        query: the cycle's query; None in the last cycle.
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
            cycles: number of all cycles; None if it is not known.
            growth: number of items that each further cycle adds to the training set, whose last one repeats; ``[0]`` if the length of a
                training does not depend on the set's size.
            stopped: why this was the last cycle; None if it was not.
        """
        # Metrics of single classes, as val/iou/road, are for tables.
        metrics = [told(name, value) for name, value in self.metrics.items() if name.count("/") < 2]
        shown = [f"{self.labeled:,} labeled", *metrics]
        shown.append(f"{self.train_seconds:.1f} s training")
        if self.query is not None:
            shown.append(f"{self.query.seconds:.1f} s query")
        if self.query is not None and cycles is not None and self.train_steps > 0:  # no step: weights were taken over, not trained
            later = cycles - self.cycle - 1
            left = _trained_on(self.labeled, growth, later) / self.labeled * self.train_seconds + self.query.seconds * later
            shown.append(f"about {clock(left)} left")
        if stopped is not None:
            shown.append(stopped)
        among = f" of 0-{cycles - 1}" if cycles is not None and cycles > 1 else ""
        return f"cycle {self.cycle}{among}: {', '.join(shown)}"


def _trained_on(labeled: int, growth: Sequence[int], cycles: int) -> int:
    """The sum of the sizes of the training sets of the next ``cycles`` cycles."""
    *first, last = growth[: cycles + 1]
    sizes = [labeled := labeled + more for more in first]
    rest = cycles - len(first)
    return sum(sizes) + rest * labeled + last * rest * (rest + 1) // 2


def clock(seconds: float) -> str:
    """Seconds as people read them: ``0:01:05``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
