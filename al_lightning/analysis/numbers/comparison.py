"""Groups runs for a comparison. A series has runs that differ only in the seed; a panel has series that may be compared."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from al_lightning import settings as names
from al_lightning.analysis.numbers import stopping
from al_lightning.analysis.numbers.curves import Values
from al_lightning.errors import UserError
from al_lightning.run_tables import TESTED, VALIDATED, CycleRow
from al_lightning.runs import RunDirectory, find_runs
from al_lightning.settings import Settings
from al_lightning.sources import evaluated_on


@dataclass(frozen=True, eq=False)
class Run:
    """The content of a run directory.

    Attributes:
        path: the run directory.
        seed: the run's seed.
        choice: the settings that say how the initial set and queries are chosen.
        comparable: the settings that two runs must share to be compared.
        rows: the finished cycles, at least one.
        cycles: how many cycles were asked for; None for as many as the label budget or the pool allow.
        environment: versions, device, git commit; empty if not recorded.
        queried_pixels: the pixels of all queried items in the last training set; None if not recorded.
        validation: the number of labeled items that were held out for validation.
        evaluation: the number of images of the evaluation set; 0 if not recorded.
        settings: all settings.
        stopping: the row of :func:`~al_lightning.analysis.numbers.stopping.as_row`; None if the settings do not ask for it.
        pixels: the pixels of all labeled items, by the number of labeled items; empty if not recorded.
    """

    path: Path
    seed: int
    choice: Settings
    comparable: Settings
    rows: tuple[CycleRow, ...]
    cycles: int | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    queried_pixels: int | None = None
    validation: int = 0
    evaluation: int = 0
    settings: Settings = field(default_factory=dict)
    stopping: Mapping[str, Any] | None = None
    pixels: Mapping[int, int] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end. There is no query after its last cycle then."""
        return self.rows[-1].query_seconds is None

    @property
    def full_pool(self) -> bool:
        """Whether the run trained on the whole pool at once, with nothing left to query."""
        listed = names.INITIAL_ITEMS in self.comparable  # a list wins over the size
        return self.comparable.get(names.INITIAL_SIZE) == "all" and not listed and self.rows[0].query_seconds is None

    @property
    def only_cycle_0(self) -> bool:
        """Whether only cycle 0 was asked for, so that other runs can begin with it."""
        return self.cycles == 1 and not self.full_pool

    def curve(self, metric: str) -> dict[int, float]:
        """The metric by the number of labeled items. Cycles whose metric is not finite are left out."""
        values = {row.labeled: row.metrics[metric] for row in self.rows}
        return {labeled: value for labeled, value in values.items() if np.isfinite(value)}


@dataclass(frozen=True, eq=False)
class Series:
    """Runs that differ only in the seed.

    Attributes:
        label: name of the strategy, with the arguments that distinguish it from others.
        strategy: name of the strategy's class.
        choice: the settings that say how the initial set and queries are chosen.
        runs: the runs by seed, sorted.
        curves: for each seed, the metric by the number of labeled items.
    """

    label: str
    strategy: str
    choice: Settings
    runs: Mapping[int, Run]
    curves: Mapping[int, Mapping[int, float]]

    @cached_property
    def budgets(self) -> list[int]:
        """The numbers of labeled items that any seed has reached, rising."""
        return sorted({labeled for curve in self.curves.values() for labeled in curve})

    def at(self, labeled: int) -> dict[int, float]:
        """The metric at a number of labeled items, by seed. Seeds that have not reached this number are left out."""
        return {seed: curve[labeled] for seed, curve in self.curves.items() if labeled in curve}

    def pixels(self, labeled: int) -> float:
        """The pixels of a number of labeled items, as the mean over seeds; NaN if a run did not record them."""
        return float(np.mean([run.pixels.get(labeled, np.nan) for seed, run in self.runs.items() if labeled in self.curves[seed]]))

    def over(self, budgets: Sequence[int]) -> dict[int, Values]:
        """The curve ``(len(budgets),)`` of each seed that has reached all of these numbers of labeled items."""
        return {
            seed: np.array([curve[labeled] for labeled in budgets])
            for seed, curve in self.curves.items()
            if all(labeled in curve for labeled in budgets)
        }


