"""Restarts training inside one ``trainer.fit``, so that what follows equals a fit in a fresh process.

Protected names of Lightning's loops and trainer are used in this module, so that an upgrade has one place to look at; only block training
in tasks/base.py moves two counters by itself. The process group, the DDP wrapper, the devices, the loggers and the signal handlers stay;
loops, optimizers, gradient scaler and the other callbacks begin anew, and all hooks of callbacks are called that a fresh fit would call.
"""

import copy
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ModelSummary, OnExceptionCheckpoint, ProgressBar, WeightAveraging
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from al_lightning.callbacks.plain_attributes import WatchedCallback
from al_lightning.errors import UserError
from al_lightning.layer_settings import SCALARS, LayerSettings, hooks, settings

log = logging.getLogger(__name__)

Stage = Callable[[], None]
# What callbacks may change while a training runs, as a GradientAccumulationScheduler does.
_TRAINER_SETTINGS = (
    *("accumulate_grad_batches", "gradient_clip_val", "check_val_every_n_epoch", "val_check_interval"),
    *("limit_train_batches", "limit_val_batches", "log_every_n_steps"),
)
_MORE_HOOKS = (
    "WARNING: the module's layers and weights have %d hooks, %d in the cycle before. What registers hooks when a fit starts has to remove "
    "them when it ends (on_fit_end), or one more of them acts in each cycle."
)
_REST = "al_lightning"  # a checkpoint's key for what Lightning leaves out


class _Epochs(_FitLoop):
    """A fit loop that calls a function between epochs: all hooks and schedulers of the last epoch are done, the next one has not begun."""

    def __init__(self, trainer: Trainer, min_epochs: int | None, max_epochs: int | None, between: Stage) -> None:
        super().__init__(trainer, min_epochs, max_epochs)
        self._between = between

    def on_advance_start(self) -> None:
        """Begins an epoch."""
        if self.trainer.current_epoch > 0:
            self._between()
        super().on_advance_start()


