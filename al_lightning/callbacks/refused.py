"""What an experiment can't have, and why: other modules, some of Lightning's callbacks, settings that need what is not kept.

All other callbacks do in each cycle what they do in a fresh fit.
"""

from collections.abc import Iterable

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    Checkpoint,
    ProgressBar,
)
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.tasks import Task

_REFUSED: dict[type[Callback], str] = {
    BatchSizeFinder: "the memory that is free, not the configuration, would say what each cycle computes. Set data.init_args.batch_size",
    BasePredictionWriter: "nothing is predicted in a fit. Leave it out, and predict with the weights in cycles/NNN/last.ckpt",
}
_BASES = (Callback, Checkpoint, ProgressBar, BaseFinetuning)


def parts_of(trainer: Trainer) -> tuple[Task, PoolDataModule]:
    """The module and the data module of a fit.

    Raises:
        UserError: they are not made for active learning.
    """
    task, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(task, Task) or not isinstance(data, PoolDataModule):
        raise UserError(f"Expected a Task and a PoolDataModule for active learning, got {type(task).__name__} and {type(data).__name__}.")
    return task, data


def refuse_callbacks(callbacks: Iterable[Callback], task: Task) -> None:
    """Refuses callbacks before anything is computed.

    Raises:
        UserError: a callback can't be part of an experiment, or not with this task; the message says why.
    """
    for callback in callbacks:
        for kind, why in _REFUSED.items():
            if isinstance(callback, kind):
                raise UserError(f"Expected trainer.callbacks without {type(callback).__name__}: {why}.")
        if isinstance(callback, BaseFinetuning) and task.trainer.world_size > 1:
            raise UserError(
                f"Expected one process with {type(callback).__name__}, got {task.trainer.world_size}: the gradients of what is frozen when "
                "training begins are not shared between processes later, so that each would train a network of its own."
            )
        if type(callback) in _BASES:
            raise UserError(f"Expected a callback that does something, got {type(callback).__name__}, which others are made from.")
        if isinstance(callback, BackboneFinetuning):
            _ = task.backbone  # asked for now: before a person labels anything


def refuse_plugins(trainer: Trainer) -> None:
    """Refuses a plugin that writes checkpoints later than it says.

    Raises:
        UserError: there is one.
    """
    if isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO):
        raise UserError(
            "Expected trainer.plugins without AsyncCheckpointIO, as a cycle's row is written when its checkpoint is there. Leave it out: a "
            "checkpoint is written once a cycle."
        )


def refuse_unkept(keep: str, retrain: str, random_share: float | None) -> None:
    """Refuses settings that need checkpoints of cycles if none are kept.

    Raises:
        UserError: a checkpoint is needed and ``keep`` is ``none``; the message says for what.
    """
    if keep != "none":
        return
    if retrain == "warm":
        raise UserError("Expected active_learning.keep to be all or last with retrain=warm: a resumed run needs the last weights.")
    if random_share:
        raise UserError(
            "Expected active_learning.keep to be all or last with random_share: how wrong the network was on what it asked for is "
            "measured by its checkpoint, when the labels are there."
        )