@dataclass(frozen=True)
class Panel:
    """Series that may be compared: all their settings agree, except for strategy and seed.

    Attributes:
        name: the settings that distinguish it from other panels, in short; empty if there is only one panel.
        settings: the settings that all its runs share.
        query_sizes: items of each query; the last number holds for all later queries.
        series: at least one; the baseline is the first.
        baseline: the series that the others are compared with; None if there is none.
        full: the metric of a model trained on the whole pool; None if unknown.
    """

    name: str
    settings: Settings
    query_sizes: tuple[int, ...]
    series: tuple[Series, ...]
    baseline: Series | None
    full: float | None

    @property
    def compared(self) -> list[Series]:
        """The series with at least two cycles. Fewer do not make a curve."""
        return [series for series in self.series if len(series.budgets) > 1]

    @property
    def others(self) -> list[Series]:
        """The series that are compared with the baseline; empty if there is no baseline, or if it has fewer than two cycles."""
        if self.baseline is None or self.baseline not in self.compared:
            return []
        return [series for series in self.compared if series is not self.baseline]

    @cached_property
    def budgets(self) -> list[int]:
        """The numbers of labeled items that all compared series have reached, rising."""
        reached = [set(series.budgets) for series in self.compared]
        return sorted(set.intersection(*reached)) if reached else []

    @property
    def query_size(self) -> float:
        """The items of a query, as the mean over the queries that are compared."""
        queries = max(1, len(self.budgets) - 1)
        return float(np.mean([self.query_sizes[min(number, len(self.query_sizes) - 1)] for number in range(queries)]))

    @cached_property
    def item_pixels(self) -> float:
        """The mean number of pixels of an item in the first common training set; NaN if not recorded."""
        return self.compared[0].pixels(self.budgets[0]) / self.budgets[0] if self.budgets else float("nan")

    @cached_property
    def start(self) -> float:
        """The metric of the first common training set: the mean over strategies for each seed, then the mean over seeds."""
        by_seed: dict[int, list[float]] = {}
        for series in self.compared:
            for seed, value in series.at(self.budgets[0]).items():
                by_seed.setdefault(seed, []).append(value)
        return float(np.mean([np.mean(values) for values in by_seed.values()]))


@dataclass(frozen=True)
class Comparison:
    """Everything that a report shows.

    Attributes:
        metric: the column of the learning curves that is compared.
        panels: at least one.
        full_runs: runs on the whole pool.
        runs: all runs that were read, sorted by path.
        skipped: the paths that are left out, with the reason.
        duplicates: runs that are left out because another run has the same settings and seed.
        starts: runs that are left out because they have only cycle 0, while other runs have more.
    """

    metric: str
    panels: tuple[Panel, ...]
    full_runs: tuple[Run, ...]
    runs: tuple[Run, ...]
    skipped: Mapping[Path, str]
    duplicates: tuple[Run, ...]
    starts: tuple[Run, ...]