class FitRestart:
    """Remembers the state of everything before the first fit, and restores it.

    Args:
        trainer: the trainer, during its ``setup`` hooks; best in the first callback's, so that the others are remembered as they were made.
        owner: the callback that restarts; its own state is not changed.
        between_epochs: called between any two epochs of a fit.
    """

    def __init__(self, trainer: Trainer, owner: Callback, between_epochs: Stage) -> None:
        self.trainer = trainer
        self.owner = owner
        self._between_epochs = between_epochs
        loop = trainer.fit_loop
        self._min_epochs, self._max_epochs = loop.min_epochs, loop.max_epochs
        self._min_steps, self._max_steps = loop.min_steps, loop.max_steps
        # A val_check_interval by the clock is none of the trainer's attributes.
        self._trainer_settings = {name: getattr(trainer, name) for name in _TRAINER_SETTINGS if hasattr(trainer, name)}
        module = trainer.lightning_module
        self._requires_grad = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
        self._training = [(part, part.training) for part in module.modules()]
        begun_anew = [callback for callback in self._restarted() if not getattr(callback, "across_cycles", False)]
        self._callbacks = [(callback, self._copied_state(callback)) for callback in begun_anew]
        self._new_loops()
        self._rest: dict[str, Any] | None = None
        self._hooks = 0

    # Running several fits as one

    def replace_stage(self, run: Callable[[Stage, Stage], None]) -> None:
        """Makes the trainer call ``run(first, again)`` instead of its own stage.

        ``first`` is that stage (sanity check and fit loop), ``again`` the fit loop alone. The fit loop itself is not replaced, because
        Lightning's tuners run it, too.
        """
        own_stage = self.trainer._run_stage

        def first() -> None:
            self._hooks = hooks(self.module)
            own_stage()

        def again() -> None:
            with torch.autograd.set_detect_anomaly(self.trainer._detect_anomaly):
                self.trainer.fit_loop.run()

        self.trainer._run_stage = lambda: run(first, again)  # type: ignore[method-assign]
        self.trainer._checkpoint_connector._restore_modules_and_callbacks = self._restore  # type: ignore[assignment, method-assign]
        self.trainer._signal_connector._slurm_sigusr_handler_fn = self._requeue  # type: ignore[assignment, method-assign]

    def restore_stage(self) -> None:
        """Undoes :meth:`replace_stage`, and ends loading processes: Lightning leaves those of training running if evaluation fails."""
        self.end_loading()
        vars(self.trainer).pop("_run_stage", None)
        vars(self.trainer._checkpoint_connector).pop("_restore_modules_and_callbacks", None)
        vars(self.trainer._signal_connector).pop("_slurm_sigusr_handler_fn", None)

    def _restore(self, path: str | Path | None = None, weights_only: bool | None = None) -> None:
        """Ignores a checkpoint that Lightning would start from: an experiment continues from its run directory.

        Raises:
            UserError: the user gave the checkpoint: it is not one that Lightning finds by itself, after a requeue by SLURM or of an
                OnExceptionCheckpoint.
        """
        if path is not None and Path(path).name.startswith(".lr_find_"):  # a LearningRateFinder undoes its search
            connector = self.trainer._checkpoint_connector
            type(connector)._restore_modules_and_callbacks(connector, path, weights_only)
            return
        saves_exceptions = any(isinstance(callback, OnExceptionCheckpoint) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        if path is not None and not saves_exceptions and not Path(path).name.startswith("hpc_ckpt_"):
            raise UserError(f"Expected no ckpt_path, got {path}: an experiment goes on from its run directory, with resume=True.")

    def _requeue(self, number: int, frame: Any) -> None:
        """Makes SLURM run the job again, as Lightning does, but without Lightning's own checkpoint.

        The run directory is enough. Besides, a checkpoint needs all processes, which may do anything when the signal comes.
        """
        connector = self.trainer._signal_connector
        self.trainer.save_checkpoint = lambda *_: None  # type: ignore[method-assign]
        try:
            type(connector)._slurm_sigusr_handler_fn(connector, number, frame)
        finally:
            del self.trainer.save_checkpoint

    def remember_optimizers(self) -> None:
        """Remembers the state of optimizers, as a module may return the same objects in every fit, and of layers.

        To be called in ``on_fit_start``.
        """
        strategy = self.trainer.strategy
        self._optimizers = [(optimizer, copy.deepcopy(optimizer.state_dict())) for optimizer in strategy.optimizers]
        self._schedulers = [(config.scheduler, copy.deepcopy(config.scheduler.state_dict())) for config in strategy.lr_scheduler_configs]
        self._precision = copy.deepcopy(strategy.precision_plugin.state_dict())
        self._layers = LayerSettings(self.module, persistent=False)

    def restore_callbacks(self) -> None:
        """Gives the other callbacks the state that they were made with."""
        for callback, state in self._callbacks:
            vars(callback).clear()
            vars(callback).update(self._copied(state))

    def end(self) -> None:
        """Does what a trainer does after a fit: calls the closing hooks of all callbacks and of the module."""
        self._call("on_fit_end")
        self.module.on_fit_end()
        self._call("teardown", stage=TrainerFn.FITTING)

    def begin(self, draw_weights: Callable[[], None], checkpoint_dir: str, checkpoint: dict[str, Any] | None = None) -> None:
        """Does what a trainer does before the fit loop.

        Args:
            draw_weights: gives the module the weights to begin with.
            checkpoint_dir: directory for checkpoint callbacks without a ``dirpath``.
            checkpoint: made by :meth:`checkpoint`; the fit continues from there, once :meth:`restore_rest` is called.
        """
        self.restore_callbacks()
        for parameter, requires_grad in self._requires_grad:
            parameter.requires_grad_(requires_grad)
        self._layers.restore()
        for part, training in self._training:
            part.training = training
        draw_weights()
        self.module.zero_grad()
        self.aim_checkpoints(checkpoint_dir)
        self._call("setup", stage=TrainerFn.FITTING)
        if checkpoint is not None:
            self._restore_model(checkpoint)
        self._new_loops()
        self._new_optimizers()
        self.trainer._logger_connector.reset_results()
        self.trainer._logger_connector.reset_metrics()
        self._call("on_fit_start")
        self.module.on_fit_start()
        if (now := hooks(self.module)) > self._hooks and self.trainer.is_global_zero:
            log.warning(_MORE_HOOKS, now, self._hooks)
        self._hooks = now
        if checkpoint is not None:
            self._restore_training(checkpoint)

    def load_trained(self, weights: dict[str, Tensor]) -> None:
        """Gives the module other weights after a training, and those callbacks that evaluate and save an average of its weights, too."""
        self.module.load_state_dict(weights)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging) and callback._average_model is not None:
                callback._average_model.module.load_state_dict(weights)

    def aim_checkpoints(self, directory: str) -> None:
        """Gives a directory to the checkpoint callbacks without a ``dirpath``."""
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = os.path.abspath(directory)  # it remembers its files' paths, and a resuming process may start elsewhere

    # Continuing in the middle of a fit

    def watch(self) -> None:
        """Remembers the callbacks' state when a training begins, so that :meth:`checkpoint` knows what has changed since."""
        trainer = self.trainer
        shared = [trainer, trainer.strategy, trainer.datamodule, *trainer.loggers, *trainer.callbacks, *trainer.optimizers]  # type: ignore[attr-defined]
        callbacks = [callback for callback in self._restarted() if not getattr(callback, "across_cycles", False)]
        self._watched = [WatchedCallback(callback, self.module, shared) for callback in callbacks]
        self._names = [*self.module.state_dict()]

    def problem(self) -> str | None:
        """Why a checkpoint can't store the state of this training; None if it can."""
        if [*self.module.state_dict()] != self._names:
            return "the names of the module's weights have changed while it trains"
        loaders: Any = self.trainer.fit_loop._combined_loader
        for loader in [] if loaders is None else loaders.flattened:
            if getattr(getattr(loader, "sampler", None), "generator", None) is not None:
                return f"{type(loader.sampler).__name__} of the training data draws by a generator of its own, whose state nobody stores"
        return next((problem for watched in self._watched if (problem := watched.problem())), None)

    def checkpoint(self) -> dict[str, Any]:
        """All that :meth:`begin` needs to continue from here: Lightning's checkpoint, and what it leaves out, of each process.

        To be called in every process, between two epochs or after the training.
        """
        trainer, module = self.trainer, self.module
        rest = {
            "should_stop": trainer.should_stop,
            "trainer": {
                name: now for name, then in self._trainer_settings.items() if type(now := getattr(trainer, name)) in SCALARS and now != then
            },
            "metrics": dict(trainer.callback_metrics),  # of earlier epochs: schedulers and callbacks may still read them
            "requires_grad": [parameter.requires_grad for parameter in module.parameters()],
            "settings": [settings(part) for part in module.modules()],
            "callbacks": [watched.attributes() for watched in self._watched],
        }
        rests: list[Any] = [rest] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(rests, rest)
        return {**trainer._checkpoint_connector.dump_checkpoint(weights_only=False), _REST: rests}

    def _restore_model(self, checkpoint: dict[str, Any]) -> None:
        connector = self.trainer._checkpoint_connector
        connector._loaded_checkpoint = checkpoint
        connector.restore_model()
        connector.restore_datamodule()
        connector.restore_callbacks()
        connector._loaded_checkpoint = {}

    def _restore_training(self, checkpoint: dict[str, Any]) -> None:
        trainer = self.trainer
        connector = trainer._checkpoint_connector
        connector._loaded_checkpoint = checkpoint
        connector.restore_training_state()
        connector._loaded_checkpoint = {}
        for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop):
            loop.on_iteration_done()  # as between two epochs: Lightning would continue in the middle of one
        self._rest = checkpoint[_REST][trainer.global_rank]

    def restore_rest(self) -> None:
        """Restores what Lightning leaves out. To be called after ``on_train_start``, in which callbacks may have reset their state."""
        trainer, module, rest = self.trainer, self.module, self._rest
        if rest is None:
            return
        self._rest = None
        trainer.should_stop = trainer.should_stop or rest["should_stop"]
        for name, value in rest.get("trainer", {}).items():
            setattr(trainer, name, value)
        trainer._logger_connector._callback_metrics.update(rest["metrics"])
        for parameter, requires_grad in zip(module.parameters(), rest["requires_grad"], strict=True):
            parameter.requires_grad_(requires_grad)
        for part, values in zip(module.modules(), rest["settings"], strict=True):
            vars(part).update(values)
        for watched, attributes in zip(self._watched, rest["callbacks"], strict=True):
            attributes.pop("_last_time_checked", None)  # ModelCheckpoint's time, by a clock that differs from machine to machine
            vars(watched.callback).update(attributes)

    def evaluate(self) -> None:
        """Runs the evaluation that ``trainer.validate`` runs, so that callbacks can tell it from validation within the fit."""
        trainer, within = self.trainer, self.trainer.fit_loop.epoch_loop.val_loop
        within.setup_data()
        if within._combined_loader is not None:  # use the same loaders, because their processes already run
            trainer.validate_loop._data_source.instance = within._combined_loader.iterables
        trainer.validating = True
        self._run_evaluation(trainer.validate_loop, TrainerFn.VALIDATING)

    def test(self) -> None:
        """Runs the evaluation that ``trainer.test`` runs."""
        self.trainer.testing = True
        self._run_evaluation(self.trainer.test_loop, TrainerFn.TESTING)

    def _run_evaluation(self, loop: _EvaluationLoop, fn: TrainerFn) -> None:
        loop.verbose = False
        loop.inference_mode = False  # metrics that hold inference tensors can't be updated in the fit's own validation
        self.trainer.state.fn = fn
        try:
            loop.run()
        finally:
            self.trainer.state.fn = TrainerFn.FITTING
            self.trainer.training = True

    def end_loading(self) -> None:
        """Ends the processes that load data for training and evaluation."""
        fit = self.trainer.fit_loop
        for loop in (fit, fit.epoch_loop.val_loop, self.trainer.validate_loop, self.trainer.test_loop):
            if loop._data_fetcher is not None:
                loop._data_fetcher.teardown()
                loop._data_fetcher = None

    def forward_context(self) -> Any:
        """Autocast, if the trainer's precision asks for it."""
        return self.trainer.precision_plugin.forward_context()

    @property
    def logged_steps(self) -> int:
        """Number of steps of all cycles together, which is the loggers' x-axis."""
        return self.trainer.fit_loop.epoch_loop._batches_that_stepped

    @logged_steps.setter
    def logged_steps(self, steps: int) -> None:
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = steps

    # Parts

    @property
    def module(self) -> LightningModule:
        """The module in training, without a wrapper such as DDP's."""
        return self.trainer.lightning_module

    def _restarted(self) -> list[Callback]:
        """Callbacks that begin anew in each cycle; a progress bar and the model's summary do not."""
        return [c for c in self.trainer.callbacks if c is not self.owner and not isinstance(c, (ProgressBar, ModelSummary))]  # type: ignore[attr-defined]

    def _copied_state(self, callback: Callback) -> dict[str, Any]:
        try:
            return self._copied(vars(callback))
        except Exception as error:  # what can't be copied (an open file, a lock) says so in its own way
            raise UserError(
                f"Expected callbacks that can be copied, as each cycle begins with them as they were, but {type(callback).__name__} says: "
                f"{' '.join(str(error).split())}. Set across_cycles = True in its class if it goes on through all cycles."
            ) from error

    def _copied(self, state: dict[str, Any]) -> dict[str, Any]:
        trainer = self.trainer
        module = trainer.lightning_module
        parts = (*module.modules(), *module.parameters(), *module.buffers())  # a callback may hold one that it constrains, or looks at
        shared = [*parts, trainer, trainer.strategy, trainer.datamodule, *trainer.loggers, *trainer.callbacks]  # type: ignore[attr-defined]
        if "_fs" in state:  # ModelCheckpoint's file system
            shared.append(state["_fs"])
        return copy.deepcopy(state, {id(thing): thing for thing in shared})

    def _call(self, hook: str, **arguments: Any) -> None:
        module = self.module
        previous, module._current_fx_name = module._current_fx_name, hook
        for callback in self._restarted():
            getattr(callback, hook)(self.trainer, module, **arguments)
        module._current_fx_name = previous

    def _new_loops(self) -> None:
        trainer, old = self.trainer, self.trainer.fit_loop
        self.end_loading()
        new = _Epochs(trainer, self._min_epochs, self._max_epochs, self._between_epochs)
        new.epoch_loop = _TrainingEpochLoop(trainer, self._min_steps, self._max_steps)
        new._data_source = old._data_source
        new.epoch_loop.val_loop._data_source = old.epoch_loop.val_loop._data_source
        new.epoch_loop._batches_that_stepped = old.epoch_loop._batches_that_stepped  # the loggers' x-axis continues
        trainer.fit_loop = new
        trainer.should_stop = False
        for name, value in self._trainer_settings.items():
            setattr(trainer, name, value)

    def _new_optimizers(self) -> None:
        strategy = self.trainer.strategy
        strategy.setup_optimizers(self.trainer)
        strategy.setup_precision_plugin()
        _optimizers_to_device(strategy.optimizers, strategy.root_device)
        strategy.precision_plugin.load_state_dict(copy.deepcopy(self._precision))
        now: list[Any] = [*strategy.optimizers, *(config.scheduler for config in strategy.lr_scheduler_configs)]
        for known, state in [*self._optimizers, *self._schedulers]:
            if any(known is thing for thing in now):
                known.load_state_dict(copy.deepcopy(state))
