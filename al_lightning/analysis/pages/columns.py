"""The columns of a table: how the values of a row become text."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from al_lightning.percent import percent

Format = Callable[[Any], str]

MISSING = "\N{EN DASH}"
"""The text of a cell without a value."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: the heading of the column.
        text: returns the text of the cell for a row.
        number: whether cells are aligned to the right.
        differs: whether cells are marked that differ from the most frequent text of the column.
    """

    heading: str
    text: Callable[[Mapping[str, Any]], str]
    number: bool = True
    differs: bool = False


def text(heading: str, name: str, differs: bool = False) -> Column:
    """A column of texts: the values of ``name`` in each row."""
    return Column(heading, lambda row: str(row.get(name, "")), number=False, differs=differs)


def number(heading: str, name: str, form: Format) -> Column:
    """A column of numbers: the values of ``name`` in each row, formatted by ``form``."""
    return Column(heading, lambda row: or_missing(row[name], form))


def with_interval(heading: str, name: str, form: Format, low: str | None = None, high: str | None = None) -> Column:
    """A column of numbers with their intervals, whose ends are ``<name>_low`` and ``<name>_high`` by default."""

    def written(row: Mapping[str, Any]) -> str:
        ends = [row[low or f"{name}_low"], row[high or f"{name}_high"]]
        value = or_missing(row[name], form)
        return value if any(map(_unknown, ends)) else f"{value}  [{form(ends[0])}, {form(ends[1])}]"

    return Column(heading, written)


def or_missing(value: Any, form: Format) -> str:
    """Formats a value; a dash if it is None or NaN."""
    return MISSING if _unknown(value) else form(value)


def whole_percent(fraction: float) -> str:
    """A fraction in whole percent, with the percent sign, for columns whose heading has none."""
    return percent(fraction, "z.0f")


def count(value: float) -> str:
    """A whole number with commas between thousands."""
    return f"{value:,.0f}"


def labels(value: float) -> str:
    """A number of labels; ``never`` if it is infinite."""
    return "never" if math.isinf(value) else count(value)


def decimal(value: float) -> str:
    """A number with two decimal places."""
    return f"{value:,.2f}"


def probability(value: float) -> str:
    """A p-value with three decimal places, or ``< 0.001``. Near 0.05 it has four, cut off, so that it can be read on which side it is."""
    if round(value, 3) == 0.05 != value:
        return f"{math.floor(10000 * value + 1e-9) / 10000:.4f}"  # 10000 * 0.0498 is a little less than 498
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def mebibytes(value: float) -> str:
    """Bytes in MiB."""
    return f"{value / 2**20:,.0f}"


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
