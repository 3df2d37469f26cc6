"""Lightning's callbacks that an experiment can't have, and why. All others do in each cycle what they do in a fresh fit."""

from collections.abc import Iterable

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    Checkpoint,
    ProgressBar,
)

from al_lightning.errors import UserError

_REFUSED: dict[type[Callback], str] = {
    BatchSizeFinder: "the memory that is free, not the configuration, would say what each cycle computes. Set data.init_args.batch_size",
    BasePredictionWriter: "nothing is predicted in a fit. Leave it out, and predict with the weights in cycles/NNN/last.ckpt",
}
_BASES = (Callback, Checkpoint, ProgressBar, BaseFinetuning)


def refuse_callbacks(callbacks: Iterable[Callback]) -> None:
    """Refuses callbacks before anything is computed.

    Raises:
        UserError: a callback can't be part of an experiment; the message says why.
    """
    for callback in callbacks:
        for kind, why in _REFUSED.items():
            if isinstance(callback, kind):
                raise UserError(f"Expected trainer.callbacks without {type(callback).__name__}: {why}.")
        if type(callback) in _BASES:
            raise UserError(f"Expected a callback that does something, got {type(callback).__name__}, which others are made from.")
