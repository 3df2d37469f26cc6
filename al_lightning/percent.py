"""Metrics and shares as people read them.

What a program reads (files, loggers, options) has fractions, as torchmetrics gives them. What a person reads (the console, pages, figures)
has percent, and a sign or a heading that says so; differences are in percentage points. Only this module converts the one to the other.
"""

import math
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy.typing as npt

ROUNDING = 1e-6
"""Relative difference of metrics that counts as none: they are measured in float32, in which 90 of 100 are a little less than 0.9."""

_Number = TypeVar("_Number", float, "npt.NDArray[Any]")


def in_percent(fractions: _Number) -> _Number:
    """A fraction, or an array of them, times 100."""
    return 100 * fractions


def percent(fraction: float, form: str = "z.2f") -> str:
    """A fraction in percent, with the sign %; never -0.

    Args:
        fraction: of which 1 is 100 %.
        form: format of the number.

    Example:
        >>> percent(0.8455), percent(-1e-6, "z.0f")
        ('84.55 %', '0 %')
    """
    return f"{unsigned(fraction, form)} %"


def unsigned(fraction: float, form: str = "z.2f") -> str:
    """A fraction in percent without the sign, which a heading or a sentence has."""
    return f"{in_percent(fraction):{form}}"


def points(difference: float, form: str = "+z.2f") -> str:
    """A difference of fractions, in percentage points.

    Example:
        >>> points(0.012), points(-1e-6)
        ('+1.20', '+0.00')
    """
    return unsigned(difference, form)


def drawn(metric: str, values: _Number) -> _Number:
    """Values of a metric as figures show them: in percent, except losses."""
    return in_percent(values) if _is_fraction(metric) else values


def heading(metric: str) -> str:
    """The name of a metric as the heading of its values: with the sign % unless they are losses."""
    return f"{metric} (%)" if _is_fraction(metric) else metric


def told(metric: str, value: float) -> str:
    """A metric's name and value.

    Example:
        >>> told("val/accuracy", 0.504), told("val/loss", 1.4583)
        ('val/accuracy 50.40 %', 'val/loss 1.4583')
    """
    if math.isnan(value):
        return f"{metric} no number"
    return f"{metric} {percent(value) if _is_fraction(metric) else format(value, '.4f')}"


def is_loss(metric: str) -> bool:
    """Whether a metric is a loss: lower is better, and it is no fraction.

    Example:
        >>> is_loss("val/loss"), is_loss("val/iou/floss")
        (True, False)
    """
    return "loss" in metric.rpartition("/")[2] and "/iou/" not in metric


def _is_fraction(metric: str) -> bool:
    return not is_loss(metric)
