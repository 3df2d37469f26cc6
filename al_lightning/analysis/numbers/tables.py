"""The tables of a comparison, as in its CSV files. Each row is a dictionary. Metrics and shares are fractions, not percent."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from al_lightning import settings
from al_lightning.analysis.numbers import findings
from al_lightning.analysis.numbers.comparison import Comparison, Panel, Series
from al_lightning.analysis.numbers.curves import Values
from al_lightning.analysis.numbers.findings import Contrast
from al_lightning.analysis.numbers.recorded import Run
from al_lightning.analysis.numbers.setup import NOT_RECORDED
from al_lightning.analysis.numbers.statistics import Interval
from al_lightning.analysis.numbers.trends import Trend
from al_lightning.run_tables import indices_by_cycle
from al_lightning.runs import RunDirectory

Rows = list[dict[str, Any]]


def curves_by_seed(panel: Panel) -> Rows:
    """Each point of each run's learning curve."""
    return [
        {"setting": panel.name, "strategy": series.label, "seed": seed, "labeled": labeled, "value": value}
        for series in panel.series
        for seed, curve in series.curves.items()
        for labeled, value in sorted(curve.items())
    ]


def other_runs(comparison: Comparison) -> Rows:
    """Each point of the runs without a learning curve: those on the whole pool, and those that are only cycle 0 for other runs."""
    parts = {"whole pool": comparison.full_runs, "cycle 0 for others": comparison.starts}
    return [
        {"part": part, "run": str(run.path), "seed": run.seed, "labeled": labeled, "value": value}
        for part, runs in parts.items()
        for run in runs
        for labeled, value in sorted(run.curve(comparison.metric).items())
    ]


def queried_by_seed(panel: Panel) -> Rows:
    """A row for each cycle of each run, with the indices that joined the training set in this cycle, by rank.

    The run's own queries.csv has a row for each of these indices.

    Raises:
        UserError: a run's tables are damaged.
    """
    return [
        {"setting": panel.name, "strategy": series.label, "seed": seed, "cycle": cycle, "indices": " ".join(map(str, indices))}
        for series in panel.series
        for seed, run in series.runs.items()
        for cycle, indices in indices_by_cycle(RunDirectory(run.path).read_labeled()[1]).items()
    ]


def curves(panel: Panel) -> Rows:
    """Mean learning curves with their intervals."""
    return [
        {"setting": panel.name, "strategy": series.label, "labeled": labeled, **_interval("value", point), "seeds": point.count}
        for series in panel.series
        for labeled, point in findings.curve(series)
    ]


def summary(panel: Panel) -> Rows:
    """A row for each strategy: areas, last value and break-even point over the common budgets."""
    return [_summary(panel, series) for series in panel.compared]


def levels(panel: Panel, wanted: Sequence[float]) -> Rows:
    """How many labels each strategy needs to reach each level, and what share it saves against the baseline."""
    return [
        {"setting": panel.name, "strategy": series.label, "level": level.level, "labels": level.labels, "saved": level.saved}
        for series in panel.compared
        for level in findings.levels_reached(panel, series, wanted)
    ]


def contrasts(panel: Panel, tests: Iterable[Contrast]) -> Rows:
    """A row for each test, with the number of common seeds and a note."""
    return [
        {
            "setting": panel.name,
            "first": test.first,
            "second": test.second,
            **({} if test.labeled is None else {"labeled": test.labeled}),
            "difference": test.difference.mean,
            "low": test.difference.low,
            "high": test.difference.high,
            "seeds": len(test.difference.seeds),
            "p": test.difference.p,
            "p_holm": test.corrected,
            "note": test.difference.note,
        }
        for test in tests
    ]


def penalties(panel: Panel, shares: Values) -> Rows:
    """A row for each ordered pair: the share of budgets at which the first beats the second, from :func:`findings.penalties`."""
    return [
        {"setting": panel.name, "winner": winner.label, "loser": loser.label, "share": float(shares[i, j])}
        for i, winner in enumerate(panel.compared)
        for j, loser in enumerate(panel.compared)
        if i != j
    ]


def cost(panel: Panel) -> Rows:
    """A row for each strategy: the mean cost of its runs, and the largest memory peak of any run."""
    return [
        {"setting": panel.name, "strategy": series.label, "runs": len(series.runs), **_cost(list(series.runs.values()))}
        for series in panel.series
    ]


