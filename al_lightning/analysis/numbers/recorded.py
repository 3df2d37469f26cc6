"""Runs as their directories record them, and the metric that they are compared by."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from al_lightning import settings as names
from al_lightning.analysis.numbers import stopping
from al_lightning.errors import UserError
from al_lightning.percent import is_loss
from al_lightning.run_tables import TESTED, VALIDATED, CycleRow
from al_lightning.runs import RunDirectory, find_runs
from al_lightning.settings import Settings
from al_lightning.sources import evaluated_on, pool_labels, sha256_of


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
        first: a hash of the items that cycle 0 was trained on; empty if not recorded.
        labels: a hash of the content of each file of labels that it has read, but for those of the evaluation set.
        began: the run whose cycle 0 it has, as a setting; empty for its own.
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
    first: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    began: Settings = field(default_factory=dict)

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
        """Whether only cycle 0 was asked for and done, so that other runs can begin with it."""
        return self.cycles == 1 and len(self.rows) == 1 and not self.full_pool

    @property
    def start(self) -> tuple[str, str]:
        """What cycle 0 was trained on, and what came out."""
        return self.first, repr(sorted(self.rows[0].metrics.items()))

    def curve(self, metric: str) -> dict[int, float]:
        """The metric by the number of labeled items. Cycles whose metric is not finite are left out."""
        values = {row.labeled: row.metrics[metric] for row in self.rows}
        return {labeled: value for labeled, value in values.items() if np.isfinite(value)}


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
    if content:
        content = str(evaluated_on(content, directory.labels))[:12]
    elif names.ROOT in config:  # it was not recorded what lies there
        content = f"in {config[names.ROOT]}" + (f", evaluated on {its}" if (its := config.get(names.EVALUATION)) is not None else "")
    return Run(
        directory.path,
        seed,
        names.choice(config, seed),
        # Two runs may be compared if their data are the same, wherever these are stored.
        names.comparable(config, seed) | ({names.CONTENT: content} if content else {}),
        rows,
        config.get(names.CYCLES),
        environment,
        directory.read_queried_pixels(len(rows) - 1),
        validation=directory.read_validation_labels(),
        evaluation=stopping.evaluation_images(directory),
        settings=config,
        stopping=stopping.as_row(directory) if stopping.is_watched(config) else None,
        pixels=directory.read_labeled_pixels(),
        first=_first_items(directory),
        labels=pool_labels(directory.labels),
    )


def _first_items(directory: RunDirectory) -> str:
    if not os.path.lexists(directory.queries):
        return ""
    return sha256_of(sorted(row.index for row in directory.read_labeled()[1] if row.cycle == 0))


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
    return _by_one_name(_by_weights(_by_common_paths(sorted(runs.values(), key=lambda run: run.path)))), skipped


def _by_common_paths(runs: list[Run]) -> list[Run]:
    """Compares a path that several seeds name as it is: a number in it is no seed."""
    common = names.common_paths((run.settings, run.seed) for run in runs)

    def compared(run: Run) -> Run:
        content = {key: value for key, value in run.comparable.items() if key == names.CONTENT}
        chosen, comparable = (of(run.settings, run.seed, common) for of in (names.choice, names.comparable))
        return replace(run, choice=chosen, comparable=comparable | content, began=names.started_with(run.settings, run.seed, common))

    return [compared(run) for run in runs]


def _by_weights(runs: list[Run]) -> list[Run]:
    """Compares an encoder's weights by what their files held, where runs recorded that, and not by their places alone.

    Places that held the same for a seed are the first of them. One that held several things for a seed is told apart by hashes. A run that
    recorded nothing had what others of its seed had in the same place, if that is one thing.
    """
    places: dict[tuple[int, str], str] = {}  # by seed and content, the first that held it
    contents: dict[tuple[int, str], set[str]] = {}  # by seed and place
    for run in runs:
        place, content = run.comparable.get(names.ENCODER_WEIGHTS), run.environment.get("encoder_weights_sha256")
        if content is not None:
            places.setdefault((run.seed, content), str(place))
            contents.setdefault((run.seed, str(place)), set()).add(content)
    several = {place for (_, place), held in contents.items() if len(held) > 1}

    def compared(run: Run) -> Run:
        held = contents.get((run.seed, str(run.comparable.get(names.ENCODER_WEIGHTS))), set())
        content = run.environment.get("encoder_weights_sha256") or (min(held) if len(held) == 1 else None)
        if content is None:
            return run
        place = places[run.seed, content]
        which = f" ({content[:12]})" if place in several else ""
        return replace(run, comparable={**run.comparable, names.ENCODER_WEIGHTS: place + which})

    return [compared(run) for run in runs]


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
    if wanted is not None and is_loss(wanted):
        raise UserError(f"Expected a metric that is better when it is higher, got {wanted}. Name another one with --metric.")
    having = Counter(name for run in runs for name in run.rows[0].metrics)
    for name in [wanted] if wanted is not None else stopping.METRICS:
        if 2 * having[name] > len(runs):
            return name
    common = [name for name, count in having.items() if count == len(runs) and not is_loss(name)]
    expected = wanted or " or ".join(stopping.METRICS[2:])
    raise UserError(
        f"Expected the metric {expected} in every run, got {', '.join(common) or 'none that is better when it is higher'} in all of them. "
        f"{'Name one of these with --metric, or report' if common else 'Report'} the runs apart."
    )


def without_metric(runs: Sequence[Run], metric: str) -> dict[Path, str]:
    """Returns the paths of the runs that do not have a metric, with the reason why they are left out."""
    return {run.path: f"no {metric} in its learning_curve.csv" for run in runs if metric not in run.rows[0].metrics}
