"""Weights that a cycle takes from a checkpoint: those of another run's cycle 0, or the best ones of its own training."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from al_lightning.callbacks.record import RunRecord, marked_weights
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory

_EXPECTED = "Expected a ModelCheckpoint with a monitored metric among trainer.callbacks for active_learning.query_weights=best"


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


def best_weights(trainer: Trainer, record: RunRecord, cycle: int, module: nn.Module) -> dict[str, Tensor]:
    """The state of a module that was the best in this cycle, by a ModelCheckpoint with a monitored metric.

    Args:
        trainer: has the ModelCheckpoint among its callbacks.
        record: of the run.
        cycle: the cycle's number.
        module: the module in training.

    Raises:
        UserError: it has written no checkpoint, or the best one is gone; then the cycle begins anew when the run goes on.
    """
    best = _monitoring(trainer)[0]
    if not best.best_model_path:
        raise UserError(f"{_EXPECTED}, and at least one checkpoint of it in each training, got none in cycle {cycle}.")
    if not Path(best.best_model_path).is_file():
        record.forget_training(cycle)
        raise UserError(
            f"Expected the best checkpoint {best.best_model_path} of cycle {cycle}, but a process that was killed has removed it for a "
            "better one, which this training has not reached. Go on with --resume: the cycle begins anew."
        )
    return marked_weights(Path(best.best_model_path), None if best.save_weights_only else record.id, cycle, module)


def refuse_no_best(trainer: Trainer) -> None:
    """Makes sure that there will be best weights, before a training of hours.

    Raises:
        UserError: no callback keeps them.
    """
    if not (found := _monitoring(trainer)) or found[0].save_top_k == 0:
        raise UserError(f"{_EXPECTED}, got {'one with save_top_k 0' if found else 'no such callback'}.")


def refuse_used(trainer: Trainer) -> None:
    """Makes sure that no ModelCheckpoint goes on where an earlier fit has left it: in another cycle's folder, with its best score.

    Raises:
        UserError: one does.
    """
    for callback in trainer.checkpoint_callbacks:
        place = Path(getattr(callback, "dirpath", None) or ".").absolute()
        run = RunDirectory(place.parent.parent)
        if place.name.isdecimal() and place == run.cycle(int(place.name)).absolute() and run.holds_run():
            raise UserError(
                f"Expected a ModelCheckpoint that was made for this run, but one has kept checkpoints in {place}. Make it anew, beside the "
                "ActiveLearningCallback."
            )


def _monitoring(trainer: Trainer) -> list[ModelCheckpoint]:
    return [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor]


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
