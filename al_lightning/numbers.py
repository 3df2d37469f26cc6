"""Numbers with a range: a signature that uses them shows the range in ``--help``, and refuses other numbers, also those from Python."""

import functools
import inspect
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, get_args, get_type_hints

from jsonargparse.typing import restricted_number_type

from al_lightning.errors import UserError

if TYPE_CHECKING:
    NonNegativeInt: TypeAlias = int
    PositiveInt: TypeAlias = int
    IntFrom2: TypeAlias = int
    NonNegativeFloat: TypeAlias = float
    PositiveFloat: TypeAlias = float
    OpenUnitInterval: TypeAlias = float
    Share: TypeAlias = float
    DropRate: TypeAlias = float
    ClosedUnitInterval: TypeAlias = float
    Edge: TypeAlias = int
    ImageEdge: TypeAlias = int
    ScaleFactor: TypeAlias = float
else:
    from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt  # noqa: F401

    IntFrom2 = restricted_number_type("IntFrom2", int, (">=", 2))
    Share = restricted_number_type("Share (0 < v <= 1)", float, [(">", 0.0), ("<=", 1.0)])
    DropRate = restricted_number_type("DropRate (0 <= v < 1)", float, [(">=", 0.0), ("<", 1.0)])
    Edge = restricted_number_type("Edge (0 < v <= 8192)", int, [(">", 0), ("<=", 8192)])
    ImageEdge = restricted_number_type("ImageEdge (32 <= v <= 8192)", int, [(">=", 32), ("<=", 8192)])
    ScaleFactor = restricted_number_type("ScaleFactor (0 < v <= 100)", float, [(">", 0.0), ("<=", 100.0)])

_P = ParamSpec("_P")
_T = TypeVar("_T")


def checked(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Makes a function (mostly a constructor) refuse numbers outside of the ranges in its own signature.

    Raises:
        UserError: the function is called with such a number, or with a list or a tuple that has one.

    Example:
        >>> @checked
        ... def drop(rate: DropRate = 0.5) -> float:
        ...     return rate
        >>> drop(1.5)
        Traceback (most recent call last):
        al_lightning.errors.UserError: Expected rate of drop to be a number >=0.0 and <1.0, got 1.5.
    """
    signature = inspect.signature(function)

    @functools.cache
    def ranges() -> dict[str, set[Any]]:  # made at the first call: names in annotations may be defined after the function
        return {name: found for name, hint in get_type_hints(function).items() if (found := _ranges(hint))}

    @functools.wraps(function)
    def careful(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        given = signature.bind(*args, **kwargs)
        for name in given.arguments.keys() & ranges():
            owner = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
            given.arguments[name] = _plain(given.arguments[name], ranges()[name], f"{name} of {owner}")
        return function(*given.args, **given.kwargs)

    return careful


def _ranges(hint: Any) -> set[Any]:
    """The restricted types in a hint."""
    return {hint} if hasattr(hint, "_restrictions") else {found for part in get_args(hint) for found in _ranges(part)}


def _plain(value: Any, allowed: set[Any], what: str) -> Any:
    """A checked value, with numbers of Python's own types: those of the parser's types could not be read from a checkpoint."""
    if isinstance(value, list | tuple):
        return type(value)(_plain(part, allowed, what) for part in value)
    if not isinstance(value, Real):
        return value
    if not any(_conforms(value, each) for each in allowed):
        expected = " or ".join(each._expression.replace("v", "") for each in allowed)
        raise UserError(f"Expected {what} to be a number {expected}, got {value}.")
    return getattr(value, "_type", lambda number: number)(value)


def _conforms(number: Real, restricted: Any) -> bool:
    try:
        restricted(number)
    except (ValueError, OverflowError):
        return False
    return True