def trends(found: Iterable[Trend]) -> Rows:
    """Break-even points and differences against settings."""
    return [
        {
            "setting": trend.where,
            "strategy": label,
            "varied": trend.setting,
            "value": point.value,
            "break_even": point.break_even,
            "difference": point.difference.mean,
            "low": point.difference.low,
            "high": point.difference.high,
        }
        for trend in found
        for label, points in trend.lines.items()
        for point in points
    ]


def strategies(comparison: Comparison) -> Rows:
    """A row for each strategy: its label and all its settings."""
    rows: dict[str, dict[str, Any]] = {}
    for panel in comparison.panels:
        for series in panel.series:
            rows.setdefault(series.label, {"strategy": series.label, "settings": settings.described(series.choice)})
    return list(rows.values())


def differing_settings(comparison: Comparison) -> Rows:
    """A row for each setting that differs between panels, with a column for each panel."""
    panels = comparison.panels
    return [
        {"setting": key} | {panel.name: settings.short(panel.settings.get(key)) for panel in panels}
        for key in settings.differing([panel.settings for panel in panels])
    ]


def runs(comparison: Comparison) -> Rows:
    """A row for each run: its path, its progress, and its environment."""
    part: dict[Run, tuple[str, str]] = {run: ("", "whole pool") for run in comparison.full_runs}
    part |= {run: ("", "cycle 0 for others") for run in comparison.starts}
    part |= {run: ("", "left out: its seed is there already") for run in comparison.duplicates}
    for panel in comparison.panels:
        for series in panel.series:
            part |= {run: (panel.name, series.label) for run in series.runs.values()}
    found = [_run(run, *part[run]) for run in comparison.runs]
    skipped = [{"run": str(path), "strategy": "not read", "state": reason} for path, reason in comparison.skipped.items()]
    columns = dict.fromkeys(key for row in found for key in row)
    return [
        *({column: row.get(column, NOT_RECORDED) for column in columns} for row in found),
        *({column: row.get(column, "") for column in columns} for row in skipped),
    ]


def environment(run: Run) -> dict[str, str]:
    """The environment of a run, in this order: device, processes, threads, commit, Python, packages."""
    known = run.environment
    plain = {name: str(known[name]) for name in ("device", "processes", "threads", "git_commit", "python") if known.get(name) is not None}
    return plain | {name: str(version) for name, version in known.get("versions", {}).items()}


def _run(run: Run, setting: str, strategy: str) -> dict[str, Any]:
    resumed = len(run.environment.get("resumed", []))
    state = "finished" if run.finished else "unfinished"
    return {
        "run": str(run.path),
        "setting": setting,
        "strategy": strategy,
        "seed": run.seed,
        "group": settings.group(run.settings, run.seed),
        "cycles": len(run.rows),
        "labeled": run.rows[-1].labeled,
        "state": f"{state}, resumed {resumed}x" if resumed else state,
        **environment(run),
    }


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _summary(panel: Panel, series: Series) -> dict[str, Any]:
    area = findings.area(panel, series)
    return {
        "setting": panel.name,
        "strategy": series.label,
        "seeds": 0 if area is None else area.alc.count,
        "query_size": panel.query_size,
        **_interval("mean_metric", None if area is None else area.mean),
        **_interval("alc", None if area is None else area.alc),
        **_interval("normalized_alc", None if area is None else area.normalized),
        **_interval("final", None if area is None else area.final),
        "first_above": findings.first_above(panel, series),
        "break_even": findings.break_even_point(panel, series),
    }


def _cost(runs: Sequence[Run]) -> dict[str, Any]:
    queries = [row.query_seconds for run in runs for row in run.rows if row.query_seconds is not None]
    peaks = [row.query_peak_bytes for run in runs for row in run.rows if row.query_peak_bytes is not None]
    pixels = [run.queried_pixels for run in runs]
    return {
        "train_seconds": float(np.mean([sum(row.train_seconds for row in run.rows) for run in runs])),
        "query_seconds": sum(queries) / len(runs),
        "seconds_per_query": float(np.mean(queries)) if queries else None,
        "peak_bytes": max(peaks, default=None),
        "cycles": float(np.mean([len(run.rows) for run in runs])),
        "labeled": float(np.mean([run.rows[-1].labeled for run in runs])),
        "validation": float(np.mean([run.validation for run in runs])),
        "labels_spent": float(np.mean([run.rows[-1].labeled + run.validation for run in runs])),
        "queried_pixels": None if None in pixels else float(np.mean([count for count in pixels if count is not None])),
    }
