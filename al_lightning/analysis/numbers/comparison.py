"""Groups runs for a comparison. A series has runs that differ only in the seed; a panel has series that may be compared."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from al_lightning import settings as names
from al_lightning.analysis.numbers.curves import Values
from al_lightning.analysis.numbers.recorded import Run
from al_lightning.errors import UserError
from al_lightning.settings import Settings


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

    def reached_by_most(self) -> list[int]:
        """The numbers of labeled items that more than half of the seeds with two points or more have reached, rising."""
        curves = [curve for curve in self.curves.values() if len(curve) > 1]
        counts = Counter(labeled for curve in curves for labeled in curve)
        return sorted(labeled for labeled, count in counts.items() if 2 * count > len(curves))

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
        """The numbers of labeled items that most seeds of each compared series have reached, rising; see :meth:`Series.reached_by_most`."""
        reached = [set(series.reached_by_most()) for series in self.compared]
        return sorted(set.intersection(*reached)) if reached else []

    @cached_property
    def queried(self) -> list[int]:
        """The :attr:`budgets` that come after a query: all but the size of a run's first training set."""
        return [labeled for labeled in self.budgets if labeled not in self._first]

    @cached_property
    def _first(self) -> set[int]:
        return {run.rows[0].labeled for series in self.compared for run in series.runs.values()}

    @property
    def query_size(self) -> float:
        """The items of a query; if sizes differ, the mean over the queries that are compared."""
        if len(set(self.query_sizes)) == 1 or len(self.budgets) < 2:
            return float(self.query_sizes[0])
        cycles = {row.labeled: row.cycle for run in self.compared[0].runs.values() for row in run.rows}
        first, last = self.budgets[0], self.budgets[-1]
        return (last - first) / (cycles[last] - cycles[first])

    @cached_property
    def item_pixels(self) -> float:
        """The mean number of pixels of an item in the first common training set; NaN if not recorded."""
        return self.compared[0].pixels(self.budgets[0]) / self.budgets[0] if self.budgets else float("nan")

    @cached_property
    def start(self) -> float | None:
        """The metric of the first training set, as the mean over strategies for each seed, then over seeds; None if there are no curves."""
        by_seed: dict[int, list[float]] = {}
        for series in self.compared:
            for seed, value in series.at(min(self._first)).items():
                by_seed.setdefault(seed, []).append(value)
        return float(np.mean([np.mean(values) for values in by_seed.values()])) if self.budgets and by_seed else None

    @property
    def scale(self) -> tuple[float, float] | None:
        """What curves are normalised by: the metrics of the first training set and of the whole pool.

        None if one of them is unknown, or if the whole pool's is not above the other: better curves would come out lower.
        """
        return (self.start, self.full) if self.start is not None and self.full is not None and self.full > self.start else None


@dataclass(frozen=True)
class Comparison:
    """Everything that a report shows.

    Attributes:
        metric: the column of the learning curves that is compared.
        panels: at least one.
        full_runs: runs on the whole pool.
        runs: all runs that were read, sorted by path.
        skipped: the paths that are left out, with the reason.
        duplicates: runs that are left out because another run with the same settings and seed counts.
        starts: runs that are left out because they have only cycle 0, while other runs have more.
    """

    metric: str
    panels: tuple[Panel, ...]
    full_runs: tuple[Run, ...]
    runs: tuple[Run, ...]
    skipped: Mapping[Path, str]
    duplicates: tuple[Run, ...]
    starts: tuple[Run, ...]


def compare(
    runs: Sequence[Run], skipped: Mapping[Path, str], metric: str, baseline: str = "Random", full: float | None = None
) -> Comparison:
    """Groups runs into series and panels.

    Args:
        runs: sorted by path; of two runs with the same settings and seed, the one with more cycles counts, else the finished one, else the
            first.
        skipped: the paths that could not be read, with the reason.
        metric: the column of the learning curves that is compared.
        baseline: the strategy that others are compared with: its label, the name of its class, or the beginning of its label.
        full: the metric of a model trained on the whole pool; None takes it from the runs with ``initial_size=all``.

    Raises:
        UserError: all runs are on the whole pool, so that there is nothing to compare.
    """
    runs = _told_apart_by_start(runs)
    learning = [run for run in runs if not run.full_pool]
    starts = [run for run in learning if run.only_cycle_0]
    if len(starts) < len(learning):
        learning = [run for run in learning if not run.only_cycle_0]
    else:
        starts = []
    full_runs, repeated = _best_of_each_seed([run for run in runs if run.full_pool])
    grouped: dict[Any, dict[Any, dict[int, Run]]] = {}
    counted, duplicates = _best_of_each_seed(learning)
    for run in counted:
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


def _told_apart_by_start(runs: Sequence[Run]) -> list[Run]:
    """Makes the initial run a setting, where runs of one strategy and seed have several: none of these runs repeats another one."""
    starts: dict[Any, dict[Any, set[Any]]] = {}
    for run in runs:
        same = starts.setdefault(names.key_of(run.comparable), {}).setdefault((names.key_of(run.choice), run.seed), set())
        same.add((names.key_of(run.began), run.start))
    several = {key for key, found in starts.items() if any(map(_differ, found.values()))}
    return [replace(run, comparable={**run.comparable, **run.began}) if names.key_of(run.comparable) in several else run for run in runs]


def _differ(starts: Iterable[tuple[Any, Any]]) -> bool:
    """Whether runs began with several other runs, and not all of these are the same: a run that was moved has two paths."""
    began, came_out = zip(*starts, strict=True)
    return len({*began}) > 1 and len({*came_out}) > 1


def _best_of_each_seed(runs: Iterable[Run]) -> tuple[list[Run], list[Run]]:
    """Returns the run that is furthest for each combination of settings and seed, and the other runs."""
    alike: dict[Any, list[Run]] = {}
    for run in runs:
        alike.setdefault((names.key_of(run.comparable), names.key_of(run.choice), run.seed), []).append(run)
    best = dict.fromkeys(max(some, key=lambda run: (len(run.rows), run.finished)) for some in alike.values())
    return [*best], [run for run in runs if run not in best]


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
        ends = [end for end in ends if np.isfinite(end)]
        full = float(np.mean(ends)) if ends else None
    ordered = sorted(series, key=lambda each: each is not base)
    return Panel("", first.comparable, tuple(map(int, names.as_list(first.comparable[names.QUERY_SIZE]))), tuple(ordered), base, full)