def read_run(directory: RunDirectory) -> Run:
    """Reads a run directory. The run may be unfinished.

    Raises:
        UserError: no cycle is finished, a file is damaged, or seed or query size are no valid numbers. The message is the reason.
    """
    rows = tuple(directory.read_curve()) if os.path.lexists(directory.learning_curve) else ()
    if not rows:
        raise UserError("no finished cycle yet")
    config = names.flat(directory.read_config())
    seed: Any = config.get("seed_everything")
    sizes = names.as_list(config.get(names.QUERY_SIZE))
    for key, values, least in (("seed_everything", [seed], 0), (names.QUERY_SIZE, sizes or [None], 1)):
        if wrong := [value for value in values if not isinstance(value, int) or isinstance(value, bool) or value < least]:
            raise UserError(f"Expected {key} in {directory.config} to be an integer of at least {least}, got {wrong[0]!r:.60}.")
    environment = directory.read_environment() if os.path.lexists(directory.environment) else {}
    content = environment.get("data", {}).get("sha256")
    content = evaluated_on(content, directory.labels) if content else content
    return Run(
        directory.path,
        seed,
        names.choice(config, seed),
        # Two runs may be compared if their data are the same, wherever these are stored.
        names.comparable(config, seed) | ({names.CONTENT: str(content)[:12]} if content else {}),
        rows,
        config.get(names.CYCLES),
        environment,
        directory.read_queried_pixels(len(rows) - 1),
        validation=directory.read_validation_labels(),
        evaluation=stopping.evaluation_images(directory),
        settings=config,
        stopping=stopping.as_row(directory) if stopping.is_watched(config) else None,
        pixels=directory.read_labeled_pixels(),
    )


