"""What one process does for all."""

from collections.abc import Callable
from typing import Any, TypeVar

from lightning.pytorch import Trainer

from al_lightning.errors import UserError

_T = TypeVar("_T")


def in_first(trainer: Trainer, work: Callable[[], _T]) -> _T:
    """Does something in the first process; its result, or its error, is every process's."""
    outcome: Any = None
    if trainer.is_global_zero:
        try:
            outcome = work()
        except (UserError, OSError) as error:
            outcome = error
    outcome = trainer.strategy.broadcast(outcome)
    if isinstance(outcome, UserError | OSError):
        raise outcome
    return outcome  # type: ignore[no-any-return]
