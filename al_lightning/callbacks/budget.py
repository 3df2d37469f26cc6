"""How many labels each cycle asks for, and when an experiment ends."""

import math
from collections.abc import Collection, Mapping, Sequence

from al_lightning.acquisition import selection
from al_lightning.data import Pool
from al_lightning.errors import UserError
from al_lightning.percent import ROUNDING, is_loss
from al_lightning.run_tables import VALIDATED


class Budget:
    """What an experiment may spend.

    Args:
        query_size: number of items to label in a cycle; a list has one for each cycle, and its last one repeats.
        stride: stride of the ranking, likewise.
        cycles: number of cycles; None for as many as the other limits allow.
        labels: largest number of labels in all; None for no limit.
        target: the experiment ends when each of these metrics is reached; None for no target.

    Raises:
        UserError: a list is empty, or the target names other metrics than ``val/...``, or a loss, of which less is better.
    """

    def __init__(
        self,
        query_size: int | Sequence[int],
        stride: int | Sequence[int],
        cycles: int | None,
        labels: int | None,
        target: Mapping[str, float] | None,
    ) -> None:
        self.query_sizes = [query_size] if isinstance(query_size, int) else query_size
        self.strides = [stride] if isinstance(stride, int) else stride
        for name, values in {"query_size": self.query_sizes, "stride": self.strides}.items():
            if not values:
                raise UserError(f"Expected active_learning.{name} to be a number or a list of at least one, got an empty list.")
        if target is not None and (not target or any(is_loss(name) or not name.startswith(VALIDATED) for name in target)):
            raise UserError(
                f"Expected active_learning.target to name metrics val/... of which more is better, like val/accuracy, got {target}."
            )
        self.cycles, self.labels, self.target = cycles, labels, target

    def query_size(self, pool: Pool) -> int:
        """Number of items to ask for in the pool's current cycle."""
        size = selection.of_cycle(self.query_sizes, pool.cycle)
        return size if self.labels is None else min(size, self.labels - int(pool.labeled.sum()))

    def asked_before(self, cycle: int) -> int:
        """Number of items that all earlier cycles were to ask for."""
        return sum(selection.of_cycle(self.query_sizes, earlier) for earlier in range(cycle))

    def stride(self, cycle: int) -> int:
        """The stride of a cycle's ranking."""
        return selection.of_cycle(self.strides, cycle)

    def growth(self, cycle: int) -> Sequence[int]:
        """Numbers of items that this cycle and the next ones ask for; the last number repeats."""
        return self.query_sizes[cycle:] or self.query_sizes[-1:]

    def refuse_other_target(self, metrics: Collection[str]) -> None:
        """Refuses a target that is not measured.

        Args:
            metrics: names of all metrics.

        Raises:
            UserError: a metric of the target is not among them.
        """
        if missing := set(self.target or ()) - set(metrics):
            known = [name for name in metrics if name.startswith(VALIDATED)]
            raise UserError(f"Expected active_learning.target to name metrics from {known}, got {sorted(missing)}.")

    def reason_to_stop(self, pool: Pool, metrics: Mapping[str, float], most_cycles: int | None = None) -> str | None:
        """Why the current cycle is the last one; None if it is not.

        Args:
            pool: tells what is labeled, and what is left.
            metrics: metrics of the current cycle.
            most_cycles: a second limit of the number of cycles; None for no further limit.

        Raises:
            UserError: a metric of the target was not measured.
        """
        if self.target is not None:
            self.refuse_other_target(metrics)
            if all(metrics[name] >= value or math.isclose(metrics[name], value, rel_tol=ROUNDING) for name, value in self.target.items()):
                return "the target is reached"
        if any(limit is not None and pool.cycle + 1 >= limit for limit in (self.cycles, most_cycles)):
            return "all cycles are done"
        if self.labels is not None and int(pool.labeled.sum()) >= self.labels:
            return "the label budget is used up"
        if len(pool.candidates):
            return None
        return "nobody can answer for the rest of the pool" if bool(pool.unlabeled.any()) else "the pool is used up"