def read_runs(folders: Iterable[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Reads all runs in some folders. A run that is found twice is read once.

    Returns:
        The runs, sorted by path, and the paths that could not be read, with the reason.

    Raises:
        UserError: a folder is missing, or no run can be read.
    """
    runs: dict[Path, Run] = {}
    skipped: dict[Path, str] = {}
    for folder in folders:
        found, unreadable = find_runs(folder)
        skipped |= unreadable
        if not found and not unreadable:
            skipped[folder] = "holds no run"
        for directory in found:
            try:
                runs.setdefault(directory.path.resolve(), read_run(directory))
            except UserError as error:
                skipped[directory.path] = str(error)
    if not runs:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in skipped.items())
        raise UserError(f"Expected at least one run with a finished cycle, got none ({reasons}). Name run directories, or folders of such.")
    return _by_one_name(sorted(runs.values(), key=lambda run: run.path)), skipped


def _by_one_name(runs: list[Run]) -> list[Run]:
    """Gives the metrics of the evaluation set the same name in all runs.

    They are named ``test/...`` in runs with validation items, and ``val/...`` in runs without. If there is a run with validation items, a
    run without gets its ``val/...`` as ``test/...`` too.
    """
    if not any(run.validation for run in runs):
        return runs

    def renamed(row: CycleRow) -> CycleRow:
        tested = {TESTED + name.removeprefix(VALIDATED): value for name, value in row.metrics.items() if name.startswith(VALIDATED)}
        return replace(row, metrics={**tested, **row.metrics})

    return [run if run.validation else replace(run, rows=tuple(map(renamed, run.rows))) for run in runs]


def choose_metric(runs: Sequence[Run], wanted: str | None = None) -> str:
    """Chooses the metric that is compared.

    Args:
        runs: more than half of them must have the metric; :func:`without_metric` names the others.
        wanted: name of the metric; None takes the first of ``test/miou``, ``test/accuracy``, ``val/miou`` and ``val/accuracy``.

    Raises:
        UserError: at least half of the runs do not have the metric, or it is a loss. The message lists the metrics that all runs have.
    """
    if wanted is not None and "loss" in wanted:
        raise UserError(f"Expected a metric that is better when it is higher, got {wanted}. Name another one with --metric.")
    having = Counter(name for run in runs for name in run.rows[0].metrics)
    for name in [wanted] if wanted is not None else stopping.METRICS:
        if 2 * having[name] > len(runs):
            return name
    common = [name for name, count in having.items() if count == len(runs) and "loss" not in name]
    expected = wanted or " or ".join(stopping.METRICS[2:])
    raise UserError(
        f"Expected the metric {expected} in every run, got {', '.join(common) or 'none'} in all of them. "
        "Name one of these with --metric, or report the runs apart."
    )


def without_metric(runs: Sequence[Run], metric: str) -> dict[Path, str]:
    """Returns the paths of the runs that do not have a metric, with the reason why they are left out."""
    return {run.path: f"no {metric} in its learning_curve.csv" for run in runs if metric not in run.rows[0].metrics}


def compare(
    runs: Sequence[Run], skipped: Mapping[Path, str], metric: str, baseline: str = "Random", full: float | None = None
) -> Comparison:
    """Groups runs into series and panels.

    Args:
        runs: sorted by path; of two runs with the same settings and seed, the first counts.
        skipped: the paths that could not be read, with the reason.
        metric: the column of the learning curves that is compared.
        baseline: the strategy that others are compared with: its label, the name of its class, or the beginning of its label.
        full: the metric of a model trained on the whole pool; None takes it from the runs with ``initial_size=all``.

    Raises:
        UserError: all runs are on the whole pool, so that there is nothing to compare.
    """
    learning = [run for run in runs if not run.full_pool]
    starts = [run for run in learning if run.only_cycle_0]
    if len(starts) < len(learning):
        learning = [run for run in learning if not run.only_cycle_0]
    else:
        starts = []
    full_runs, repeated = _first_of_each_seed([run for run in runs if run.full_pool])
    grouped: dict[Any, dict[Any, dict[int, Run]]] = {}
    first_runs, duplicates = _first_of_each_seed(learning)
    for run in first_runs:
        grouped.setdefault(names.key_of(run.comparable), {}).setdefault(names.key_of(run.choice), {})[run.seed] = run
    choices = {key: next(iter(by_seed.values())).choice for panel in grouped.values() for key, by_seed in panel.items()}
    labels = dict(zip(choices, names.labels(list(choices.values())), strict=True))
    panels = [
        _panel({labels[key]: by_seed for key, by_seed in by_choice.items()}, metric, baseline, full, full_runs)
        for by_choice in grouped.values()
    ]
    titles = names.short_names([panel.settings for panel in panels])
    if not panels:
        raise UserError("Expected runs with learning curves, got runs on the whole pool only: there is nothing to compare.")
    named = [replace(panel, name=title) for panel, title in zip(panels, titles, strict=True)]
    return Comparison(
        metric,
        tuple(sorted(named, key=lambda panel: names.natural(panel.name))),
        tuple(full_runs),
        tuple(runs),
        skipped,
        tuple(duplicates + repeated),
        tuple(starts),
    )


def _first_of_each_seed(runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
    """Returns the first run for each combination of settings and seed, and the other runs."""
    first: dict[Any, Run] = {}
    others = []
    for run in runs:
        if first.setdefault((names.key_of(run.comparable), names.key_of(run.choice), run.seed), run) is not run:
            others.append(run)
    return list(first.values()), others


def _panel(by_label: Mapping[str, Mapping[int, Run]], metric: str, baseline: str, full: float | None, full_runs: Sequence[Run]) -> Panel:
    series = [
        Series(
            label,
            names.strategy_class(next(iter(by_seed.values())).choice),
            next(iter(by_seed.values())).choice,
            dict(sorted(by_seed.items())),
            {seed: run.curve(metric) for seed, run in sorted(by_seed.items())},
        )
        for label, by_seed in sorted(by_label.items(), key=lambda item: names.natural(item[0]))
    ]
    first = next(iter(series[0].runs.values()))
    base = next((each for each in series if each.label == baseline), None)
    base = base or next((each for each in series if each.strategy == baseline or each.label.startswith(baseline)), None)
    if full is None:
        reference = names.key_of(names.without_pool_size(first.comparable))
        ends = [run.rows[-1].metrics[metric] for run in full_runs if names.key_of(names.without_pool_size(run.comparable)) == reference]
        full = float(np.mean(ends)) if ends and np.isfinite(ends).all() else None
    ordered = sorted(series, key=lambda each: each is not base)
    return Panel("", first.comparable, tuple(map(int, names.as_list(first.comparable[names.QUERY_SIZE]))), tuple(ordered), base, full)
