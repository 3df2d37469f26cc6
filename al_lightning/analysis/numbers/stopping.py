"""Helps a person to decide when to stop: the interval of the metric, the gain by the last labels, and a check against random picks."""

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
from al_lightning.percent import percent, points, unsigned
from al_lightning.run_tables import BY_STRATEGY, RANDOM, CycleRow, read_errors, read_evaluated
from al_lightning.runs import RunDirectory
from al_lightning.settings import Settings, flat

METRICS = ("test/miou", "test/accuracy", "val/miou", "val/accuracy")
"""The metrics that are looked at, in order of preference: the first one that a run has."""
EXPLAINED = (
    "For each run that asks a person, draws its evaluation set, or makes random picks: the last metric with its 95 % interval over the "
    "evaluation images (exact binomial for an accuracy, bootstrap for a mean IoU); the gain per label of the last cycle; and how often "
    "the networks were wrong on the items that they queried, before they trained on them. Random picks stand for the pool: if a strategy's "
    "picks are not wrong more often, the strategy does not find what the network has yet to learn. This does not say what training on its "
    "picks brings."
)
_CYCLES = 3  # the gain is given for so many of the last cycles
_ASKED_BY = ("active_learning.evaluation_first", "active_learning.random_share")
_LEAST = 10  # the fewest images for a bootstrap, and the fewest labels of each kind for a comparison
_RESAMPLES = 1000
_TAIL = 0.025


@dataclass(frozen=True)
class MetricWithInterval:
    """The metric of a run's last finished cycle with its interval.

    Attributes:
        name: name of the metric.
        value: the metric, as a fraction.
        low: lower end of its 95 % interval over evaluation images.
        high: upper end.
        images: the number of evaluation images.
        how: how the interval is computed.
    """

    name: str
    value: float
    low: float
    high: float
    images: int
    how: str


@dataclass(frozen=True)
class Picks:
    """The mean error of networks on the items that they queried, before they trained on them.

    The mean is over the items of all cycles that recorded errors. The error of an item is 0 or 1 for a right or a wrong class, or the share
    of an image's labeled pixels with a wrong class. Random picks stand for the pool: a strategy that finds what the network does not know
    has a higher error on its picks. If its error is not higher, its queries are no better than random ones by this measure. The measure
    does not say what training on the items brings; to see that, compare runs of both kinds.

    Attributes:
        strategy: mean error on the strategy's picks.
        random: mean error on random picks.
        low: lower end of the 95 % interval of the difference, strategy minus random (Welch's t, with independent items).
        high: upper end.
        counts: the numbers of the strategy's picks and of random picks.
    """

    strategy: float
    random: float
    low: float
    high: float
    counts: tuple[int, int]


def is_watched(settings: Settings) -> bool:
    """Whether a person decides when a run stops: it asks a person for labels, draws its evaluation set, or makes random picks."""
    return settings.get("active_learning.oracle") == "human" or any(settings.get(key) for key in _ASKED_BY)


