"""Weights that a cycle does not train, or does not end with."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from al_lightning.callbacks.record import marked_weights
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory


def weights_of_cycle_0(run: RunDirectory, module: nn.Module) -> dict[str, Tensor]:
    """The state of a module that cycle 0 of another run has left.

    Raises:
        UserError: its checkpoint is missing, or none of this module.
    """
    path = run.checkpoint(0)
    if not path.is_file():
        raise UserError(f"Expected the checkpoint {path} of the initial run, but it is missing. Was the run made with keep: all?")
    return marked_weights(path, run.read_environment().get("run"), 0, module)


def best_weights(trainer: Trainer, run: str | None, cycle: int, module: nn.Module) -> dict[str, Tensor]:
    """The state of a module that a ModelCheckpoint with a monitored metric has found best in this cycle.

    Args:
        trainer: whose callbacks.
        run: the run's id.
        cycle: the cycle's number.
        module: what is trained.

    Raises:
        UserError: there is no such callback, or it has kept nothing.
    """
    monitoring = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor]
    if not monitoring or not monitoring[0].best_model_path:
        raise UserError(
            "Expected a ModelCheckpoint with a monitored metric among trainer.callbacks for active_learning.query_weights=best, "
            f"and at least one checkpoint of it, got {'no checkpoint' if monitoring else 'no such callback'}."
        )
    best = monitoring[0]
    return marked_weights(Path(best.best_model_path), None if best.save_weights_only else run, cycle, module)
