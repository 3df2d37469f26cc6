"""The experiment: train, evaluate, score the pool, label, start again."""

import copy
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from tqdm import tqdm

from al_lightning import seeds
from al_lightning.acquisition import Aggregation, Strategy, selection
from al_lightning.annotation.package import PLAIN, Tool
from al_lightning.callbacks.budget import Budget
from al_lightning.callbacks.control import Control
from al_lightning.callbacks.cycle import FinishedCycle, Query
from al_lightning.callbacks.evaluation import Evaluation
from al_lightning.callbacks.initial import first_choice, refuse_initial, refuse_no_query
from al_lightning.callbacks.interim import Interim
from al_lightning.callbacks.oracles import DatasetOracle, HumanOracle, Oracle
from al_lightning.callbacks.querying import Wanted, query_pool, refuse_recorded, refuse_stride, refuse_unfit
from al_lightning.callbacks.record import MARKED_BY, RunRecord
from al_lightning.callbacks.refused import parts_of, refuse_callbacks, refuse_plugins, refuse_unkept
from al_lightning.callbacks.restart import FitRestart, Stage
from al_lightning.callbacks.script_settings import settings_of
from al_lightning.callbacks.weights import best_weights, refuse_no_best, refuse_reopening, refuse_used, weights_of_cycle_0
from al_lightning.errors import UserError
from al_lightning.layer_settings import LayerSettings, unchanged
from al_lightning.numbers import NonNegativeFloat, NonNegativeInt, PositiveInt, Share, checked
from al_lightning.refusals import WaitsForLabels
from al_lightning.run_tables import CycleRow
from al_lightning.runs import RunDirectory

_EPOCHS_FIRST = (
    "WARNING: training ended with trainer.max_epochs={}, after {} steps, and not with trainer.max_steps={}. Set max_epochs to -1 to train "
    "for all of them."
)
_WAITS = "it waits for labels"


