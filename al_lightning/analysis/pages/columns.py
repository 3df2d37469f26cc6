"""How rows become the cells that a person reads."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from al_lightning.percent import percent

Format = Callable[[Any], str]

MISSING = "\N{EN DASH}"
"""Stands where there is no value."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: for people.
        text: makes the cell's text from its row.
        number: whether cells stand right.
        differs: whether cells that are not the column's most frequent one are marked.
    """

    heading: str
    text: Callable[[Mapping[str, Any]], str]
    number: bool = True
    differs: bool = False


def text(heading: str, name: str, differs: bool = False) -> Column:
    """A column of words."""
    return Column(heading, lambda row: str(row.get(name, "")), number=False, differs=differs)


def number(heading: str, name: str, form: Format) -> Column:
    """A column of numbers."""
    return Column(heading, lambda row: or_missing(row[name], form))


def with_interval(heading: str, name: str, form: Format, low: str | None = None, high: str | None = None) -> Column:
    """A column of numbers with their intervals, by default those of ``<name>_low`` and ``<name>_high``."""

    def written(row: Mapping[str, Any]) -> str:
        ends = [row[low or f"{name}_low"], row[high or f"{name}_high"]]
        value = or_missing(row[name], form)
        return value if any(map(_unknown, ends)) else f"{value}  [{form(ends[0])}, {form(ends[1])}]"

    return Column(heading, written)


def or_missing(value: Any, form: Format) -> str:
    """A value as text, or a dash."""
    return MISSING if _unknown(value) else form(value)


def whole_percent(fraction: float) -> str:
    """With the sign, where headings have none."""
    return percent(fraction, "z.0f")


def count(value: float) -> str:
    """A whole number with thousands marked."""
    return f"{value:,.0f}"


def labels(value: float) -> str:
    """A number of labels; infinite ones are never enough."""
    return "never" if math.isinf(value) else count(value)


def decimal(value: float) -> str:
    """Two digits."""
    return f"{value:,.2f}"


def probability(value: float) -> str:
    """A p-value."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def mebibytes(value: float) -> str:
    """Bytes in MiB."""
    return f"{value / 2**20:,.0f}"


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
