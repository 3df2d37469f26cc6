"""What all tasks share: a network that can be drawn anew, its optimizer, and training by batches or by blocks of batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from al_lightning.errors import UserError
from al_lightning.tasks.fitting import needs_company, refuse_other_network
from al_lightning.tasks.parameters import scale_rates

Batch = tuple[Tensor, Tensor, Tensor]
"""Inputs, targets, dataset indices."""


class Task(LightningModule, ABC):
    """A network and how to train it.

    Args:
        network: makes the network; called once for the module, and again for each draw of fresh weights.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes a scheduler from the optimizer, stepped once an epoch; None for a constant rate.
        block: mini-batches in one ``training_step``. 1 is Lightning's ordinary mode. A larger block saves a tiny model most of
            Lightning's time between steps and gives bit-identical weights, but batch hooks, ``val_check_interval`` and
            ``log_every_n_steps`` then count blocks. It needs one process, full precision, and neither gradient clipping nor accumulation.

    Attributes:
        dense: whether each pixel has logits of its own.
    """

    dense = False

    def __init__(
        self,
        network: Callable[[], nn.Module],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        block: int,
    ) -> None:
        super().__init__()
        if block < 1:
            raise UserError(f"Expected a block of at least 1 mini-batch, got {block}.")
        self.make_network = network
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.block = block
        self.network = network()
        self._losses: list[Tensor] = []
        self._indices: list[Tensor] = []
        self._needs_company = False

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning assigns this name some forty times a step; nn.Module's bookkeeping for it would cost as much as a small layer.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def draw_weights(self, seed: int) -> None:
        """Gives the network the weights that a new one has under a seed. In place: optimizers and DDP keep their parameters."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            fresh = self.make_network()
        self.network.load_state_dict(fresh.state_dict())

    @abstractmethod
    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The training loss of a mini-batch: a scalar."""

    def make_metrics(self, classes: Sequence[str] | None) -> None:
        """Makes the metrics of the data's classes.

        Args:
            classes: their names; None where the data do not know them.

        Raises:
            UserError: the task was told other ones.
        """

    def setup(self, stage: str) -> None:
        """Makes the metrics, and checks that data, task, network and trainer fit together."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        classes: Sequence[str] | None = getattr(data, "class_names", None)
        self.make_metrics(classes)
        if classes is not None:
            example = data.example()
            refuse_other_network(self.network, example, classes, self.dense)
            self._needs_company = needs_company(self.network, example)
        if self.block > 1:
            self._refuse_for_blocks()

    @property
    def least_batch(self) -> int:
        """Items that a training batch needs: 2 for a network that can't train on one, unless processes share their batch statistics."""
        shared = self.trainer.world_size > 1 and any(isinstance(part, nn.SyncBatchNorm) for part in self.network.modules())
        return 2 if self._needs_company and not shared else 1

    def _refuse_for_blocks(self) -> None:
        self.automatic_optimization = False
        trainer = self.trainer
        limit = 1.0 if trainer.fast_dev_run else trainer.limit_train_batches  # type: ignore[attr-defined]
        asked = {
            "several processes": trainer.world_size > 1,
            f"precision {trainer.precision}": trainer.precision != "32-true",
            "gradient_clip_val": bool(trainer.gradient_clip_val),
            "accumulate_grad_batches": trainer.accumulate_grad_batches > 1,
            # 1 is one batch, 1.0 all of them.
            "limit_train_batches": isinstance(limit, int) or limit != 1.0,
        }
        refused = [name for name, is_asked in asked.items() if is_asked]
        if refused:
            raise UserError(f"Block training (model.init_args.block={self.block}) can't be used with {', '.join(refused)}. Set block to 1.")

    def trained_parameters(self) -> list[nn.Parameter] | list[dict[str, Any]]:
        """What the optimizer gets: the parameters that want a gradient, or groups of them."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def new_optimizer(self) -> Optimizer:
        """Builds the optimizer from its factory."""
        optimizer = self.make_optimizer(self.trained_parameters())
        scale_rates(optimizer)
        return optimizer

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Builds optimizer and scheduler from the factories."""
        optimizer = self.new_optimizer()
        if self.make_lr_scheduler is None:
            return optimizer
        scheduler = self.make_lr_scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            if self.block > 1:
                raise UserError("Block training can't be used with ReduceLROnPlateau. Set model.init_args.block to 1.")
            monitor: str = scheduler.monitor  # type: ignore[attr-defined]
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor}}
        return [optimizer], [scheduler]

    def training_step(self, batch: Batch | list[Batch], batch_idx: int) -> Tensor | None:
        """Trains on a mini-batch, or on each of a block's."""
        if self.block > 1:
            self._train_block(cast("list[Batch]", batch))
            return None
        return self._recorded_loss(cast("Batch", batch))

    def on_train_epoch_start(self) -> None:
        """Begins the epoch's record of losses."""
        self._losses.clear()
        self._indices.clear()

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's mean loss: once, because a ``log`` in every step costs more than a tiny model's step.

        Raises:
            UserError: a loss was not finite.
        """
        if not self._losses:
            return
        losses = torch.stack(self._losses)
        finite = losses.isfinite()
        if not bool(finite.all()):
            raise self._not_finite(int((~finite).nonzero()[0]), losses)
        self.log("train/loss", losses.mean(), sync_dist=True)
        if self.block > 1:
            for config in self.trainer.lr_scheduler_configs:
                config.scheduler.step()  # type: ignore[call-arg]

    def _recorded_loss(self, batch: Batch) -> Tensor:
        inputs, targets, indices = batch
        loss = self.loss(inputs, targets)
        self._losses.append(loss.detach())
        self._indices.append(indices)
        return loss

    def _train_block(self, block: list[Batch]) -> None:
        loop = self.trainer.fit_loop.epoch_loop
        if loop.max_steps is not None and loop.max_steps >= 0:
            block = block[: loop.max_steps - self.trainer.global_step]
        optimizer = self.trainer.optimizers[0]
        for batch in block:
            optimizer.zero_grad()
            self._recorded_loss(batch).backward()
            optimizer.step()
        # Lightning counts steps of its own optimizer wrapper, which is what a block goes round.
        loop.manual_optimization.optim_step_progress.total.ready += len(block)
        loop.manual_optimization.optim_step_progress.total.completed += len(block)
        loop._batches_that_stepped += len(block) - 1

    def _not_finite(self, step: int, losses: Tensor) -> UserError:
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        names = [datamodule.item(int(index)) for index in self._indices[step]]
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        return UserError(
            f"The loss became {float(losses[step])} in cycle {datamodule.pool.cycle}, epoch {self.current_epoch}, step {step} of it, "
            f"on the items {shown}. Look at these items, or lower the learning rate."
        )
