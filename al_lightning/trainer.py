"""Lightning's trainer, with the ranges of its numbers."""

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import lightning.pytorch as pl
from jsonargparse.typing import restricted_number_type
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.accelerators import CPUAccelerator

from al_lightning.errors import UserError
from al_lightning.numbers import NonNegativeFloat, NonNegativeInt, PositiveInt, checked

_FEW_PROCESSES = 16  # each of them loads torch: thousands would fill the memory

BatchesOrShare: TypeAlias = int | float | None  # in this order, in which 1 stays one batch; Lightning's own makes it 1.0, all of them

if TYPE_CHECKING:
    Unlimited: TypeAlias = int
else:
    Unlimited = restricted_number_type("Unlimited", int, (">=", -1))


class Trainer(pl.Trainer):
    """Lightning's trainer, which refuses numbers that would make it fail later; what Lightning itself refuses becomes a UserError.

    Without a ``default_root_dir``, a run lies in ``runs/<strategy>-seed<seed>``.

    Args:
        max_epochs: epochs of each cycle's training; -1 for as many as max_steps, max_time or a callback allow.
        min_epochs: least epochs of each cycle's training.
        max_steps: optimizer steps of each cycle's training; -1 for as many as max_epochs needs.
        min_steps: least optimizer steps of each cycle's training.
        num_nodes: number of machines.
        check_val_every_n_epoch: validate after so many epochs; null if val_check_interval counts the batches of all epochs.
        num_sanity_val_steps: validation batches before the first training; -1 for all.
        log_every_n_steps: log after so many steps.
        accumulate_grad_batches: batches for one optimizer step.
        gradient_clip_val: largest norm, or value, of gradients.
        limit_train_batches: train on so many batches of each epoch (1 is one batch), or on a share of them (1.0 is all).
        limit_val_batches: validate on so many batches, or on a share of them.
        limit_test_batches: evaluate on so many batches, or on a share of them.
        reload_dataloaders_every_n_epochs: make the data loaders anew after so many epochs; 0 for never.
        settings: other arguments of Lightning's trainer.

    Raises:
        UserError: a setting is impossible, alone or together with others.
    """

    @checked
    def __init__(
        self,
        *,
        max_epochs: Unlimited | None = None,
        min_epochs: NonNegativeInt | None = None,
        max_steps: Unlimited = -1,
        min_steps: NonNegativeInt | None = None,
        num_nodes: PositiveInt = 1,
        check_val_every_n_epoch: PositiveInt | None = 1,
        num_sanity_val_steps: Unlimited | None = None,
        log_every_n_steps: NonNegativeInt | None = None,
        accumulate_grad_batches: PositiveInt = 1,
        gradient_clip_val: NonNegativeFloat | None = None,
        limit_train_batches: BatchesOrShare = None,
        limit_val_batches: BatchesOrShare = None,
        limit_test_batches: BatchesOrShare = None,
        reload_dataloaders_every_n_epochs: NonNegativeInt = 0,
        **settings: Any,
    ) -> None:
        limits = {"limit_train_batches": limit_train_batches, "limit_val_batches": limit_val_batches}
        for name, value in (limits | {"val_check_interval": settings.get("val_check_interval")}).items():
            if value == 0:
                raise UserError(f"Expected trainer.{name} to be a number of batches or a share of them, above 0, got 0.")
        if settings.get("barebones"):
            raise UserError("Expected trainer.barebones to be false, got true: it logs nothing, and a learning curve is made of metrics.")
        if settings.get("overfit_batches"):
            raise UserError(
                f"Expected trainer.overfit_batches to be 0, got {settings['overfit_batches']}: Lightning would train on its own choice of "
                "items, not on the labeled ones. Use limit_train_batches."
            )
        callbacks = settings.get("callbacks")
        places = [getattr(each, "default_run_dir", None) for each in (callbacks if isinstance(callbacks, list) else [callbacks])]
        run = next(filter(None, places), None)
        settings["default_root_dir"] = settings.get("default_root_dir") or run
        try:
            super().__init__(
                max_epochs=max_epochs,
                min_epochs=min_epochs,
                max_steps=max_steps,
                min_steps=min_steps,
                num_nodes=num_nodes,
                check_val_every_n_epoch=check_val_every_n_epoch,
                num_sanity_val_steps=num_sanity_val_steps,
                log_every_n_steps=log_every_n_steps,
                accumulate_grad_batches=accumulate_grad_batches,
                gradient_clip_val=gradient_clip_val,
                reload_dataloaders_every_n_epochs=reload_dataloaders_every_n_epochs,
                limit_train_batches=limit_train_batches,
                limit_val_batches=limit_val_batches,
                limit_test_batches=limit_test_batches,
                **settings,
            )
        except Exception as error:  # MisconfigurationException, TypeError, ImportError ...: all of them are about what it was given
            raise UserError(f"Lightning refuses the trainer's settings: {' '.join(str(error).split())}") from error
        most = max(_FEW_PROCESSES, 2 * (os.cpu_count() or 1))
        if isinstance(self.accelerator, CPUAccelerator) and self.num_devices > most:
            raise UserError(f"Expected trainer.devices to be at most {most} processes on this machine's CPU, got {self.num_devices}.")
        environment = getattr(self.strategy, "cluster_environment", None)
        if num_nodes > 1 and isinstance(environment, LightningEnvironment) and "MASTER_ADDR" not in os.environ:
            raise UserError(
                f"Expected something that connects {num_nodes} nodes (srun, torchrun, or MASTER_ADDR, MASTER_PORT and NODE_RANK in the "
                "environment), got nothing. Start them with one of these, or set trainer.num_nodes to 1."
            )
