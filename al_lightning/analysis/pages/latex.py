"""The summary as LaTeX, for a paper."""

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
    """A table of booktabs a panel, a row a strategy.

    Args:
        panels: of each its name, the summary's rows, and the label of what the break-even points are against, if there is any.
        about: what was run, in a line.
    """
    tables = [{"name": printable(name), **_table(rows, baseline)} for name, rows, baseline in panels]
    return _TEMPLATES.get_template("summary.tex").render(tables=tables, about=printable(about))


def escaped(text: str) -> str:
    r"""A text as LaTeX shows it.

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
            *(_measured(row, *column) for column in shown.values()),
            *([columns.or_missing(row["break_even"], columns.labels).replace(columns.MISSING, "--")] if baseline else []),
        ]
        for row in rows
    ]
    return {"head": [*map(escaped, head)], "rows": lines}


def _measured(row: Mapping[str, Any], name: str, form: columns.Format) -> str:
    """A number with half of its interval, if it has any."""
    value, high = row[name], row[f"{name}_high"]
    if value is None or math.isnan(value):
        return "--"
    return form(value) if high is None or math.isnan(high) else rf"${form(value)} \pm {form(high - value)}$"
