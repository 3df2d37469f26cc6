"""What lets a person see when to stop: how sure a metric is, what the last labels have brought, and whether querying beats drawing lots."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special

from al_lightning import sources
from al_lightning.analysis.numbers.settings import Settings
from al_lightning.percent import percent, points, unsigned
from al_lightning.run_tables import BY_STRATEGY, RANDOM, CycleRow, read_errors, read_evaluated
from al_lightning.runs import RunDirectory

METRICS = ("test/miou", "test/accuracy", "val/miou", "val/accuracy")
"""That there are intervals of, the first one that a run has."""
EXPLAINED = (
    "Of each run that asks a person, or draws its evaluation set or some of its picks: the last metric with its 95 % interval over the "
    "evaluation images (exact binomial of an accuracy, bootstrap of a mean IoU); what a label of the last cycle has brought; and how wrong "
    "the networks were on what they asked for, before they trained on it. Random picks stand for the pool: a strategy that is not above "
    "them does not find what the network has yet to learn. It does not tell what training on its picks brings."
)
_CYCLES = 3  # the last ones, whose gain is told
_ASKED_BY = ("active_learning.evaluation_first", "active_learning.random_share")
_LEAST = 10  # images of a bootstrap, and labels on each side of a comparison
_RESAMPLES = 1000
_TAIL = 0.025


@dataclass(frozen=True)
class Sure:
    """A metric of a run's last finished cycle.

    Attributes:
        name: of the metric.
        value: what it was.
        low: lower end of its 95 % interval over evaluation images.
        high: upper end.
        images: for evaluation.
        how: the interval is made.
    """

    name: str
    value: float
    low: float
    high: float
    images: int
    how: str


@dataclass(frozen=True)
class Picks:
    """How wrong networks were on what they asked for, before they trained on it.

    Over the cycles that drew something at random, all together: the mean over items of 1 or 0 for a wrong or a right class, or of the share
    of an image's labeled pixels that has a wrong one. Random picks stand for the pool; a strategy that looks for what the network does not
    know should be above them. Where it is not, its queries are no better than lots by this measure. It does not tell what training on
    them brings: for that, runs of both have to be compared.

    Attributes:
        strategy: mean error of the strategy's picks.
        random: mean error of random picks.
        low: lower end of the 95 % interval of the difference, strategy minus random (Welch's t, items as independent).
        high: upper end.
        counts: labels of either kind.
    """

    strategy: float
    random: float
    low: float
    high: float
    counts: tuple[int, int]


def is_watched(settings: Settings) -> bool:
    """Whether a run's settings ask for what tells when to stop."""
    return settings.get("active_learning.oracle") == "human" or not {*settings}.isdisjoint(_ASKED_BY)


def exact_interval(hits: int, images: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share (Biometrika 26, 1934): never shorter than it has to be.

    Args:
        hits: among the images.
        images: at least one.

    Example:
        >>> [round(end, 4) for end in exact_interval(8, 10)]
        [0.4439, 0.9748]
    """
    low = scipy.special.betaincinv(hits, images - hits + 1, _TAIL) if hits else 0.0
    high = scipy.special.betaincinv(hits + 1, images - hits, 1 - _TAIL) if hits < images else 1.0
    return float(low), float(high)


def mean_iou(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean IoU over the classes that occur or are predicted.

    Args:
        counts: ``(*, C, 3)`` pixels of each class: hit, true and predicted.
    """
    hits, true, predicted = (counts[..., place].astype(float) for place in range(3))
    unions = true + predicted - hits
    there = unions > 0
    means: npt.NDArray[np.float64] = np.where(there, hits / np.where(there, unions, 1), 0).sum(axis=-1) / there.sum(axis=-1).clip(1)
    return means


def bootstrap_interval(counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """The 95 % percentile interval of a mean IoU over images that are drawn with replacement, always the same way.

    Args:
        counts: ``(N, C, 3)``, see :func:`mean_iou`.
    """
    drawn = np.random.default_rng(0).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=_RESAMPLES)
    means = mean_iou(np.tensordot(drawn, counts, axes=1))
    low, high = np.quantile(means, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def sure(run: RunDirectory) -> Sure | None:
    """The metric of the last cycle with its interval; None where nobody recorded what that takes.

    Raises:
        UserError: a table is damaged.
    """
    row = run.read_curve()[-1]
    if (name := metric_of(row)) is None or not math.isfinite(value := row.metrics[name]):
        return None
    if name.endswith("accuracy"):
        count = evaluation_images(run)
        return Sure(name, value, *exact_interval(round(value * count), count), count, "exact binomial") if count else None
    images = read_evaluated(run.evaluated(row.cycle)) if os.path.lexists(run.evaluated(row.cycle)) else []
    if len(images) < _LEAST:
        return None
    return Sure(name, value, *bootstrap_interval(np.array(images, dtype=np.int64)), len(images), "bootstrap")


def metric_of(row: CycleRow) -> str | None:
    """The metric of a cycle that there are intervals of."""
    return next((name for name in METRICS if name in row.metrics), None)


def gains(rows: Sequence[CycleRow], metric: str) -> list[float]:
    """What a label has brought in each of the last cycles, oldest first: the metric's rise by the number of labels that were added."""
    last = [*pairwise(rows)][-_CYCLES:]
    return [(after.metrics[metric] - before.metrics[metric]) / (after.labeled - before.labeled) for before, after in last]


def picks(run: RunDirectory) -> Picks | None:
    """What was wrong with a run's picks so far; None where there are not enough of both kinds.

    Raises:
        UserError: a table is damaged.
    """
    rows = [row for cycle in run.read_curve() if os.path.lexists(path := run.errors(cycle.cycle)) for row in read_errors(path)]
    errors = {by: np.array([row["error"] for row in rows if row["by"] == by]) for by in (BY_STRATEGY, RANDOM)}
    return compared(*errors.values())


def compared(strategy: npt.NDArray[np.float64], random: npt.NDArray[np.float64]) -> Picks | None:
    """Two kinds of picks by their errors, ``(n,)`` and ``(m,)``; None of too few."""
    if min(len(strategy), len(random)) < _LEAST:
        return None
    variances = [float(its.var(ddof=1)) / len(its) for its in (strategy, random)]
    difference, half = float(strategy.mean() - random.mean()), 0.0
    if sum(variances) > 0:
        freedom = sum(variances) ** 2 / sum(v**2 / (len(its) - 1) for v, its in zip(variances, (strategy, random), strict=True))
        half = float(scipy.special.stdtrit(freedom, 1 - _TAIL)) * sum(variances) ** 0.5
    return Picks(float(strategy.mean()), float(random.mean()), difference - half, difference + half, (len(strategy), len(random)))


def in_words(run: RunDirectory) -> list[str]:
    """All of it, for a line of ``status``.

    Raises:
        UserError: a table is damaged.
    """
    rows, found = run.read_curve(), []
    if (metric := sure(run)) is not None:
        ends = f"{unsigned(metric.low)} to {percent(metric.high)}"
        found.append(f"95 % interval {ends} ({metric.how} over {metric.images} evaluation images)")
    if (name := metric_of(rows[-1])) is not None and (brought := gains(rows, name)):
        found.append(f"points per label of the last cycles {', '.join(points(gain, '+z.4f') for gain in brought)}")
    if (both := picks(run)) is not None:
        found.append(
            f"wrong on {percent(both.strategy, '.1f')} of what the strategy picked ({both.counts[0]} labels) and "
            f"{percent(both.random, '.1f')} of what was drawn at random ({both.counts[1]}), difference {points(both.low, '+z.1f')} to "
            f"{points(both.high, '+z.1f')} points"
        )
    return found


def as_row(run: RunDirectory) -> dict[str, Any]:
    """All of it, for a table.

    Raises:
        UserError: a table is damaged.
    """
    rows, metric, both = run.read_curve(), sure(run), picks(run)
    name = metric_of(rows[-1])
    nothing = float("nan")
    return {
        "run": run.path.name,
        "labeled": rows[-1].labeled,
        "metric": name or "",
        "value": rows[-1].metrics[name] if name else nothing,
        "value_low": metric.low if metric else nothing,
        "value_high": metric.high if metric else nothing,
        "interval": f"{metric.how}, {metric.images} images" if metric else "",
        "gain_per_label": (gains(rows, name) or [nothing])[-1] if name else nothing,
        "strategy_error": both.strategy if both else nothing,
        "random_error": both.random if both else nothing,
        "difference": both.strategy - both.random if both else nothing,
        "difference_low": both.low if both else nothing,
        "difference_high": both.high if both else nothing,
    }


def evaluation_images(run: RunDirectory) -> int:
    """Images for evaluation, as far as the run has told; 0 where nobody has counted them.

    Raises:
        UserError: a table is damaged.
    """
    if drawn := run.read_evaluation():
        return len(drawn)
    told = run.read_environment().get("evaluation") if os.path.lexists(run.environment) else None
    if isinstance(told, int):
        return told
    if not os.path.lexists(run.labels):
        return 0
    return sum(label.split == sources.EVALUATION for label in sources.read_labels(run.labels))
