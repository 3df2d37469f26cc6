"""What a run begins with: its own evaluation set, if any, and its initial set. Drawn, chosen, taken from another run, or asked for."""

import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from al_lightning.callbacks.configured import configured
from al_lightning.callbacks.data_record import DataRecord
from al_lightning.callbacks.oracles import Oracle
from al_lightning.callbacks.recovery import wrong_rows
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.run_files import EVALUATION_FIRST, INITIAL
from al_lightning.run_tables import CycleRow, Labeled
from al_lightning.runs import RunDirectory

Rows = Callable[[], list[Labeled]]


@dataclass(frozen=True)
class Opened:
    """The state of a run that was opened, as all processes know it.

    Attributes:
        id: identifies the run's checkpoints; None if the run was begun by a version that had no such ids.
        cycles: rows of the finished cycles.
        labeled: the items that are labeled after these cycles.
        waiting: a sentence that asks a person to do something first; None if the run waits for nobody.
        evaluation: the pool's items that the run evaluates on; None if it uses the data's own evaluation set.
    """

    id: str | None
    cycles: list[CycleRow]
    labeled: list[Labeled]
    waiting: str | None = None
    evaluation: list[Labeled] | None = None


class Beginning:
    """A run before its first finished cycle; for the first process only.

    Args:
        run: the run directory, held by this process.
        data: the data module, set up.
        oracle: asked for labels that the data don't have.
        data_record: the run's record of its data.
    """

    def __init__(self, run: RunDirectory, data: PoolDataModule, oracle: Oracle, data_record: DataRecord) -> None:
        self.run, self.data, self.oracle, self.data_record = run, data, oracle, data_record

    def begin(self, here: dict[str, Any], resume: bool, initial_run: RunDirectory | None, choose: Rows | None) -> Opened:
        """Begins a run, or continues a start that was killed, or that waited for a person's labels.

        Args:
            here: the environment (versions, device, ...) to be recorded.
            resume: whether a start that was killed may be continued.
            initial_run: its evaluation set is taken, if it has drawn one.
            choose: makes the rows of an initial set that the data module has not drawn; if nothing is labeled, those of the items to ask
                for.

        Raises:
            UserError: the items that were asked for are not in these data, or an answer is no label.
        """
        asks = initial_run is None and not bool(self.data.pool.labeled.any())
        if self.run.has_begun():
            known = self.run.read_environment()
            begun = self.run.read_queries() if self.run.queries.is_file() else []
            if begun and not asks and choose is None:
                self.refuse_other_draw(begun)
            self.data_record.take_in_added()
            # Cycle 0 is done again, after a crash or as the run goes further: what it made is removed, what it began with stays.
            self.run.keep_rows(0, sum(row.cycle == 0 for row in begun))
            self.run.write_environment({**known, "resumed": [*known.get("resumed", []), here]})
            id = known.get("run")
        else:
            drawn = [] if asks else self.rows(0, self.data.pool.labeled_indices.tolist()) if choose is None else choose()
            id = self._start(drawn, here, resume)
        evaluation = self._evaluation(initial_run)
        if evaluation is None:
            return Opened(id, [], [], self.oracle.request(self.run, self.data, self.run.awaited()))
        self.data.evaluate_on([row.index for row in evaluation])
        labeled = self._initial_set(choose if asks else None)
        if not labeled:
            return Opened(id, [], [], self.oracle.request(self.run, self.data, self.run.awaited()))
        return Opened(id, [], labeled, evaluation=self.run.read_evaluation() or None)

    def _evaluation(self, initial_run: RunDirectory | None) -> list[Labeled] | None:
        """The items that the run takes out of its pool to evaluate on, maybe none; None if a person still has to label them."""
        if found := self.run.read_evaluation():
            return found
        if initial_run is not None and (found := initial_run.read_evaluation()):
            self.run.write_evaluation(found)
            return found
        asked = self.run.read_asked_by(EVALUATION_FIRST)
        if not asked and self.data.evaluated:
            asked = self.rows(EVALUATION_FIRST + 1, self.data.evaluated)
            self.oracle.ask(self.run, self.data, asked, None)
        answered = self.oracle.answer(self.data, asked) if asked else []
        if answered:
            self.run.write_evaluation(answered)
        return answered if answered or not asked else None

    def _initial_set(self, choose: Rows | None) -> list[Labeled]:
        """The initial set; empty if a person still has to label it.

        Args:
            choose: makes the rows of the items to ask for; None if the initial set is known.
        """
        if choose is None or (self.run.queries.is_file() and self.run.read_queries()):
            return self.run.read_queries()
        if not (asked := self.run.read_asked_by(INITIAL)):
            asked = choose()
            self.data.evaluation_among([row.index for row in asked])  # raises if no evaluation set can be held out of these
            self.oracle.ask(self.run, self.data, asked, None)
        if not (answered := self.oracle.answer(self.data, asked)):
            return []
        if not (held := self.run.read_evaluation()):
            share = {*self.data.evaluation_among([row.index for row in answered])}
            if held := _ranked([row for row in answered if row.index in share]):
                self.run.write_evaluation(held)
        apart = {row.index for row in held}
        answered = _ranked([row for row in answered if row.index not in apart])
        self.run.append_answers(answered)
        return answered

    def _start(self, drawn: list[Labeled], here: dict[str, Any], resume: bool) -> str:
        """Begins a run and returns its id, which is that of a start that was killed in cycle 0, if this is the same run."""
        run = self.run
        identity = {"data": self.data.fingerprint(), **configured(run)}
        known = self._unfinished_start(drawn) if resume else {}
        same = "run" in known and identity == {key: known.get(key) for key in identity}
        id: str = known["run"] if same else uuid.uuid4().hex
        begun = {"run": id, **here, **identity, "evaluation": self.data.evaluation_size}
        run.write_environment(known | {"resumed": [*known.get("resumed", []), here]} if same else begun)
        for left in (run.learning_curve, run.queries, run.evaluation):
            left.unlink(missing_ok=True)
        if not same:
            self.data_record.discard()
        self.data_record.start()
        if drawn:
            run.append_queries(drawn)
        return id

    def _unfinished_start(self, drawn: list[Labeled]) -> dict[str, Any]:
        """The recorded environment of a start that finished no cycle and had the same initial set; empty if there was none."""
        try:
            return self.run.read_environment() if self.run.read_queries() == drawn else {}
        except UserError:  # its files are incomplete, and nothing is lost with them
            return {}

    def initial_set_of(self, initial_run: RunDirectory) -> list[Labeled]:
        """The initial set of another run.

        Raises:
            UserError: that run's cycle 0 was trained or evaluated on other data than these, its tables were changed, or its initial set
                is not all in this pool, or not what the data module was told to begin with.
        """
        self.data_record.refuse_other_images(initial_run, "the initial run")
        rows = [row for row in initial_run.read_labeled()[1] if row.cycle == 0]
        if problem := wrong_rows(rows, len(self.data.pool.labeled), self.data.item):
            raise UserError(f"{problem} The table in the initial run {initial_run.path} was changed, so no run can begin with it.")
        pool = self.data.pool.labeled | self.data.pool.unlabeled
        if outside := [row.item for row in rows if not pool[row.index]]:
            raise UserError(
                f"Expected the initial set of the initial run {initial_run.path} to be in this run's pool, but {len(outside)} of its items "
                f"are not, {outside[0]} among them. If pool_size draws the pool, it does so by the seed: give all runs, that one too, the "
                "same data.init_args.pool_seed."
            )
        if self.data.initial_items is not None and {row.index for row in rows} != {*self.data.pool.labeled_indices.tolist()}:
            raise UserError(
                f"Expected the items of {self.data.initial_items} in the initial set of the initial run {initial_run.path}, but it has "
                "others. Leave out data.init_args.initial_items, or active_learning.initial_run."
            )
        self.data_record.refuse_other_labels(initial_run, "the initial run", rows, 1)
        return rows

    def refuse_other_draw(self, labeled: Sequence[Labeled]) -> None:
        """Makes sure that the data module has drawn the run's initial set.

        Raises:
            UserError: it has drawn another one.
        """
        if {row.index for row in labeled if row.cycle == 0} != {*self.data.pool.labeled_indices.tolist()}:
            raise UserError(f"Expected the initial set of {self.run.queries}, but this configuration and data draw another one.")

    def rows(self, cycle: int, indices: Sequence[int], scores: Sequence[float] | None = None) -> list[Labeled]:
        """Table rows of items, ranked as they come.

        Args:
            cycle: the cycle whose training set they first join.
            indices: ``(n,)``, the items.
            scores: ``(n,)``, NaN for an item without a score; None if no item has one.
        """
        values = [None] * len(indices) if scores is None else [None if math.isnan(score) else score for score in scores]
        return [
            Labeled(cycle, rank, index, self.data.item(index), score)
            for rank, (index, score) in enumerate(zip(indices, values, strict=True))
        ]


def _ranked(rows: Sequence[Labeled]) -> list[Labeled]:
    return [replace(row, rank=rank) for rank, row in enumerate(rows)]
