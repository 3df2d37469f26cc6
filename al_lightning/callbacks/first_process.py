"""Work that the first process does for all processes."""

from collections.abc import Callable
from traceback import format_exception
from typing import Any, TypeVar

from lightning.pytorch import Trainer

from al_lightning.errors import UserError

_T = TypeVar("_T")


class FirstProcessFailed(RuntimeError):
    """What the other processes raise when the first one failed, with its traceback as text: not every error can be sent.

    Whoever started the processes may show no error but that of the one that ended first.
    """


def in_first(trainer: Trainer, work: Callable[[], _T]) -> _T:
    """Does some work in the first process; every process gets its result, or its error.

    Raises:
        Exception: what the work raised, in the first process.
        UserError: in the others, if the work raised it; an OSError likewise.
        FirstProcessFailed: in the others, if the work raised anything else.
    """
    outcome: Any = None
    raised: Exception | None = None
    if trainer.is_global_zero:
        try:
            outcome = work()
        except Exception as error:
            raised = error
            known = isinstance(error, UserError | OSError)
            outcome = error if known else FirstProcessFailed("The first process failed.\n\n" + "".join(format_exception(error)))
    outcome = trainer.strategy.broadcast(outcome)
    if raised is not None:
        raise raised
    if isinstance(outcome, UserError | OSError | FirstProcessFailed):
        raise outcome
    return outcome  # type: ignore[no-any-return]