class ActiveLearningCallback(Callback):
    """Turns one ``fit`` into a whole experiment of cycles.

    Each cycle equals a fit in a fresh process on the same labeled set. Other callbacks may define five more hooks:

    - ``on_scoring(trainer, done, total)``: after each scored batch;
    - ``on_choosing(trainer)``: after the last batch, if the strategy chooses a query as a whole;
    - ``on_query(trainer, module, query)``: before the cycle is finished, so that a finished cycle has everything that this hook makes;
    - ``on_cycle_end(trainer, module, finished)``: after the cycle is finished;
    - ``on_resume(trainer, module)``: once, when a run with finished cycles is resumed, to make up for what a killed process did not do.

    Args:
        strategy: chooses the items of each query.
        query_size: number of items to label in a cycle; the last query takes what is left of the pool or of the budget. A list has one
            for each cycle, and its last one repeats: after 5 initial items, ``[5, 10, 20]`` doubles the labels three times, then adds 20.
        cycles: number of cycles; None for as many as pool, budget and target allow.
        stride: take every stride-th item of the ranking; 1 takes the top items. A list has a stride for each cycle, and its last one
            repeats: ``[32, 8, 1]`` is diverse early and greedy late.
        initial_run: take cycle 0 from the run in this directory: its initial set and its weights, which are not trained again. That run
            must have the same data and model, and its checkpoint of cycle 0. Its seed may differ: from cycle 1 on, this run's seed is used.
        initial_strategy: chooses the items of cycle 0 from the whole pool, as many as the data module would draw; None for that draw. It
            may be any strategy that needs no trained network of this run: ``Order``, ``FromFile``, ``Expert``, ... An ``initial_run`` must
            have the same one. If nothing is labeled, it chooses what a human labels before cycle 0; None is then ``Random``.
        oracle: who labels the queried items: the ``dataset``, whose labels are there (a simulation), or a ``human``. For a human, the run
            writes ``cycles/NNN/asked.csv``, copies the images into ``cycles/NNN/to_label``, and ends; resume it when the labels are there.
            If nothing is labeled, it first asks for ``initial_size`` items (for ``query_size`` if that is ``all``) in ``cycles/initial``.
        package: the tools to write files for in ``to_label``, with the network's predictions: ``label_studio``, ``cvat``, ``coco``. The
            README.txt of ``plain``, for a person, is always written. None for ``plain`` alone.
        enough: the share of the asked items that a human must label before the run continues; ``evaluation_first`` needs all its labels.
        unanswered: whether the other asked items return to the ``pool``, or stay ``asked`` for and come first in the next query.
        evaluation_first: number of items that are drawn uniformly from the whole pool before anything else, by
            ``data.init_args.pool_seed`` (as whole groups, if the data have groups), and labeled. The run is evaluated on these alone,
            and never trained on them. A human is asked for them in ``cycles/evaluation``. None for the data's own evaluation set.
        random_share: the share of all queried items that is drawn uniformly from the pool instead of chosen by the strategy. A human can't
            tell them from the others: their ranks are random, and asked.csv has no scores. ``cycles/NNN/random.csv`` names them, and has
            the scores. ``status`` and the report compare both kinds, for which checkpoints are needed (``keep``).
        retrain: ``scratch`` draws new weights in each cycle; ``warm`` trains the last ones further. Optimizers start anew in both.
        initial_weights: with ``scratch``, draw new weights ``per_cycle``, or the ``same`` weights in each cycle.
        query_weights: weights to evaluate and query with: the ``last``, or the ``best`` of a ModelCheckpoint with a monitored metric.
        label_budget: stop when this many items are labeled.
        target: stop when each of these metrics is reached, for example ``{"val/accuracy": 0.85}``; metrics ``test/...`` are refused.
        checkpoint_minutes: least time between two checkpoints within a cycle's training, which are written between epochs. A run that was
            killed continues from the last one. 0 writes one after each epoch, None none.
        keep: checkpoints to keep: of ``all`` cycles, of the ``last`` finished one, or ``none``.
        also_record: further strategies, or other aggregations for the strategy, whose scores of the whole pool are written into
            ``cycles/NNN/scores.csv`` beside the strategy's. Computations that they share are done once.
        seed: seed of weights, dropout, ties and random choices; batch order and augmentation have the data module's seed. The command line
            links both to ``seed_everything``.
        resume: continue the run in the trainer's ``default_root_dir``.

    Raises:
        UserError: two arguments do not fit together.
    """

    @checked
    def __init__(
        self,
        strategy: Strategy,
        query_size: PositiveInt | list[PositiveInt],
        cycles: PositiveInt | None = None,
        stride: PositiveInt | list[PositiveInt] = 1,
        initial_run: str | None = None,
        initial_strategy: Strategy | None = None,
        oracle: Literal["dataset", "human"] = "dataset",
        enough: Share = 1.0,
        unanswered: Literal["pool", "asked"] = "pool",
        evaluation_first: PositiveInt | None = None,
        random_share: Share | None = None,
        package: list[Tool] | None = None,
        retrain: Literal["scratch", "warm"] = "scratch",
        initial_weights: Literal["per_cycle", "same"] = "per_cycle",
        query_weights: Literal["last", "best"] = "last",
        label_budget: PositiveInt | None = None,
        target: dict[str, Share] | None = None,
        checkpoint_minutes: NonNegativeFloat | None = 10.0,
        keep: Literal["all", "last", "none"] = "all",
        also_record: list[Strategy | Aggregation] | None = None,
        seed: NonNegativeInt = 0,
        resume: bool = False,
    ) -> None:
        if type(strategy) is Strategy:
            raise UserError("Expected one of the strategies (Margin, for example), got Strategy, from which they are derived.")
        self.budget = Budget(query_size, stride, cycles, label_budget, target)
        refuse_unkept(keep, retrain, random_share)
        self.strategy = strategy
        self.initial_run = None if initial_run is None else RunDirectory(initial_run)
        self.initial_strategy = initial_strategy
        refuse_initial(initial_strategy)
        self.oracle: Oracle = HumanOracle(enough, package or (PLAIN,)) if oracle == "human" else DatasetOracle()
        self.unanswered = unanswered
        self.evaluation_first = evaluation_first
        self.random_share = random_share or 0.0
        self.retrain = retrain
        self.initial_weights = initial_weights
        self.query_weights = query_weights
        self.checkpoint_minutes = checkpoint_minutes
        self.keep = keep
        self.also_record = [strategy.aggregated_by(each) if isinstance(each, Aggregation) else each for each in also_record or []]
        refuse_recorded(strategy, self.also_record)
        refuse_stride(strategy, self.budget.strides)
        self.seed = seed
        self.resume = resume
        self.run: RunDirectory | None = None  # set by the command line, which already holds it
        self._stopped: str | None = None  # the reason, once the experiment has stopped

    # The experiment

    def _experiment(self, first: Stage, again: Stage) -> None:
        """All cycles, from the current one on."""
        train = self._first_training(first, again)
        while not self._stopped:
            seconds = self.interim.run(train, self.cycle)
            self._stop_if_terminated()
            self._settle_weights()
            metrics = self.evaluation.metrics()
            self._stopped = self._reason_to_stop(metrics)
            query = None if self._stopped else self._query()
            finished, answer = self._finish_cycle(metrics, seconds, query)
            if answer is not None:
                self.data.pool.label(answer)
            self._tell("on_cycle_end", self.trainer, self.trainer.lightning_module, finished)
            if answer is not None:
                self._begin_cycle()
                train = again

    @property
    def default_run_dir(self) -> str:
        """The run directory, if the user names none."""
        return f"runs/{type(self.strategy).__name__}-seed{self.seed}"

    @property
    def cycle(self) -> int:
        """The current cycle."""
        return self.data.pool.cycle

    @property
    def labeled(self) -> int:
        """The current number of labeled items."""
        return int(self.data.pool.labeled.sum())

    def _reason_to_stop(self, metrics: dict[str, float]) -> str | None:
        return self.budget.reason_to_stop(self.data.pool, metrics, 2 if self.trainer.fast_dev_run else None)  # type: ignore[attr-defined]

    def _begin_cycle(self, weights: dict[str, Tensor] | None = None) -> None:
        self.restart.end()
        self.evaluation.forget()
        directory = self.record.begin(self.cycle)
        self._seed("cycle", self.cycle)
        self.restart.begin(self._draw_weights if weights is None else lambda: self.task.load_state_dict(weights), directory)

    def _first_training(self, first: Stage, again: Stage) -> Stage:
        """The training that this process runs in its first cycle."""
        if self.interim.found is None:
            return self._take_over if self.initial_run is not None and self.cycle == 0 else first
        weights = copy.deepcopy(self.task.state_dict())
        try:
            return self.interim.restore(again)
        except Exception as error:  # a user's callback, or another version of a library, may raise anything for a state that it can't load
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            self._say(f"Cycle {self.cycle} begins anew, because its training can't be brought back: {why}")
            self._begin_cycle(weights)
            return again

    def _take_over(self) -> None:
        """Loads the initial run's weights, in place of cycle 0's training."""
        assert self.initial_run is not None
        self.restart.load_trained(weights_of_cycle_0(self.initial_run, self.task))

    def _draw_weights(self) -> None:
        if self.retrain == "scratch" or self.cycle == 0:
            self.task.draw_weights(seeds.derive(self.seed, "weights", 0 if self.initial_weights == "same" else self.cycle))

    def _seed(self, *purpose: str | int) -> None:
        """Seeds the global generators, so that a cycle's draws don't depend on what came before it."""
        seeds.seed_global_generators(seeds.derive(self.seed, *purpose, self.trainer.global_rank))

    def _settle_weights(self) -> None:
        """Loads the best weights, if the query uses them, and writes the cycle's checkpoint."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if self.query_weights == "best" and self.trainer.global_step > 0:  # no step: the initial run's weights, which it queried with
            self.restart.load_trained(best_weights(self.trainer, self.record, self.cycle, self.task))
            self.evaluation.forget()
        if self.keep != "none":
            self.record.save_checkpoint(self.cycle)

    def _query(self) -> Query:
        self.restart.end_loading()
        size = self.budget.query_size(self.data.pool)
        again = self.record.asked_again(self.cycle, size) if self.unanswered == "asked" else ((), ())
        drawn = selection.picks_at_random(self.random_share, self.budget.asked_before(self.cycle), size)
        wanted = Wanted(size, self.budget.stride(self.cycle), drawn, *again)
        strategies = [self.strategy, *self.also_record]
        query = query_pool(self.trainer, self.data, self.task.network, strategies, wanted, self.seed, self._scored, self._before_choice)
        for line in query.notes:
            self._say(line)
        self._tell("on_query", self.trainer, self.trainer.lightning_module, query)
        return query

    def _scored(self, done: int, total: int) -> None:
        self._tell("on_scoring", self.trainer, done, total)
        self._stop_if_terminated()

    def _before_choice(self) -> None:
        if not self.strategy.ranks:  # a ranking takes no time
            self._tell("on_choosing", self.trainer)

    def _finish_cycle(self, metrics: dict[str, float], seconds: float, query: Query | None) -> tuple[FinishedCycle, Tensor | None]:
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
        if self.oracle.asks or self.evaluation_first is not None:
            self.record.on_rank_zero(lambda: self.control.measure_evaluation(self.cycle))
        answer = self.record.finish(finished, keep_earlier=self.keep != "last")
        self._stopped = self._stopped or (self.record.waiting and _WAITS)
        counts_epochs = trainer.max_steps == -1  # with a fixed number of steps, training takes equally long on any labeled set
        growth = self.budget.growth(self.cycle) if counts_epochs else [0]
        self._say(finished.line(self.budget.cycles, growth, self._stopped))
        if self.cycle == 0 and finished.epochs == trainer.max_epochs and finished.train_steps < trainer.max_steps:
            self._say(_EPOCHS_FIRST.format(finished.epochs, finished.train_steps, trainer.max_steps))
        if self.record.waiting and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # a fast_dev_run leaves no images to label
            self._say(self.record.waiting)
        return finished, answer

    # Lightning's hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Opens the run and prepares its current cycle."""
        if stage != "fit":
            return
        self.trainer, (self.task, self.data) = trainer, parts_of(trainer)
        refuse_callbacks(trainer.callbacks, self.task)  # type: ignore[attr-defined]
        refuse_plugins(trainer)
        if self.query_weights == "best" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            refuse_no_best(trainer)
        earlier: FitRestart | None = getattr(self, "restart", None)
        if earlier is not None:
            earlier.restore_callbacks()  # a second fit of the same callbacks begins as the first
        refuse_used(trainer)
        if self.data.in_use:
            raise UserError(
                f"Expected {type(self.data).__name__} to begin a pool of its own for each fit, got the one of the fit before. Let setup do "
                "so unless is_set_up(stage), or make a new data module."
            )
        self.data.in_use = True
        self.restart = FitRestart(trainer, self, lambda: self.interim.between_epochs())
        self.record = RunRecord(trainer, self.data, self.oracle, self.run)
        self.evaluation = Evaluation(self.restart, self.data, self.task)
        self.control = Control(self.record, self.data, self.task, self.restart.forward_context)
        self.interim = Interim(self.restart, self.record, self.checkpoint_minutes, self._say)
        self._introduce_strategies()
        self._stopped = None
        if self.record.script and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.record.describe(settings_of(trainer, self.task, self.data, self))
        choose = None
        if self.initial_run is None:
            choose = first_choice(self.initial_strategy, self.data, self.task, self.oracle.asks, self.budget.query_sizes[0])
        cycles = self.record.open(self.seed, self.resume, self.initial_run, choose)
        if self.record.waiting and not cycles:
            if trainer.fast_dev_run:  # type: ignore[attr-defined]
                lacking = "nothing is labeled" if self.cycle < 0 else "the images of active_learning.evaluation_first have none"
                raise UserError(f"Expected labels to try two cycles with (trainer.fast_dev_run), but {lacking}. Label some images.")
            self.record.settle()
            self._say(str(self.record.waiting))
            raise WaitsForLabels if trainer.is_global_zero else SystemExit(0)  # Lightning kills the first process if another one fails
        if self.cycle == 0:
            refuse_no_query(self.data, self.budget.cycles, self.budget.labels)
        if cycles:
            self.budget.refuse_other_target(cycles[-1].metrics)
        self._reopens = self._goes_further(cycles)
        if self._reopens:
            *cycles, last = cycles
            refuse_reopening(self.record, last.cycle, self.retrain == "warm", self.initial_run, self.task)
        self._resumed = bool(cycles)
        self._logged_steps = sum(row.train_steps for row in cycles)
        self._seed("cycle", self.cycle)
        self._draw_weights()
        if cycles:
            self._go_on_after(cycles[-1])
        if not self._stopped:
            self.restart.aim_checkpoints(str(self.record.run.cycle(self.cycle)))
            if not self._reopens:
                self.record.begin(self.cycle, keep=self.interim.find(self.cycle) if self.resume else ())
        self.restart.replace_stage(self._experiment)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers the state of the new optimizers, tries the strategies, and tells the other callbacks if a run is resumed."""
        self.restart.remember_optimizers()
        if self.cycle == 0 and self.budget.cycles != 1:
            with unchanged(self.task):
                refuse_unfit(trainer, self.data, self.task.network, [self.strategy, *self.also_record])
        self.record.settle(bool(self._stopped) and not self.record.waiting, self.budget.cycles, self.budget.labels)
        if self._reopens:
            self._say(f"The run in {self.record.run.path} goes further: cycle {self.cycle}, which made no query, is done again.")
            self.record.reopen(self.cycle)
        self.restart.logged_steps = self._logged_steps
        if self._resumed:
            self._tell("on_resume", trainer, pl_module)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers what layers keep besides weights: a sanity check comes once in each process, and must not change a training."""
        self._before_check = LayerSettings(pl_module, persistent=True)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores it."""
        self._before_check.restore()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds what is random in an epoch: dropout and augmentation."""
        self._seed("epoch", self.cycle, trainer.current_epoch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the metrics of the current weights; before the first training, a target that is none of them is refused."""
        if trainer.sanity_checking:
            self.budget.refuse_other_target(trainer.callback_metrics)
        elif hasattr(self, "evaluation"):  # there is none without a fit, in trainer.validate alone
            self.evaluation.validated(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the metrics of the evaluation set."""
        if hasattr(self, "evaluation"):
            self.evaluation.tested(trainer)

    def on_cycle_end(self, trainer: Trainer, pl_module: LightningModule, finished: FinishedCycle) -> None:
        """Measures the network's errors on randomly drawn items and on the strategy's choices."""
        if self.random_share:
            self.record.on_rank_zero(lambda: self.control.measure_answers(finished.cycle))

    def on_resume(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the errors that are still missing, for example on items that were labeled since."""
        if self.random_share:
            self.record.on_rank_zero(self.control.catch_up)

    @property
    def state_key(self) -> str:
        """The key in a checkpoint under which its run and cycle are named."""
        return MARKED_BY

    def state_dict(self) -> dict[str, Any]:
        """The run and the cycle that a checkpoint belongs to."""
        return self.record.mark() if hasattr(self, "record") else {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Undoes the changes to the trainer, and releases the run directory."""
        if hasattr(self, "restart"):
            self.restart.restore_stage()
            self.record.close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Undoes the changes to the trainer, and releases the run directory."""
        if stage == "fit":
            self.restart.restore_stage()
            self.record.close()

    def _goes_further(self, cycles: list[CycleRow]) -> bool:
        """Whether a run that had ended goes on: its last cycle made no query, and is to be done again."""
        return bool(cycles) and cycles[-1].query_seconds is None and not self._reason_to_stop(dict(cycles[-1].metrics))

    def _go_on_after(self, row: CycleRow) -> None:
        """Continues a run, after the last finished cycle, which has this row."""
        if self.record.waiting:
            self._stopped = _WAITS
            self._say(self.record.waiting)
        elif self.cycle == row.cycle:  # the last finished cycle made no query
            self._stopped = self._reason_to_stop(dict(row.metrics))
            if self._stopped is None:
                raise UserError(f"Expected a query after cycle {row.cycle} in {self.record.run.queries}, but its rows are missing.")
            self._say(f"The run in {self.record.run.path} is complete: {self._stopped}.")
        elif self.retrain == "warm":
            self.task.load_state_dict(self.record.weights(row.cycle))

    def _introduce_strategies(self) -> None:
        size = len(self.data.pool.labeled)
        for strategy in (self.strategy, *self.also_record, *([self.initial_strategy] if self.initial_strategy else [])):
            strategy.prepare(size, self.data.item, self.oracle.shown_to_strategies(self.record.data_record.oracle_labels))

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
