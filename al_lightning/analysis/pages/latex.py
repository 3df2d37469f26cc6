"""The summary table in LaTeX, for a paper."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from al_lightning.analysis.numbers.tables import Rows
from al_lightning.analysis.pages import columns
from al_lightning.percent import unsigned
from al_lightning.text import printable

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
_COLUMNS: Mapping[str, tuple[str, columns.Format]] = {
    "mean over the curve (%)": ("mean_metric", unsigned),
    "ALC": ("alc", columns.decimal),
    "normalised ALC": ("normalized_alc", columns.decimal),
    "last metric (%)": ("final", unsigned),
}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates"), encoding="utf-8"),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def summary(panels: Sequence[tuple[str, Rows, str | None]], about: str) -> str:
    """Writes a booktabs table for each panel, with a row for each strategy.

    Args:
        panels: for each panel, its name, the rows of its summary, and the label of its baseline if it has one.
        about: what was run, in one line.
    """
    tables = [{"name": printable(name), **_table(rows, baseline)} for name, rows, baseline in panels]
    return _TEMPLATES.get_template("summary.tex").render(tables=tables, about=printable(about))


def escaped(text: str) -> str:
    r"""Escapes the special characters of LaTeX in a text.

    Example:
        >>> escaped("50 % of $a_b$")
        '50 \\% of \\$a\\_b\\$'
    """
    return re.sub(r"[\\~^<>&%$#_{}]", lambda found: _SPECIAL.get(found.group(), "\\" + found.group()), printable(text))


def _table(rows: Rows, baseline: str | None) -> dict[str, Any]:
    shown = {heading: column for heading, column in _COLUMNS.items() if any(row[column[0]] is not None for row in rows)}
    head = ["strategy", "seeds", *shown, *([f"break-even with {baseline} (labels)"] if baseline else [])]
    lines = [
        [
            escaped(row["strategy"]),
            str(row["seeds"]),
            *(_with_half_interval(row, *column) for column in shown.values()),
            *([columns.or_missing(row["break_even"], columns.labels).replace(columns.MISSING, "--")] if baseline else []),
        ]
        for row in rows
    ]
    return {"head": [*map(escaped, head)], "rows": lines}


def _with_half_interval(row: Mapping[str, Any], name: str, form: columns.Format) -> str:
    """Writes a number, with half the width of its interval if it has one."""
    value, high = row[name], row[f"{name}_high"]
    if value is None or math.isnan(value):
        return "--"
    if high is None or math.isnan(high):
        return form(value)
    return rf"${form(value)} \pm {form(high - value)}$".replace(",", "{,}")  # TeX puts a space after a bare comma in mathematics
