"""What all tasks share: a network that can be drawn anew, its optimizer, and training by batches or by blocks of batches."""

import copy
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    LearningRateFinder,
    SpikeDetection,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.tuner.lr_finder import _LRCallback
from lightning.pytorch.utilities.types import LRSchedulerConfigType, LRSchedulerTypeUnion, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer, SparseAdam
from torch.optim.lr_scheduler import ReduceLROnPlateau

from al_lightning.errors import UserError
from al_lightning.layer_settings import put_back
from al_lightning.numbers import PositiveInt, checked
from al_lightning.tasks.blocks import BlockSteps
from al_lightning.tasks.fitting import (
    depends_on_others,
    needs_two_items,
    overrides,
    refuse_other_forward,
    refuse_other_hyperparameters,
    refuse_other_loss,
    refuse_other_network,
    refuse_other_weights,
)
from al_lightning.tasks.parameters import fuse, scale_rates
from al_lightning.tasks.precise import keeping_precision

log = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor, Tensor]
"""Inputs, targets, dataset indices."""

# Callbacks that count or change optimizer steps: blocks make steps without Lightning.
_NOT_IN_BLOCKS = (GradientAccumulationScheduler, LearningRateFinder, SpikeDetection, StochasticWeightAveraging, WeightAveraging)

_STEP_HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad")
_STEP_METHODS = (*_STEP_HOOKS, "backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")

_DEPENDS_ON_OTHERS = (
    "WARNING: what %s says of an item in evaluation mode changes with the other items of its batch, or from one time to the next, and so "
    "do metrics and queries. Batch norm without running statistics does that, and dropout that is always on."
)

_DRAWN_BUFFER = (
    "WARNING: the buffer %s of %s is drawn at random, and no checkpoint has it: other processes, and whoever loads the weights, get "
    "another one. Register it with persistent=True."
)

_P = ParamSpec("_P")
_T = TypeVar("_T", covariant=True)


