"""The run directory as the experiment uses it: the first process reads and writes it, and tells the others."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import yaml
from lightning.pytorch import Trainer
from torch import Tensor, nn

from al_lightning import environment
from al_lightning import settings as names
from al_lightning.callbacks.beginning import Beginning, Opened
from al_lightning.callbacks.cycle import FinishedCycle, Query
from al_lightning.callbacks.data_record import DataRecord
from al_lightning.callbacks.first_process import in_first
from al_lightning.callbacks.oracles import Oracle
from al_lightning.callbacks.recovery import finished_part
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.files import move_to_disk
from al_lightning.run_files import INITIAL, MADE_IN_PYTHON
from al_lightning.run_tables import CycleRow, Labeled, indices_by_cycle
from al_lightning.runs import RunDirectory
from al_lightning.states import reading, refuse_other_weights, tensors_in, unpickled
from al_lightning.tasks import Task

_T = TypeVar("_T")
Choice = Callable[[], tuple[Tensor, Tensor]]
"""Chooses items; returns their indices ``(n,)`` and their scores ``(n,)``, the first choice first."""
MARKED_BY = "ActiveLearningCallback"  # the callback whose state in a checkpoint names the checkpoint's run and cycle


class RunRecord:
    """Reads and writes a run for a trainer.

    Args:
        trainer: its ``default_root_dir`` is the run directory.
        data: the data module, set up, with the initial set labeled, if anything has a label.
        oracle: labels what is queried.
        run: the directory, if the caller already holds it and has written its configuration; None in a Python script.

    Attributes:
        script: whether a Python script makes the run, so that this object holds the directory and writes its configuration.
        data_record: the run's record of its data.
        beginning: what is done before the first cycle is finished.
        waiting: a sentence that asks a person to do something before the run can continue; None if it waits for nobody.
        id: identifies this run's checkpoints; None if the run was begun by a version that had no such ids.
    """

    def __init__(self, trainer: Trainer, data: PoolDataModule, oracle: Oracle, run: RunDirectory | None = None) -> None:
        self.trainer = trainer
        self.data = data
        self.oracle = oracle
        self.script = run is None
        self.run = run or RunDirectory(trainer.default_root_dir)
        self.data_record = DataRecord(self.run, data)
        self.beginning = Beginning(self.run, data, oracle, self.data_record)
        self.id: str | None = None
        self.waiting: str | None = None

    def open(self, seed: int, resume: bool, initial_run: RunDirectory | None = None, choose: Choice | None = None) -> list[CycleRow]:
        """Starts a run, or labels in the pool what an earlier process of the run has labeled.

        Args:
            seed: the experiment's seed, to be recorded.
            resume: whether the directory may already hold a run.
            initial_run: the run whose initial set is taken; None for the one that the data module has drawn.
            choose: chooses the initial set in place of the data module's draw; called in the first process, when the run begins.

        Returns:
            The rows of the run's finished cycles.

        Raises:
            UserError: the directory already holds a run, the run to resume does not fit, or the initial run has other data.
        """
        begin = self._choice_of(initial_run, choose)
        opened = self.on_rank_zero(lambda: self._start_or_go_on(seed, resume, initial_run, begin))
        self.id, self.waiting = opened.id, opened.waiting
        if opened.evaluation is not None:
            self.data.evaluate_on([row.index for row in opened.evaluation])
        self.oracle.prepare(self.data)
        for cycle, indices in indices_by_cycle(opened.labeled).items():
            if cycle > 0:
                self.data.pool.label(torch.tensor(indices))
            elif begin is not None:
                self.data.pool.begin_with(torch.tensor(indices))
        return opened.cycles

    def describe(self, settings: str) -> None:
        """Writes the configuration of a script's run, before :meth:`open`; if there is a run, makes sure that it has the same one.

        Args:
            settings: the configuration, in YAML.

        Raises:
            UserError: the run in the directory has another configuration.
        """

        def write() -> None:
            self.run.hold()
            if not self.run.holds_run():
                return self.run.write_config(settings)
            stored = self.run.read_config() if self.run.config.is_file() else {}
            then, now = names.flat(stored), names.flat(yaml.safe_load(settings))
            renewed = names.renewed(then, now, weights_known=False)
            changed = names.differences(then, now, renewed)
            if changed and stored.get(MADE_IN_PYTHON):  # a configuration of the command `fit` has settings that a script's lacks
                raise UserError(f"Expected the settings of the run in {self.run.config}, but this script's differ: {'; '.join(changed)}.")
            return self.run.follow(now) if renewed and stored.get(MADE_IN_PYTHON) else None  # a configuration of `fit` stays one

        self.on_rank_zero(write)

    def begin(self, cycle: int, keep: Sequence[str] = ()) -> str:
        """Removes what a killed process left of a cycle that now begins, and records the labels that the cycle will read.

        Args:
            cycle: its number.
            keep: files from which the cycle continues, relative to its directory.

        Returns:
            The cycle's directory. If it exists, the cycle has begun.

        Raises:
            UserError: one of these labels can't be read.
        """
        directory = self.run.cycle(cycle)

        def remove() -> None:
            if not keep:
                shutil.rmtree(directory, ignore_errors=True)
            for path in directory.rglob("*"):
                if not path.is_dir() and str(path.relative_to(directory)) not in keep:
                    path.unlink()
            directory.mkdir(parents=True, exist_ok=True)
            self.data_record.begin(cycle)

        self.on_rank_zero(remove)
        return str(directory)

    def settle(self, complete: bool = False, cycles: int | None = None, labels: int | None = None) -> None:
        """Writes new places of files and a new budget into the run's configuration, after nothing was found wrong.

        Args:
            complete: whether the run has ended. If it has gone beyond the new budget, that is not written.
            cycles: the number of cycles of the new budget.
            labels: its number of labels.
        """
        self.on_rank_zero(lambda: self.run.settle(not complete or not self.run.has_gone_beyond(cycles, labels)))

    def reopen(self, cycle: int) -> None:
        """Removes the row and the files of the last finished cycle, which made no query, so that it is done again."""
        self.on_rank_zero(lambda: self.run.remove_cycle(cycle))
        self.begin(cycle)

    def forget_training(self, cycle: int) -> None:
        """Removes the checkpoint within a cycle's training, so that the cycle begins anew when the run goes on."""
        if self.trainer.is_global_zero:
            self.run.training(cycle).unlink(missing_ok=True)

    def mark(self) -> dict[str, Any]:
        """What is written into each checkpoint: the run and cycle that it belongs to."""
        return {} if self.id is None else {"run": self.id, "cycle": self.data.pool.cycle}

    def save_checkpoint(self, cycle: int) -> None:
        """Writes the cycle's checkpoint."""
        path = self.run.checkpoint(cycle)
        partial = self.on_rank_zero(lambda: path.with_name(f"partial-{os.getpid()}.ckpt"))
        try:
            self.trainer.save_checkpoint(partial, weights_only=False)
            self.on_rank_zero(lambda: move_to_disk(partial, path))
        finally:
            if self.trainer.is_global_zero:
                partial.unlink(missing_ok=True)

    def weights(self, cycle: int) -> dict[str, Tensor]:
        """The module's state in a cycle's checkpoint.

        Raises:
            UserError: the checkpoint is missing, or belongs to another run or cycle.
        """
        path = self.run.checkpoint(cycle)
        if not path.is_file():
            raise UserError(f"Expected {path} to go on with its weights (retrain=warm), but it is missing.")
        return marked_weights(path, self.id, cycle, self.trainer.lightning_module)

    def finish(self, finished: FinishedCycle, keep_earlier: bool) -> Tensor | None:
        """Records a cycle as finished. The row of the learning curve is written last: it says that all other files are there.

        Args:
            finished: the cycle.
            keep_earlier: whether the checkpoint of the cycle before stays.

        Returns:
            Indices ``(n,)`` of the items that are labeled now; None if the cycle made no query, or the run waits for labels.
        """

        def write() -> tuple[Tensor | None, str | None]:
            answer = None if finished.query is None else self._ask(finished.cycle, finished.query)
            self.run.append_cycle(finished.row())
            self.run.training(finished.cycle).unlink(missing_ok=True)
            if not keep_earlier:
                self.run.checkpoint(finished.cycle - 1).unlink(missing_ok=True)
            waits = finished.query is not None and answer is None
            return answer, self.oracle.request(self.run, self.data, self.run.awaited()) if waits else None

        answer, self.waiting = self.on_rank_zero(write)
        return answer

    def _ask(self, cycle: int, query: Query) -> Tensor | None:
        """Has the oracle answer a query; returns the indices of the labeled items, or None if the run has to wait."""
        if query.recorded:
            self._write_scores(cycle, query)
        asked = self._rows(cycle + 1, query.indices, query.scores)
        if drawn := {*query.at_random.tolist()}:
            self.run.write_random(cycle, asked, drawn)
        self.oracle.ask(self.run, self.data, asked, cast(Task, self.trainer.lightning_module).network)
        answered: list[Labeled] = []
        with suppress(UserError):  # a person's wrong label is reported when the run is resumed: this cycle is not lost
            answered = self.oracle.answer(self.data, asked)
        if not answered:
            return None
        self.run.append_queries(answered)
        indices = torch.tensor([row.index for row in answered])
        self.data_record.finish(cycle, indices)
        return indices

    def asked_again(self, cycle: int, most: int) -> tuple[list[int], list[int]]:
        """The items of the last query that are not labeled yet and stay asked for, and those of them that were drawn at random.

        Args:
            cycle: the current cycle.
            most: how many items may stay asked for; the others go back into the pool.
        """

        def read() -> tuple[list[int], list[int]]:
            asked = self.run.still_asked(cycle - 1 if cycle else INITIAL)
            again = [index for index in asked if self.data.pool.unlabeled[index]][:most]  # others may be held out for evaluation
            return again, sorted(self.run.read_random(cycle - 1) & {*again} if cycle else [])

        return self.on_rank_zero(read)

    def _write_scores(self, cycle: int, query: Query) -> None:
        items = [self.data.item(index) for index in query.pool_indices.tolist()]
        own = {} if query.pool_scores is None else {"score": query.pool_scores}
        scores = {name: values.tolist() for name, values in (own | query.recorded).items()}
        self.run.write_scores(cycle, query.pool_indices.tolist(), items, scores)

    def close(self) -> None:
        """Lets other processes write into the run."""
        self.run.release()

    def _start_or_go_on(
        self, seed: int, resume: bool, initial_run: RunDirectory | None, begin: Callable[[], list[Labeled]] | None
    ) -> Opened:
        run = self.run
        run.hold()
        if not resume:
            run.refuse_run(self.script)
        here = environment.describe(self.data.device, self.trainer.world_size)
        if run.has_begun():
            self.data_record.refuse_other_images(run, "the run")
        cycles, labeled = finished_part(run, len(self.data.pool.labeled), self.data.item)
        if not cycles:
            if not run.has_begun():
                run.settle()
            return self.beginning.begin(here | {"seed": seed}, resume, initial_run, begin)
        known = run.read_environment()
        if begin is None:
            self.beginning.refuse_other_draw(labeled)
        self.data_record.refuse_other_labels(run, "the run", labeled, len(cycles))
        self.data_record.take_in_added()
        run.keep_rows(len(cycles), len(labeled))
        for cycle in range(len(cycles)):
            run.training(cycle).unlink(missing_ok=True)
        run.write_environment({**known, "resumed": [*known.get("resumed", []), here]})
        asked = run.awaited()
        answered = self.oracle.answer(self.data, asked) if asked else []
        if answered:
            run.append_answers(answered)
        self.data_record.go_on([*labeled, *answered], len(cycles))
        self.oracle.mention(self.data, [*labeled, *run.read_asked()])
        waiting = self.oracle.request(run, self.data, asked) if asked and not answered else None
        return Opened(known.get("run"), cycles, [*labeled, *answered], waiting)

    def _choice_of(self, initial_run: RunDirectory | None, choose: Choice | None) -> Callable[[], list[Labeled]] | None:
        """The function that makes the rows of an initial set that the data module has not drawn; None if the data module has drawn it."""
        if initial_run is not None:
            return lambda: self.beginning.initial_set_of(initial_run)
        return None if choose is None else lambda: self._rows(0, *choose())

    def _rows(self, cycle: int, indices: Tensor, scores: Tensor) -> list[Labeled]:
        return self.beginning.rows(cycle, indices.tolist(), scores.tolist())

    def on_rank_zero(self, work: Callable[[], _T]) -> _T:
        """Does some work in the first process, see :func:`in_first`."""
        return in_first(self.trainer, work)


def marked_weights(path: Path, run: str | None, cycle: int, module: nn.Module) -> dict[str, Tensor]:
    """The state of a module in a checkpoint, on the CPU.

    Args:
        path: the checkpoint.
        run: id of the run that the checkpoint must belong to; None if the run has none.
        cycle: the cycle that it must belong to.
        module: the module that the state must fit.

    Raises:
        UserError: the checkpoint is missing or damaged, or belongs to another run, cycle or module.
    """
    with reading(path, "a checkpoint"):
        content = unpickled(path)
        state = tensors_in(content)
        mark = dict(content.get("callbacks", {}).get(MARKED_BY, {}))
    if mark != ({} if run is None else {"run": run, "cycle": cycle}):
        whose = "another run" if mark.get("run") != run else "its run"
        raise UserError(
            f"Expected {path} to be the checkpoint of cycle {cycle} of its run, but it is of cycle {mark.get('cycle', '?')} of {whose}. "
            "Put the right one back."
        )
    refuse_other_weights(state, module, path)
    return state
