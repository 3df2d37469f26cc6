"""Weights that a cycle takes from a checkpoint: those of another run's cycle 0, or the best ones of its own training."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from al_lightning.callbacks.record import RunRecord, marked_weights
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory


def weights_of_cycle_0(run: RunDirectory, module: nn.Module) -> dict[str, Tensor]:
    """The state of a module in the checkpoint of another run's cycle 0.

    Raises:
        UserError: the checkpoint is missing, or does not fit this module.
    """
    path = run.checkpoint(0)
    if not path.is_file():
        raise UserError(
            f"Expected the checkpoint {path} of the initial run, but it is missing. Take a run that was made with active_learning.keep=all."
        )
    return marked_weights(path, run.read_environment().get("run"), 0, module)


def best_weights(trainer: Trainer, run: str | None, cycle: int, module: nn.Module) -> dict[str, Tensor]:
    """The state of a module that was the best in this cycle, by a ModelCheckpoint with a monitored metric.

    Args:
        trainer: has the ModelCheckpoint among its callbacks.
        run: the run's id.
        cycle: the cycle's number.
        module: the module in training.

    Raises:
        UserError: there is no such callback, or it has written no checkpoint.
    """
    monitoring = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor]
    if not monitoring or not monitoring[0].best_model_path:
        raise UserError(
            "Expected a ModelCheckpoint with a monitored metric among trainer.callbacks for active_learning.query_weights=best, "
            f"and at least one checkpoint of it, got {'no checkpoint' if monitoring else 'no such callback'}."
        )
    best = monitoring[0]
    return marked_weights(Path(best.best_model_path), None if best.save_weights_only else run, cycle, module)


def refuse_reopening(record: RunRecord, cycle: int, warm: bool, initial_run: RunDirectory | None, module: nn.Module) -> None:
    """Makes sure that the weights are there with which a finished cycle is done again.

    Args:
        record: of the run.
        cycle: the cycle.
        warm: whether it trained the weights of the cycle before it further.
        initial_run: the run whose cycle 0 was taken; None if there is none.
        module: the module that they are for.

    Raises:
        UserError: weights are missing, or of another model.
    """
    if warm and cycle > 0:
        record.weights(cycle - 1)
    if cycle == 0 and initial_run is not None:
        weights_of_cycle_0(initial_run, module)
