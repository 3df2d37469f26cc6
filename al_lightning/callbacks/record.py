"""The run directory as the experiment uses it: opened by the first process, known to all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from al_lightning import environment
from al_lightning.callbacks.cycle import FinishedCycle, Query
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.runs import Labeled, RunDirectory

_T = TypeVar("_T")


class RunRecord:
    """Reads and writes a run for a trainer.

    Args:
        trainer: its ``default_root_dir`` is the run directory.
        data: set up, with the initial set labeled.
    """

    def __init__(self, trainer: Trainer, data: PoolDataModule) -> None:
        self.trainer = trainer
        self.data = data
        self.run = RunDirectory(trainer.default_root_dir)
        self._began = False

    def open(self, seed: int, resume: bool, initial_run: RunDirectory | None = None) -> list[dict[str, str]]:
        """Starts a run, or brings the pool to where the run is.

        Args:
            seed: for the record of the environment.
            resume: whether a run may be there already.
            initial_run: whose initial set is taken; None for the one that the data module has drawn.

        Returns:
            The rows of its finished cycles.

        Raises:
            UserError: there is a run already, the one to resume does not fit, or the one to begin with has other data.
        """
        cycles, labeled = self._on_rank_zero(lambda: self._start_or_recover(seed, resume, initial_run))
        if initial_run is not None:
            self.data.pool.begin_with(torch.tensor([row.index for row in labeled if row.cycle == 0]))
        for cycle in range(1, max((row.cycle for row in labeled), default=0) + 1):
            self.data.pool.label(torch.tensor([row.index for row in labeled if row.cycle == cycle]))
        return cycles

    def discard_start(self) -> None:
        """Removes the run that this process began, if it has not finished a cycle."""
        if self._began and self.trainer.is_global_zero and not self.run.learning_curve.exists():
            self.run.queries.unlink(missing_ok=True)
            self.run.environment.unlink(missing_ok=True)
            self.run.crops.unlink(missing_ok=True)

    def clear(self, cycle: int) -> str:
        """Removes what a killed process left of a cycle that now begins; returns the cycle's directory."""
        directory = self.run.cycle(cycle)
        self._on_rank_zero(lambda: shutil.rmtree(directory, ignore_errors=True))
        return str(directory)

    def save_checkpoint(self, cycle: int) -> None:
        """Writes the cycle's checkpoint."""
        path = self.run.checkpoint(cycle)
        partial = path.with_name("partial.ckpt")
        self.trainer.save_checkpoint(partial, weights_only=False)
        self._on_rank_zero(lambda: os.replace(partial, path))

    def weights(self, cycle: int) -> dict[str, Any]:
        """The module's state in a cycle's checkpoint.

        Raises:
            UserError: it is missing.
        """
        path = self.run.checkpoint(cycle)
        if not path.is_file():
            raise UserError(f"Expected {path} to go on with its weights (retrain=warm), but it is missing.")
        return load_weights(path)

    def finish(self, finished: FinishedCycle, keep_earlier: bool) -> None:
        """Makes a cycle a finished one. The row of the learning curve comes last: it says that all before it is there."""

        def write() -> None:
            if finished.query is not None:
                if finished.query.recorded:
                    self._write_scores(finished.cycle, finished.query)
                self.run.append_queries(self._rows(finished.cycle + 1, finished.query.indices, finished.query.scores))
            self.run.append_cycle(finished.row())
            if not keep_earlier:
                self.run.checkpoint(finished.cycle - 1).unlink(missing_ok=True)

        self._on_rank_zero(write)

    def _write_scores(self, cycle: int, query: Query) -> None:
        items = [self.data.item(index) for index in query.pool_indices.tolist()]
        scores = {"score": query.pool_scores.tolist()} | {name: values.tolist() for name, values in query.recorded.items()}
        self.run.write_scores(cycle, query.pool_indices.tolist(), items, scores)

    def close(self) -> None:
        """Lets other processes write into the run."""
        self.run.release()

    def _start_or_recover(self, seed: int, resume: bool, initial_run: RunDirectory | None) -> tuple[list[dict[str, str]], list[Labeled]]:
        self.run.hold()
        here = environment.describe(self.data.device, self.trainer.world_size)
        data = self.data.fingerprint()
        cycles: list[dict[str, str]] = []
        labeled: list[Labeled] = []
        if not resume:
            self.run.refuse_run()
        if self.run.holds_run():
            known = self.run.read_environment()
            _refuse_other_data(f"the run in {self.run.path}", known["data"], data)
            cycles, labeled = self.run.recover()
            self.run.write_environment({**known, "resumed": [*known.get("resumed", []), here]})
        else:
            self._began = True
            self.run.write_environment({**here, "seed": seed, "data": data})
            if (boxes := self.data.boxes()) is not None:
                self.run.write_crops([self.data.item(index) for index in range(len(boxes))], boxes)
        if not labeled:
            labeled = self._rows(0, self.data.pool.labeled_indices) if initial_run is None else _initial_set(initial_run, data)
            self.run.append_queries(labeled)
        elif initial_run is None and {row.index for row in labeled if row.cycle == 0} != set(self.data.pool.labeled_indices.tolist()):
            raise UserError(f"Expected the initial set of {self.run.queries}, but this configuration and data draw another one.")
        return cycles, labeled

    def _rows(self, cycle: int, indices: Tensor, scores: Tensor | None = None) -> list[Labeled]:
        values = [None] * len(indices) if scores is None else scores.tolist()
        ranked = enumerate(zip(indices.tolist(), values, strict=True))
        return [Labeled(cycle, rank, index, self.data.item(index), score) for rank, (index, score) in ranked]

    def _on_rank_zero(self, work: Callable[[], _T]) -> _T:
        """Does something in the first process; its result, or its error, is every process's."""
        outcome: Any = None
        if self.trainer.is_global_zero:
            try:
                outcome = work()
            except (UserError, OSError) as error:
                outcome = error
        outcome = self.trainer.strategy.broadcast(outcome)
        if isinstance(outcome, UserError | OSError):
            raise outcome
        return outcome  # type: ignore[no-any-return]


def load_weights(path: str | Path) -> dict[str, Any]:
    """The module's state in a checkpoint, on the CPU."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return state


def _initial_set(run: RunDirectory, data: dict[str, int | str]) -> list[Labeled]:
    """The initial set of another run on the same data."""
    _refuse_other_data(f"the initial run {run.path}", run.read_environment()["data"], data)
    return [row for row in run.read_queries() if row.cycle == 0]


def _refuse_other_data(whose: str, then: dict[str, int | str], now: dict[str, int | str]) -> None:
    keys = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    if keys:
        changed = ", ".join(f"{key} was {then.get(key)} and is {now.get(key)}" for key in keys)
        raise UserError(f"Expected the data that {whose} was started with, but it changed: {changed}.")