class _Shared(Generic[_P, _T]):
    """A factory that a task shares with its deep copies (weight averaging makes some), as one of the command line's can't be copied."""

    def __init__(self, factory: Callable[_P, _T]) -> None:
        self.factory = factory

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self.factory(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared[_P, _T]":
        return self


class Task(LightningModule, ABC):
    """A network and how to train it.

    Args:
        network: makes the network; called once for the module, and again for each draw of fresh weights.
        optimizer: makes the optimizer from the parameters. An Adam or AdamW that is told neither ``fused`` nor ``foreach`` is fused.
        lr_scheduler: makes a scheduler from the optimizer, stepped once per epoch; None for the task's own, see :meth:`own_schedule`.
        block: mini-batches in one ``training_step``. 1 is Lightning's ordinary mode. A larger block saves a tiny model most of
            Lightning's time between steps and most of autograd's time within them, and gives bit-identical weights. But batch hooks,
            ``val_check_interval`` and ``log_every_n_steps`` then count blocks, and side effects of network and loss (such as printing)
            may happen only once per block. It needs one process, full precision, and neither gradient clipping nor accumulation.
        criterion: a loss of logits and classes in place of the task's own; None for the task's own. It has no parameters to train.

    Attributes:
        dense: whether each pixel has logits of its own.
    """

    dense = False

    @checked
    def __init__(
        self,
        network: Callable[[], nn.Module],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        block: PositiveInt,
        criterion: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.make_network = _Shared(network)
        self.make_optimizer = _Shared(optimizer)
        self.make_lr_scheduler = None if lr_scheduler is None else _Shared(lr_scheduler)
        self.block = block
        self.network = network()
        self.criterion = criterion
        self._loss_state = {} if criterion is None else copy.deepcopy(criterion.state_dict())
        self._first_buffers: dict[str, Tensor] | None = None
        self._losses: list[Tensor] = []
        self._indices: list[Tensor] = []
        self._steps = BlockSteps()
        self._needs_two_items = False
        self._warned_of = set[str]()  # buffers

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning assigns this name about forty times per step; nn.Module's bookkeeping for it would cost as much as a small layer.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy (weight averaging makes some), which begins its own record of losses."""
        return {**super().__getstate__(), "_losses": [], "_indices": [], "_steps": BlockSteps()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        with nullcontext() if self.criterion is None else keeping_precision(self.criterion):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def draw_weights(self, seed: int) -> None:
        """Gives the network the weights that a new one has with this seed, and the loss and the task's own buffers their first state.

        In place: optimizers and DDP keep their parameters.
        """
        drawn = self.new_network(seed)
        self._warn_of_drawn_buffers(drawn)
        self.network.load_state_dict(drawn.state_dict())
        if self.criterion is not None:
            self.criterion.load_state_dict(self._loss_state)
        for name, value in (self._first_buffers or {}).items():
            path, _, own = name.rpartition(".")
            part = self.get_submodule(path)
            put_back(part, own, value.to(self.device), persistent=own not in part._non_persistent_buffers_set)

    def _warn_of_drawn_buffers(self, drawn: nn.Module) -> None:
        """Warns of buffers that no checkpoint has, and that are other numbers in each new network."""
        saved, theirs = drawn.state_dict(), dict(drawn.named_buffers())
        for name, own in self.network.named_buffers():
            its = theirs.get(name)
            is_other = name not in saved and its is not None and its.shape == own.shape and not torch.equal(own.cpu(), its.cpu())
            if is_other and name not in self._warned_of:
                log.warning(_DRAWN_BUFFER, name, type(self.network).__name__)
                self._warned_of.add(name)

    def new_network(self, seed: int) -> nn.Module:
        """A new network, with the weights that this seed gives it."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.make_network()

    @abstractmethod
    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The training loss of a mini-batch: a scalar."""

    def make_metrics(self, classes: Sequence[str] | None) -> None:
        """Makes the metrics of the data's classes.

        Args:
            classes: their names; None where the data do not know them.

        Raises:
            UserError: the task was given other classes.
        """

    def setup(self, stage: str) -> None:
        """Makes the metrics, and checks that data, task, network and trainer fit together.

        Raises:
            UserError: they do not.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        classes: Sequence[str] | None = getattr(data, "class_names", None)
        self.make_metrics(classes)
        refuse_other_weights(self)
        if self._first_buffers is None:
            own = {name: buffer for name, buffer in self.named_buffers() if not name.startswith(("network.", "criterion."))}
            self._first_buffers = {name: buffer.detach().clone() for name, buffer in own.items()}
        for owner in (self, *([] if data is None else [data])):
            refuse_other_hyperparameters(owner)
        if classes is not None:
            example = data.example()
            refuse_other_network(self.network, example, classes, self.dense)
            refuse_other_forward(self, self.network, example, self.dense)
            self._needs_two_items = needs_two_items(self.network, example)
            if self.trainer.is_global_zero and depends_on_others(self.network, example):
                log.warning(_DEPENDS_ON_OTHERS, type(self.network).__name__)
            if self.criterion is not None:
                refuse_other_loss(self.criterion, len(classes), self.dense)
        if self._finds_rate and not hasattr(self, "lr"):
            self.lr = math.nan  # where a LearningRateFinder writes what it has found
        if self.block > 1:
            self.automatic_optimization = False
            self._refuse_for_blocks()

    @property
    def least_batch(self) -> int:
        """Items that a training batch needs: 2 for a network that can't train on 1, unless processes share their batch statistics."""
        shared = self.trainer.world_size > 1 and any(isinstance(part, nn.SyncBatchNorm) for part in self.network.modules())
        return 2 if self._needs_two_items and not shared else 1

    def _refuse_for_blocks(self) -> None:
        trainer = self.trainer
        limit = 1.0 if trainer.fast_dev_run else trainer.limit_train_batches  # type: ignore[attr-defined]
        asked = {
            "several processes": trainer.world_size > 1,
            f"precision {trainer.precision}": trainer.precision != "32-true",
            "gradient_clip_val": bool(trainer.gradient_clip_val),
            "accumulate_grad_batches": trainer.accumulate_grad_batches > 1,
            # 1 is one batch, 1.0 all of them.
            "limit_train_batches": isinstance(limit, int) or limit != 1.0,
            **{type(callback).__name__: isinstance(callback, _NOT_IN_BLOCKS) for callback in trainer.callbacks},  # type: ignore[attr-defined]
            **{
                f"{hook} of {type(callback).__name__}": overrides(callback, hook, Callback)
                for callback in trainer.callbacks  # type: ignore[attr-defined]
                for hook in _STEP_HOOKS
            },
            **{f"{method} of {type(self).__name__}": overrides(self, method, LightningModule) for method in _STEP_METHODS},
        }
        refused = [name for name, is_asked in asked.items() if is_asked]
        if refused:
            raise UserError(f"Block training (model.init_args.block={self.block}) can't be used with {', '.join(refused)}. Set block to 1.")

    @property
    def evaluated_on(self) -> str:
        """The prefix of metric names: ``test`` in Lightning's test loop, where that runs over the evaluation set, else ``val``."""
        return "test" if self.trainer.testing else "val"

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the metrics, as :meth:`validation_step` does."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Logs the metrics, as :meth:`on_validation_epoch_end` does."""
        self.on_validation_epoch_end()

    def trained_parameters(self) -> list[nn.Parameter] | list[dict[str, Any]]:
        """What the optimizer gets: the parameters that require a gradient, or groups of them."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def new_optimizer(self) -> Optimizer:
        """Builds the optimizer from its factory."""
        optimizer = self.make_optimizer(self.trained_parameters())
        scale_rates(optimizer)
        fuse(optimizer)
        return optimizer

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Builds optimizer and scheduler from the factories.

        Raises:
            UserError: a factory refuses the parameters or the optimizer, the optimizer can't train them, or the scheduler does not name the
                metric that it watches.
        """
        try:
            optimizer = self.new_optimizer()
            scheduler = self.make_lr_scheduler(optimizer) if self.make_lr_scheduler is not None else None
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"Expected an optimizer and a scheduler that fit the network and each other, but one says: {error}") from error
        if isinstance(optimizer, SparseAdam):
            raise UserError("Expected an optimizer for dense gradients, got SparseAdam. Take another one.")
        self._refuse_in_blocks(optimizer, scheduler)
        if self._finds_rate and len({group["lr"] for group in optimizer.param_groups}) > 1:
            raise UserError("Expected one learning rate for all parameters, for a LearningRateFinder to replace, got several.")
        if scheduler is None:
            return self.own_schedule(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": self._watching(scheduler)}
        return [optimizer], [scheduler]

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any) -> None:
        """Makes a step of a scheduler.

        Raises:
            UserError: the step fails, for example because the scheduler was made for fewer steps.
        """
        try:
            super().lr_scheduler_step(scheduler, metric)
        except Exception as error:  # each scheduler fails in its own way, with a ZeroDivisionError for example
            name, said = type(scheduler).__name__, " ".join(str(error).split())
            raise UserError(
                f"Expected the scheduler {name} to take a step after epoch {self.current_epoch}, but it says: {said}"
            ) from error

    def own_schedule(self, optimizer: Optimizer) -> OptimizerLRScheduler:
        """The optimizer with its schedule, if no ``lr_scheduler`` is given: here none, so a constant rate."""
        return optimizer

    def _refuse_in_blocks(self, *parts: Any) -> None:
        for part in parts:
            if self.block > 1 and isinstance(part, ReduceLROnPlateau | LBFGS):
                raise UserError(f"Block training can't be used with {type(part).__name__}. Set model.init_args.block to 1.")

    def _watching(self, scheduler: ReduceLROnPlateau) -> LRSchedulerConfigType:
        """The configuration of a scheduler that watches a metric: it steps at the end of each epoch that has a new value of it."""
        monitor: str | None = getattr(scheduler, "monitor", None)
        if monitor is None:  # torch's own class has none
            raise UserError(
                "Expected ReduceLROnPlateau to name what it watches. Use lightning.pytorch.cli.ReduceLROnPlateau with a monitor."
            )
        validated = monitor.startswith("val/")
        if validated and self.trainer.check_val_every_n_epoch is None:
            raise UserError(
                "Expected trainer.check_val_every_n_epoch to be a number for ReduceLROnPlateau, which steps at the end of epochs, to watch "
                f"{monitor}, got none. Set it to 1, or watch train/loss."
            )
        epochs = (self.trainer.check_val_every_n_epoch or 1) if validated else 1
        return {"scheduler": scheduler, "monitor": monitor, "frequency": epochs}

    @property
    def backbone(self) -> nn.Module:
        """What BackboneFinetuning freezes and unfreezes: the network's backbone or encoder.

        Raises:
            UserError: it has neither, or one that is frozen for good.
        """
        if getattr(self.network, "encoder_is_frozen", False):
            raise UserError(
                "Expected an encoder that BackboneFinetuning can unfreeze, got one that runs without gradients in "
                f"{type(self.network).__name__}: freeze_encoder is true. Set it to false (the callback freezes the encoder itself, until "
                "unfreeze_backbone_at_epoch), or leave the callback out."
            )
        for name in ("backbone", "encoder"):
            if isinstance(part := getattr(self.network, name, None), nn.Module):
                return part
        raise UserError(f"Expected a network with a backbone or an encoder for BackboneFinetuning, got {type(self.network).__name__}.")

    @property
    def _finds_rate(self) -> bool:
        return any(isinstance(callback, LearningRateFinder) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Makes schedulers begin at the rate that a LearningRateFinder has found for the optimizers.

        Raises:
            UserError: blocks can't do what a ``configure_optimizers`` of your own asks for.
        """
        if self.block > 1:
            self._refuse_in_blocks(*self.trainer.optimizers, *(config.scheduler for config in self.trainer.lr_scheduler_configs))
            other = [config for config in self.trainer.lr_scheduler_configs if (config.interval, config.frequency) != ("epoch", 1)]
            if len(self.trainer.optimizers) > 1 or other:
                raise UserError(
                    "Expected one optimizer, and schedulers that step once after each epoch, for block training, got others of "
                    f"{type(self).__name__}.configure_optimizers. Set model.init_args.block to 1."
                )
        if self._finds_rate:
            for config in self.trainer.lr_scheduler_configs:
                config.scheduler.base_lrs = [group["lr"] for group in config.scheduler.optimizer.param_groups]

    def training_step(self, batch: Batch | list[Batch], batch_idx: int) -> Tensor | None:
        """Trains on a mini-batch, or on each mini-batch of a block."""
        if self.block > 1:
            self._train_block(cast("list[Batch]", batch))
            return None
        inputs, targets, indices = cast("Batch", batch)
        loss = self.loss(inputs, targets)
        self._record(loss.detach(), indices)
        return loss

    def on_train_epoch_start(self) -> None:
        """Begins the epoch's record of losses."""
        self._losses.clear()
        self._indices.clear()

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's mean loss: once, because a ``log`` in every step costs more than a tiny model's step.

        Raises:
            UserError: a loss was not finite.
        """
        searching = any(isinstance(callback, _LRCallback) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        if not self._losses or searching:  # a search for the best rate goes on until the loss diverges
            return
        losses = torch.stack(self._losses)
        finite = losses.isfinite()
        if not bool(finite.all()):
            raise self._not_finite(int((~finite).nonzero()[0]), losses)
        self.log("train/loss", losses.mean(), sync_dist=True)
        if self.block > 1:
            for config in self.trainer.lr_scheduler_configs:
                self.lr_scheduler_step(config.scheduler, None)

    def _record(self, loss: Tensor, indices: Tensor) -> None:
        self._losses.append(loss)
        self._indices.append(indices)

    def _train_block(self, block: list[Batch]) -> None:
        loop = self.trainer.fit_loop.epoch_loop
        if loop.max_steps is not None and loop.max_steps >= 0:
            block = block[: loop.max_steps - self.trainer.global_step]
        losses = self._steps.take(self, self.trainer.optimizers[0], block)
        for loss, (_, _, indices) in zip(losses, block, strict=True):
            self._record(loss, indices)
        # Lightning counts the steps of its own optimizer wrapper, which a block does not use.
        loop.manual_optimization.optim_step_progress.total.ready += len(block)
        loop.manual_optimization.optim_step_progress.total.completed += len(block)
        loop._batches_that_stepped += len(block) - 1

    def _not_finite(self, step: int, losses: Tensor) -> UserError:
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        names = [datamodule.item(int(index)) for index in self._indices[step]]
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        remedy = "Look at these items, or lower the learning rate."
        if self.dense and self.criterion is not None:
            remedy = f"If all pixels are ignored there, {type(self.criterion).__name__} has to give 0. Else {remedy[0].lower()}{remedy[1:]}"
        if self.dtype == torch.float16:
            remedy = (
                "The weights are in 16-bit floats, which end at 65,504 and in which Adam's eps of 1e-8 is 0: use precision bf16-true or "
                "16-mixed."
            )
        return UserError(
            f"The loss became {float(losses[step])} in cycle {datamodule.pool.cycle}, epoch {self.current_epoch}, step {step} of it, "
            f"on the items {shown}. {remedy}"
        )