def exact_interval(hits: int, images: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share (Biometrika 26, 1934). Its coverage is never below 95 %.

    Args:
        hits: the number of images that count.
        images: the number of all images, at least one.

    Example:
        >>> [round(end, 4) for end in exact_interval(8, 10)]
        [0.4439, 0.9748]
    """
    low = scipy.special.betaincinv(hits, images - hits + 1, _TAIL) if hits else 0.0
    high = scipy.special.betaincinv(hits + 1, images - hits, 1 - _TAIL) if hits < images else 1.0
    return float(low), float(high)


def mean_iou(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean IoU ``(*,)`` over the classes that occur or are predicted.

    Args:
        counts: ``(*, C, 3)`` numbers of pixels for each class: correctly predicted, true, and predicted.
    """
    hits, true, predicted = (counts[..., place].astype(float) for place in range(3))
    unions = true + predicted - hits
    there = unions > 0
    means: npt.NDArray[np.float64] = np.where(there, hits / np.where(there, unions, 1), 0).sum(axis=-1) / there.sum(axis=-1).clip(1)
    return means


def bootstrap_interval(counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """The 95 % percentile interval of the mean IoU over 1,000 bootstrap samples of images. The samples have a fixed seed.

    Args:
        counts: ``(N, C, 3)``, see :func:`mean_iou`.
    """
    drawn = np.random.default_rng(0).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=_RESAMPLES)
    means = mean_iou(np.tensordot(drawn, counts, axes=1))
    low, high = np.quantile(means, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def metric_with_interval(run: RunDirectory) -> MetricWithInterval | None:
    """The metric of the last cycle with its interval; None if the run did not record enough for an interval.

    Raises:
        UserError: a table is damaged.
    """
    row = run.read_curve()[-1]
    if (name := metric_of(row)) is None or not math.isfinite(value := row.metrics[name]) or _evaluates_a_part(run):
        return None
    if name.endswith("accuracy"):
        count = evaluation_images(run)
        return MetricWithInterval(name, value, *exact_interval(round(value * count), count), count, "exact binomial") if count else None
    images = read_evaluated(run.evaluated(row.cycle)) if os.path.lexists(run.evaluated(row.cycle)) else []
    if len(images) < _LEAST:
        return None
    return MetricWithInterval(name, value, *bootstrap_interval(np.array(images, dtype=np.int64)), len(images), "bootstrap")


def _evaluates_a_part(run: RunDirectory) -> bool:
    """Whether Lightning leaves out evaluation images: it is not recorded which. 1 is one batch, and 1.0 all of them."""
    settings = flat(run.read_config())
    limits = [settings.get(f"trainer.limit_{what}_batches") for what in ("val", "test")]
    return any(limit is not None and (isinstance(limit, int) or limit != 1) for limit in limits)


def metric_of(row: CycleRow) -> str | None:
    """The name of the first of :data:`METRICS` that a cycle has; None if it has none."""
    return next((name for name in METRICS if name in row.metrics), None)


def gains(rows: Sequence[CycleRow], metric: str) -> list[float]:
    """The gain per label in each of the last cycles, oldest first: the rise of the metric divided by the number of new labels.

    A cycle without a number for the metric is left out.
    """
    measured = [row for row in rows if math.isfinite(row.metrics[metric])]
    last = [*pairwise(measured)][-_CYCLES:]
    return [(after.metrics[metric] - before.metrics[metric]) / (after.labeled - before.labeled) for before, after in last]


def picks(run: RunDirectory) -> Picks | None:
    """The errors on a run's picks so far; None if there are fewer than 10 of one kind.

    Raises:
        UserError: a table is damaged.
    """
    rows = [row for cycle in run.read_curve() if os.path.lexists(path := run.errors(cycle.cycle)) for row in read_errors(path)]
    errors = {by: np.array([row["error"] for row in rows if row["by"] == by]) for by in (BY_STRATEGY, RANDOM)}
    return compared(*errors.values())


def compared(strategy: npt.NDArray[np.float64], random: npt.NDArray[np.float64]) -> Picks | None:
    """Compares the errors on a strategy's picks ``(n,)`` and on random picks ``(m,)``; None if there are fewer than 10 of one kind."""
    if min(len(strategy), len(random)) < _LEAST:
        return None
    variances = [float(its.var(ddof=1)) / len(its) for its in (strategy, random)]
    difference, half = float(strategy.mean() - random.mean()), math.nan  # errors that are all alike do not say how much others would vary
    if sum(variances) > 0:
        freedom = sum(variances) ** 2 / sum(v**2 / (len(its) - 1) for v, its in zip(variances, (strategy, random), strict=True))
        half = float(scipy.special.stdtrit(freedom, 1 - _TAIL)) * sum(variances) ** 0.5
    return Picks(float(strategy.mean()), float(random.mean()), difference - half, difference + half, (len(strategy), len(random)))


def in_words(run: RunDirectory) -> list[str]:
    """Returns interval, gains and errors in words, for a line of ``status``.

    Raises:
        UserError: a table is damaged.
    """
    rows, found = run.read_curve(), []
    if (metric := metric_with_interval(run)) is not None:
        ends = f"{unsigned(metric.low)} to {percent(metric.high)}"
        found.append(f"95 % interval {ends} ({metric.how} over {metric.images} evaluation images)")
    if (name := metric_of(rows[-1])) is not None and (brought := gains(rows, name)):
        found.append(f"points per label of the last cycles {', '.join(points(gain, '+z.4f') for gain in brought)}")
    if (both := picks(run)) is not None:
        found.append(
            f"wrong on {percent(both.strategy, '.1f')} of what the strategy picked ({both.counts[0]} labels) and "
            f"{percent(both.random, '.1f')} of what was drawn at random ({both.counts[1]})"
            + (f", difference {points(both.low, '+z.1f')} to {points(both.high, '+z.1f')} points" if math.isfinite(both.low) else "")
        )
    return found


def as_row(run: RunDirectory) -> dict[str, Any]:
    """Returns interval, gain and errors as the row of a table.

    Raises:
        UserError: a table is damaged.
    """
    rows, metric, both = run.read_curve(), metric_with_interval(run), picks(run)
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
        "gain_per_label": (gains(rows, name) or [nothing])[-1] if name and math.isfinite(rows[-1].metrics[name]) else nothing,
        "strategy_error": both.strategy if both else nothing,
        "random_error": both.random if both else nothing,
        "difference": both.strategy - both.random if both else nothing,
        "difference_low": both.low if both else nothing,
        "difference_high": both.high if both else nothing,
    }


def evaluation_images(run: RunDirectory) -> int:
    """The number of evaluation images; 0 if the run did not record it.

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
