"""The experiment: train, evaluate, score the pool, label, start again."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from tqdm import tqdm

from al_lightning import environment, seeds
from al_lightning.acquisition import Strategy, selection
from al_lightning.callbacks.restart import FitRestart, Stage
from al_lightning.callbacks.scoring import PeakMemory, score_batches, shares
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.runs import Labeled, RunDirectory
from al_lightning.tasks import Task

_T = TypeVar("_T")


@dataclass(frozen=True)
class Query:
    """What a cycle chose to label.

    Attributes:
        indices: int64 ``(n,)``, in rank order.
        scores: float64 ``(n,)``, of these.
        pool_scores: float64 ``(N,)``, of every unlabeled item.
        tied_share: share of the pool's ranking keys that another one equals.
        seconds: for scoring and selecting.
        peak_bytes: memory, see :class:`~al_lightning.callbacks.scoring.PeakMemory`.
    """

    indices: Tensor
    scores: Tensor
    pool_scores: Tensor
    tied_share: float
    seconds: float
    peak_bytes: int


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


class ActiveLearningCallback(Callback):
    """Makes one ``fit`` a whole experiment of cycles.

    Each cycle equals a fit in a fresh process on the same labeled set. Other callbacks may define two more hooks:
    ``on_cycle_end(trainer, module, finished)``, and ``on_scoring(trainer, done, total)`` after each scored batch.

    Args:
        strategy: how a query is chosen.
        query_size: items to label in a cycle; the last query takes what is left of the pool or of the budget.
        cycles: number of cycles; None for as many as pool, budget and target allow.
        stride: take every stride-th item of the ranking; 1 takes the top.
        retrain: ``scratch`` draws fresh weights for each cycle; ``warm`` goes on with the last ones (optimizers begin anew in both).
        initial_weights: with ``scratch``, a new draw ``per_cycle``, or the ``same`` weights each cycle.
        query_weights: ``last``, or ``best``: those of a ModelCheckpoint with a monitored metric, evaluated and queried with.
        label_budget: stop when this many items are labeled.
        target: stop when each of these metrics is reached, for example ``{"val/accuracy": 0.85}``.
        keep: checkpoints to keep, of ``all`` cycles, of the ``last`` finished one, or ``none``.
        seed: of weights, batch order, dropout and ties. The command line links it to ``seed_everything``.
        resume: go on with the run in the trainer's ``default_root_dir``.
    """

    def __init__(
        self,
        strategy: Strategy,
        query_size: int,
        cycles: int | None = None,
        stride: int = 1,
        retrain: Literal["scratch", "warm"] = "scratch",
        initial_weights: Literal["per_cycle", "same"] = "per_cycle",
        query_weights: Literal["last", "best"] = "last",
        label_budget: int | None = None,
        target: dict[str, float] | None = None,
        keep: Literal["all", "last", "none"] = "all",
        seed: int = 0,
        resume: bool = False,
    ) -> None:
        for name, value in {"query_size": query_size, "cycles": cycles, "stride": stride, "label_budget": label_budget}.items():
            if value is not None and value < 1:
                raise UserError(f"Expected active_learning.{name} to be at least 1, got {value}.")
        if retrain == "warm" and keep == "none":
            raise UserError(
                "Expected active_learning.keep to be all or last with retrain=warm: a resumed run begins with the last weights."
            )
        self.strategy = strategy
        self.query_size = query_size
        self.cycles = cycles
        self.stride = stride
        self.retrain = retrain
        self.initial_weights = initial_weights
        self.query_weights = query_weights
        self.label_budget = label_budget
        self.target = target
        self.keep = keep
        self.seed = seed
        self.resume = resume
        self._stopped: str | None = None  # why, once it has
        self._validated: tuple[int, dict[str, float]] | None = None  # after how many steps of the cycle, and what came out

    # The experiment

    def _experiment(self, first: Stage, again: Stage) -> None:
        """All cycles, from the current one on."""
        train = first
        while not self._stopped:
            started = time.perf_counter()
            train()
            seconds = time.perf_counter() - started
            self._stop_if_terminated()
            self._settle_weights()
            metrics = self._evaluate()
            self._stopped = self._reason_to_stop(metrics)
            query = None if self._stopped else self._query()
            self._record(metrics, seconds, query)
            if query is not None:
                self.data.pool.label(query.indices)
                self._begin_cycle()
                train = again

    @property
    def cycle(self) -> int:
        """The current cycle."""
        return self.data.pool.cycle

    @property
    def labeled(self) -> int:
        """The current number of labeled items."""
        return int(self.data.pool.labeled.sum())

    def _reason_to_stop(self, metrics: dict[str, float]) -> str | None:
        if self.target is not None:
            if missing := set(self.target) - set(metrics):
                raise UserError(f"Expected active_learning.target to name metrics from {sorted(metrics)}, got {sorted(missing)}.")
            if all(metrics[name] >= value for name, value in self.target.items()):
                return "the target is reached"
        cycles = self.cycles
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            cycles = min(2, cycles or 2)
        if cycles is not None and self.cycle + 1 >= cycles:
            return "all cycles are done"
        if self.label_budget is not None and self.labeled >= self.label_budget:
            return "the label budget is used up"
        return None if bool(self.data.pool.unlabeled.any()) else "the pool is used up"

    def _begin_cycle(self) -> None:
        self.restart.end()
        self._validated = None
        self._clear_cycle_directory()
        self._seed("cycle", self.cycle)
        self.restart.begin(self._draw_weights, str(self.run.cycle(self.cycle)))

    def _draw_weights(self) -> None:
        if self.retrain == "scratch" or self.cycle == 0:
            self.task.draw_weights(seeds.derive(self.seed, "weights", 0 if self.initial_weights == "same" else self.cycle))

    def _seed(self, *purpose: str | int) -> None:
        """Seeds the global generators, so that a cycle's draws don't depend on what came before it."""
        seed_everything(seeds.derive(self.seed, *purpose, self.trainer.global_rank) % 2**32, workers=True, verbose=False)

    def _settle_weights(self) -> None:
        """Loads the best weights, if they are to query, and writes the cycle's checkpoint."""
        if self.query_weights == "best":
            checkpoint = self._best_checkpoint()
            self.task.load_state_dict(torch.load(checkpoint, map_location=self.task.device, weights_only=True)["state_dict"])
            self._validated = None
        if self.keep != "none" and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            path = self.run.checkpoint(self.cycle)
            partial = path.with_name("partial.ckpt")
            self.trainer.save_checkpoint(partial, weights_only=False)
            self._on_rank_zero(lambda: os.replace(partial, path))

    def _best_checkpoint(self) -> str:
        monitoring = [c for c in self.trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor]
        if not monitoring or not monitoring[0].best_model_path:
            raise UserError(
                "Expected a ModelCheckpoint with a monitored metric among trainer.callbacks for active_learning.query_weights=best, "
                f"and at least one checkpoint of it, got {'no checkpoint' if monitoring else 'no such callback'}."
            )
        return monitoring[0].best_model_path

    def _evaluate(self) -> dict[str, float]:
        """Metrics of the weights that query; those of the training's own validation, where it came after the last step."""
        if self._validated is None or self._validated[0] != self.trainer.global_step:
            self.restart.evaluate()
        return self._validated[1] if self._validated else {}

    def _query(self) -> Query:
        started = time.perf_counter()
        memory = PeakMemory(self.data.device)
        indices, keys = self._score_pool()
        if not bool(keys.isfinite().all()):
            names = [self.data.item(int(index)) for index in indices[~keys.isfinite()]]
            raise UserError(
                f"The score of {len(names)} items became NaN or infinite in cycle {self.cycle}, the first of them {', '.join(names[:5])}. "
                "Look at these items; if it is every item, the training diverged: lower the learning rate."
            )
        size = min(self.query_size, len(indices))
        if self.label_budget is not None:
            size = min(size, self.label_budget - self.labeled)
        priority = torch.randperm(len(self.data.pool.labeled), generator=seeds.generator(self.seed, "ties", self.cycle))
        chosen = selection.take(selection.rank(keys, indices, priority), size, self.stride)
        scores = self.strategy.score(keys)
        return Query(
            indices=chosen,
            scores=scores[torch.searchsorted(indices, chosen)],
            pool_scores=scores,
            tied_share=selection.tied_share(keys),
            seconds=time.perf_counter() - started,
            peak_bytes=memory.bytes(),
        )

    def _score_pool(self) -> tuple[Tensor, Tensor]:
        """Sorted indices of the unlabeled items, and their keys; every process scores its share and learns all."""
        trainer, unlabeled = self.trainer, self.data.pool.unlabeled_indices
        share = shares(unlabeled, self.data.eval_batch_size, trainer.world_size)
        done, total = 0, sum(map(len, share[trainer.global_rank]))

        def after_batch(items: int) -> None:
            nonlocal done
            done += items
            self._tell("on_scoring", trainer, done, total)
            self._stop_if_terminated()

        seed = seeds.derive(self.seed, "scoring", self.cycle)
        with self.restart.forward_context():
            indices, keys = score_batches(
                self.strategy, self.task.network, share[trainer.global_rank], self.data.pool_batches, seed, after_batch
            )
        if trainer.world_size > 1:
            longest = max(sum(map(len, batches)) for batches in share)
            mine = torch.full((2, longest), torch.nan, dtype=torch.float64)
            mine[:, : len(indices)] = torch.stack([indices.double(), keys])
            everyone = trainer.strategy.all_gather(mine.to(self.data.device)).cpu().transpose(0, 1).flatten(1)
            indices, keys = everyone[:, ~everyone[0].isnan()]
            indices = indices.long()
        order = indices.argsort()
        return indices[order], keys[order]

    def _record(self, metrics: dict[str, float], seconds: float, query: Query | None) -> None:
        """Makes the cycle a finished one. The row of the learning curve comes last: it says that all before it is there."""
        trainer = self.trainer
        finished = FinishedCycle(
            cycle=self.cycle,
            labeled=self.labeled,
            metrics=metrics,
            epochs=trainer.fit_loop.epoch_progress.current.processed,  # type: ignore[attr-defined]
            train_steps=trainer.global_step,
            train_seconds=seconds,
            logged_steps=self.restart.logged_steps,
            query=query,
        )

        def write() -> None:
            if query is not None:
                self.run.append_queries(self._rows(self.cycle + 1, query.indices, query.scores))
            self.run.append_cycle(_curve_row(finished))
            if self.keep == "last":
                self.run.remove_checkpoint(self.cycle - 1)

        self._on_rank_zero(write)
        self._say(self._line(finished))
        self._tell("on_cycle_end", trainer, trainer.lightning_module, finished)

    def _rows(self, cycle: int, indices: Tensor, scores: Tensor | None = None) -> list[Labeled]:
        return [
            Labeled(cycle, rank, index, self.data.item(index), None if scores is None else float(scores[rank]))
            for rank, index in enumerate(indices.tolist())
        ]

    def _line(self, finished: FinishedCycle) -> str:
        shown = [f"{finished.labeled:,} labeled", *(f"{name} {value:.4f}" for name, value in finished.metrics.items())]
        shown.append(f"{finished.train_seconds:.1f} s training")
        if finished.query is not None:
            shown.append(f"{finished.query.seconds:.1f} s query")
            if self.cycles is not None:
                shown.append(f"about {_clock(self._seconds_left(finished))} left")
        else:
            shown.append(f"{self._stopped}")
        of = "" if self.cycles is None else f"/{self.cycles}"
        return f"cycle {finished.cycle + 1}{of}: " + ", ".join(shown)

    def _seconds_left(self, finished: FinishedCycle) -> float:
        """Training grows with the labeled set; the query costs what it cost."""
        assert self.cycles is not None and finished.query is not None
        later = [finished.labeled + self.query_size * n for n in range(1, self.cycles - finished.cycle)]
        return sum(later) / finished.labeled * finished.train_seconds + finished.query.seconds * len(later)

    # Lightning's hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Opens the run and prepares its current cycle."""
        if stage != "fit":
            return
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(pl_module, Task) or not isinstance(datamodule, PoolDataModule):
            raise UserError(
                f"Expected a Task and a PoolDataModule for active learning, got {type(pl_module).__name__} and {type(datamodule).__name__}."
            )
        if trainer.ckpt_path is not None:
            raise UserError("Expected no ckpt_path: an experiment goes on from its run directory, with resume=True.")
        self.trainer, self.task, self.data = trainer, pl_module, datamodule
        self.run = RunDirectory(trainer.default_root_dir)
        self.restart = FitRestart(trainer, self)
        self._stopped = self._validated = None
        self._logged_steps = self._open_run()
        self._clear_cycle_directory()
        self._seed("cycle", self.cycle)
        self._draw_weights()
        self.restart.aim_checkpoints(str(self.run.cycle(self.cycle)))
        self.restart.replace_stage(self._experiment)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers the optimizers as they were made."""
        self.restart.remember_optimizers()
        self.restart.logged_steps = self._logged_steps

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds what is random in an epoch: dropout and augmentation."""
        self._seed("epoch", self.cycle, trainer.current_epoch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the metrics of the current weights."""
        if not trainer.sanity_checking:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
            self._validated = (trainer.global_step, dict(sorted(metrics.items())))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives the trainer its own stage back."""
        if hasattr(self, "restart"):
            self.restart.restore_stage()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gives the trainer its own stage back."""
        if stage == "fit":
            self.restart.restore_stage()

    # The run directory

    def _open_run(self) -> int:
        """Starts a run, or brings the pool to where the run is; returns the training steps of its finished cycles."""
        cycles, labeled = self._on_rank_zero(self._start_or_recover)
        for cycle in range(1, max((row.cycle for row in labeled), default=0) + 1):
            self.data.pool.label(torch.tensor([row.index for row in labeled if row.cycle == cycle]))
        if cycles and self.cycle < len(cycles):  # the last finished cycle made no query
            last = cycles[-1]
            self._stopped = self._reason_to_stop({name: float(value) for name, value in last.items() if name.startswith("val/")})
            if self._stopped is None:
                raise UserError(f"Expected a query after cycle {last['cycle']} in {self.run.queries}, but its rows are missing.")
            self._say(f"The run in {self.run.path} is complete: {self._stopped}.")
        elif cycles and self.retrain == "warm":
            self._load_warm_weights(len(cycles) - 1)
        return sum(int(cycle["train_steps"]) for cycle in cycles)

    def _start_or_recover(self) -> tuple[list[dict[str, str]], list[Labeled]]:
        data = self.data.fingerprint()
        cycles: list[dict[str, str]] = []
        labeled: list[Labeled] = []
        if not self.resume:
            self.run.refuse_run()
        if self.run.holds_run():
            known = self.run.read_environment()
            _refuse_other_data(known["data"], data)
            cycles, labeled = self.run.recover()
            known["resumed"] = [*known.get("resumed", []), environment.describe(self.data.device, self.trainer.world_size)]
            self.run.write_environment(known)
        else:
            description = environment.describe(self.data.device, self.trainer.world_size)
            self.run.write_environment({**description, "seed": self.seed, "data": data})
        initial = self.data.pool.labeled_indices
        if not labeled:
            self.run.append_queries(self._rows(0, initial))
        elif {row.index for row in labeled if row.cycle == 0} != set(initial.tolist()):
            raise UserError(f"Expected the initial set of {self.run.queries}, but this configuration and data draw another one.")
        return cycles, labeled

    def _load_warm_weights(self, cycle: int) -> None:
        path = self.run.checkpoint(cycle)
        if not path.is_file():
            raise UserError(f"Expected {path} to go on with its weights (retrain=warm), but it is missing.")
        self.task.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])

    def _clear_cycle_directory(self) -> None:
        """Removes what a killed process left of the cycle that now begins."""
        if self._stopped is None:
            self._on_rank_zero(lambda: shutil.rmtree(self.run.cycle(self.cycle), ignore_errors=True))

    # Processes and callbacks

    def _on_rank_zero(self, work: Callable[[], _T]) -> _T:
        """Does something in the first process; its result, or its error, is every process's."""
        outcome: Any = None
        if self.trainer.is_global_zero:
            try:
                outcome = work()
            except UserError as error:
                outcome = error
        outcome = self.trainer.strategy.broadcast(outcome)
        if isinstance(outcome, UserError):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    def _say(self, line: str) -> None:
        if self.trainer.is_global_zero:
            tqdm.write(line)  # above any progress bar

    def _stop_if_terminated(self) -> None:
        if self.trainer.received_sigterm:
            raise SIGTERMException

    def _tell(self, hook: str, *arguments: Any) -> None:
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, hook):
                getattr(callback, hook)(*arguments)


def _curve_row(finished: FinishedCycle) -> dict[str, Any]:
    return {
        "cycle": finished.cycle,
        "labeled": finished.labeled,
        **finished.metrics,
        "epochs": finished.epochs,
        "train_steps": finished.train_steps,
        "train_seconds": finished.train_seconds,
        "query_seconds": finished.query.seconds if finished.query else None,
        "query_peak_bytes": finished.query.peak_bytes if finished.query else None,
    }


def _refuse_other_data(then: dict[str, int | str], now: dict[str, int | str]) -> None:
    if then != now:
        changed = ", ".join(
            f"{key} was {then.get(key)} and is {now.get(key)}" for key in sorted({*then, *now}) if then.get(key) != now.get(key)
        )
        raise UserError(f"Expected the data that this run was started with, but it changed: {changed}.")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
