"""Pictures of what happened within the cycles of a run: training curves, and the scores of the pool."""

import os
import textwrap
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from al_lightning import percent, settings
from al_lightning.analysis.drawings.plots import bin_edges, save, title_of
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory

_LOSS = "train/loss"


def draw_training_curves(run: RunDirectory) -> Path | None:
    """Draws training loss and validation metrics, with a line for each cycle. A CSVLogger must have logged them.

    They are drawn against the epoch, or against the step if ``max_steps`` ends each training: its epochs are the fewer the more is labeled.

    Returns:
        The PNG's path in the run directory; None if nothing was logged.

    Raises:
        UserError: a log is damaged.
    """
    cycles = _with_steps_of_their_own(run)
    logged = {name for rows in cycles.values() for row in rows for name in row}
    metrics = [_LOSS] * (_LOSS in logged) + sorted(name for name in logged if name.startswith("val/") and name.count("/") == 1)
    if not metrics:
        return None
    figure, axes = plt.subplots(1, len(metrics), figsize=(1.5 + 4.5 * len(metrics), 3.6), squeeze=False, layout="constrained")
    figure.get_layout_engine().set(wspace=0.05)  # type: ignore[union-attr,call-arg]
    counted = "step" if _ends_by_steps(run) else "epoch"
    scale = Normalize(min(cycles), max(max(cycles), min(cycles) + 1))
    for axis, metric in zip(axes[0], metrics, strict=True):
        for cycle, rows in cycles.items():
            points = [(row[counted], row[metric]) for row in rows if metric in row and counted in row]
            places, values = zip(*points, strict=True) if points else ((), ())
            shown = percent.drawn(metric, np.array(values))
            axis.plot(places, shown, marker=".", markersize=3, linewidth=1, color=plt.get_cmap("viridis")(scale(cycle)))
        axis.set(xlabel=counted, ylabel=percent.heading(metric))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    ticks = np.unique(np.linspace(min(cycles), max(cycles), 8).round())
    figure.colorbar(ScalarMappable(scale, "viridis"), ax=axes[0].tolist(), label="cycle", ticks=ticks)
    figure.suptitle(title_of(run), fontsize="medium")
    return save(figure, run.training_picture)


def _ends_by_steps(run: RunDirectory) -> bool:
    return os.path.lexists(run.config) and settings.flat(run.read_config()).get("trainer.max_steps", -1) != -1


def _with_steps_of_their_own(run: RunDirectory) -> dict[int, list[dict[str, float]]]:
    """The logged rows of each cycle, with the steps that the cycle had made by then, where a logger counts those of all cycles."""
    made = [row.train_steps for row in run.read_curve()]
    cycles = {}
    for cycle, rows in run.read_training().items():
        before = sum(made[:cycle])
        # A logger counts from 0, but what is evaluated after the last step is logged as the next one.
        cycles[cycle] = [{**row, "step": min(row["step"] + 1 - before, made[cycle])} if "step" in row else row for row in rows]
    return cycles


def draw_score_histograms(run: RunDirectory) -> Path | None:
    """Draws histograms of the recorded scores of the unlabeled pool and of the queried items.

    There is a row for each cycle and a column for each kind of score. The histograms of a column share their x-axis and their bins.

    Returns:
        The PNG's path in the run directory; None if no scores were recorded.

    Raises:
        UserError: a table is damaged, or the cycles recorded different kinds of scores.
    """
    cycles, labeled = run.read_labeled()
    found = {row.cycle: run.read_scores(row.cycle) for row in cycles}
    recorded = {cycle: scores for cycle, scores in found.items() if scores is not None}
    columns = list(next(iter(recorded.values()))[1]) if recorded else []
    if not columns:
        return None
    for cycle, (_, scores) in recorded.items():
        if list(scores) != columns:
            raise UserError(
                f"Expected the scores {', '.join(columns)} in {run.scores(cycle)}, as in other cycles, got {', '.join(scores)}."
            )
    size = (1 + 3.6 * len(columns), 1.1 + 0.85 * len(recorded))
    figure, axes = plt.subplots(len(recorded), len(columns), figsize=size, sharex="col", squeeze=False, layout="constrained")
    queried: dict[int, set[int]] = {}
    for row in labeled:
        queried.setdefault(row.cycle - 1, set()).add(row.index)
    for column, name in enumerate(columns):
        edges = bin_edges(np.concatenate([scores[name] for _, scores in recorded.values()]), 40)
        axes[0, column].set_title(textwrap.fill(name, 54), fontsize="x-small")
        for axis, (cycle, (indices, scores)) in zip(axes[:, column], recorded.items(), strict=True):
            values = np.array(scores[name])
            chosen = values[np.isin(indices, list(queried.get(cycle, ())))]
            axis.hist(values, bins=edges, color="0.75", label=f"unlabeled pool ({len(values):,})")
            axis.hist(chosen, bins=edges, color="C3", alpha=0.8, label=f"queried ({len(chosen):,})")
            axis.tick_params(labelsize="x-small")
            if column == 0:
                axis.set_ylabel(f"cycle {cycle}", fontsize="x-small")
                axis.legend(fontsize="xx-small")
        axes[-1, column].set_xlabel("score of an image", fontsize="small")
    figure.suptitle(title_of(run), fontsize="medium")
    return save(figure, run.histograms_picture)
