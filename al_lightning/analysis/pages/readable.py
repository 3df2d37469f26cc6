"""Which columns the page shows of each table."""

from collections.abc import Mapping, Sequence
from functools import partial

from al_lightning.analysis.numbers.setup import NOT_RECORDED
from al_lightning.analysis.numbers.tables import Rows
from al_lightning.analysis.pages import columns
from al_lightning.analysis.pages.columns import Column
from al_lightning.percent import percent, points, unsigned


def summary(baseline: str | None) -> list[Column]:
    """The columns of the summary, which has the numbers of whole curves.

    Args:
        baseline: label of the baseline; None if there is no baseline, and no break-even points.
    """
    if baseline is None:
        return _SUMMARY
    first = columns.number(f"first above {baseline} (labels)", "first_above", columns.labels)
    return [*_SUMMARY, first, columns.number(f"break-even with {baseline} (labels)", "break_even", columns.labels)]


_SUMMARY = [
    columns.text("strategy", "strategy"),
    columns.number("seeds", "seeds", columns.count),
    columns.with_interval("mean over the curve (%)", "mean_metric", unsigned),
    columns.with_interval("ALC", "alc", columns.decimal),
    columns.with_interval("normalised ALC", "normalized_alc", columns.decimal),
    columns.with_interval("last metric (%)", "final", unsigned),
]


def facts(told: Mapping[str, str]) -> tuple[Rows, list[Column]]:
    """The rows and columns of a table of facts, which are given by their headings."""
    return [{"what": heading, "value": text} for heading, text in told.items()], [columns.text("", "what"), columns.text("", "value")]


STOPPING = [
    columns.text("run", "run"),
    columns.number("labels", "labeled", columns.count),
    columns.text("metric", "metric"),
    columns.with_interval("last (%)", "value", unsigned),
    columns.text("interval", "interval"),
    columns.number("gain per label (points)", "gain_per_label", partial(points, form="+z.4f")),
    columns.number("wrong on the strategy's picks (%)", "strategy_error", unsigned),
    columns.number("wrong on random picks (%)", "random_error", unsigned),
    columns.with_interval("difference (points)", "difference", points),
]
"""The columns of the table that helps to decide when to stop."""

COST = [
    columns.text("setting", "setting"),
    columns.text("strategy", "strategy"),
    columns.number("runs", "runs", columns.count),
    columns.number("cycles", "cycles", "{:g}".format),
    columns.number("training (s)", "train_seconds", columns.decimal),
    columns.number("queries (s)", "query_seconds", columns.decimal),
    columns.number("one query (s)", "seconds_per_query", columns.decimal),
    columns.number("peak memory (MiB)", "peak_bytes", columns.mebibytes),
    Column("labels", lambda row: columns.count(row["labeled"]) + (f" + {row['validation']:g} for validation" if row["validation"] else "")),
    Column("queried pixels", lambda row: NOT_RECORDED if row["queried_pixels"] is None else columns.count(row["queried_pixels"])),
]
"""The columns of the table of costs."""


def contrast(first: str, second: str | None, *more: Column) -> list[Column]:
    """The columns of a table of tests.

    Args:
        first: heading for the first strategy.
        second: heading for the second strategy; None leaves it out, if it is the same in all rows.
        more: further columns.
    """
    return [
        columns.text(first, "first"),
        *([columns.text(second, "second")] if second else []),
        *more,
        columns.with_interval("difference (points)", "difference", points, "low", "high"),
        columns.number("common seeds", "seeds", columns.count),
        columns.number("p", "p", columns.probability),
        columns.number("p corrected", "p_holm", columns.probability),
        columns.text("note", "note"),
    ]


def trend(setting: str) -> list[Column]:
    """The columns of a table of trends against a setting."""
    return [
        columns.text("strategy", "strategy"),
        columns.number(setting, "value", "{:g}".format),
        columns.number("break-even (labels)", "break_even", columns.labels),
        columns.with_interval("mean difference (points)", "difference", points, "low", "high"),
    ]


def level_rows(rows: Rows) -> Rows:
    """Turns rows for each strategy and level into a row for each strategy, with two columns for each level."""
    wide: dict[str, dict[str, object]] = {}
    for row in rows:
        line = wide.setdefault(row["strategy"], {"strategy": row["strategy"]})
        line |= {f"labels {row['level']}": row["labels"], f"saved {row['level']}": row["saved"]}
    return list(wide.values())


def levels(wanted: Sequence[float]) -> list[Column]:
    """The columns of :func:`level_rows`."""
    found = [columns.text("strategy", "strategy")]
    for level in wanted:
        found.append(columns.number(f"labels for {percent(level, '.4g')}", f"labels {level}", columns.labels))
        found.append(columns.number(f"saved at {percent(level, '.4g')}", f"saved {level}", columns.whole_percent))
    return found
