"""Work that the first process does for all processes."""

from collections.abc import Callable
from typing import Any, TypeVar

from lightning.pytorch import Trainer

from al_lightning.errors import UserError

_T = TypeVar("_T")


def in_first(trainer: Trainer, work: Callable[[], _T]) -> _T:
    """Does some work in the first process; every process gets its result, or its error.

    Raises:
        UserError: the work raised it; an OSError likewise.
    """
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
