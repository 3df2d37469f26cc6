"""Pictures of one run: learning curves, score histograms and scenes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from al_lightning import percent, settings
from al_lightning.analysis.drawings.rendering import legend_name, rendered
from al_lightning.files import write_atomically
from al_lightning.labels import IGNORED
from al_lightning.run_tables import of_evaluation
from al_lightning.runs import RunDirectory

LARGEST = 800
"""The most pixels along an edge of an image in a figure. More would not be visible."""


def draw_learning_curve(run: RunDirectory) -> Path:
    """Draws each metric of the evaluation set against the number of labeled items. Metrics are in percent, losses are not.

    Returns:
        The PNG's path in the run directory.
    """
    cycles = run.read_curve()
    metrics = [name for name in of_evaluation(cycles[0].metrics) if name.count("/") == 1] if cycles else []
    figure, axes = plt.subplots(1, max(1, len(metrics)), figsize=(1 + 4.5 * max(1, len(metrics)), 3.6), squeeze=False, layout="constrained")
    for axis, metric in zip(axes[0], metrics, strict=False):
        values = percent.drawn(metric, np.array([cycle.metrics[metric] for cycle in cycles]))
        axis.plot([cycle.labeled for cycle in cycles], values, marker=".")
        axis.set(xlabel="labeled items", ylabel=percent.heading(metric))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    figure.suptitle(title_of(run), fontsize="medium")
    return save(figure, run.picture)


def draw_iou(run: RunDirectory, palette: Mapping[str, Sequence[int]]) -> Path:
    """Draws the IoU of each class against the number of labeled items, in percent. Classes that never occur are left out.

    Args:
        run: the run.
        palette: the RGB colour of each class by its name, as in pictures of scenes.

    Returns:
        The PNG's path in the run directory.
    """
    cycles = run.read_curve()
    labeled = [cycle.labeled for cycle in cycles]
    names = [name for name in of_evaluation(cycles[0].metrics) if "/iou/" in name] if cycles else []
    curves = {name.partition("/iou/")[2]: [percent.in_percent(cycle.metrics[name]) for cycle in cycles] for name in names}
    shown = {name: values for name, values in curves.items() if not np.isnan(values).all()}
    figure, axis = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for name, values in sorted(shown.items(), key=lambda curve: -np.nanmax(curve[1])):
        color = np.array(palette[name]) / 255 if name in palette else None
        (line,) = axis.plot(labeled, values, marker=".", color=color, label=legend_name(name))
        line.set_path_effects([Stroke(linewidth=2.2, foreground="0.45"), Normal()])  # a white line would not be visible
    axis.set(xlabel="labeled items", ylabel="IoU (%)", ylim=(0, 100), title=title_of(run))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    if shown:
        figure.legend(loc="outside right center", fontsize="small")
    return save(figure, run.iou_picture)


def title_of(run: RunDirectory) -> str:
    """Returns the name of a run, followed by its strategy if the configuration has one and the name does not contain it."""
    if not os.path.lexists(run.config):
        return run.path.name
    config = settings.flat(run.read_config())
    name = settings.label(settings.choice(config, 0)) if any(key.startswith(settings.STRATEGY) for key in config) else ""
    return run.path.name if name in run.path.name else f"{run.path.name}: {name}"


def draw_histogram(pool: npt.NDArray[Any], queried: npt.NDArray[Any], title: str, path: Path) -> Path:
    """Draws the distribution of the scores of the unlabeled pool, and of the queried items among them.

    Args:
        pool: ``(N,)`` scores of all unlabeled items.
        queried: ``(n,)`` scores of the queried items.
        title: title of the figure.
        path: where the PNG is written.

    Returns:
        The path.
    """
    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    edges = bin_edges(pool, 40)
    axis.hist(pool, bins=edges, color="0.75", label=f"unlabeled pool ({len(pool):,})")
    axis.hist(queried, bins=edges, color="C3", alpha=0.8, label=f"queried ({len(queried):,})")
    axis.set(xlabel="score of an image", ylabel="images")
    axis.set_title(title, fontsize="small")
    axis.legend(fontsize="small")
    return save(figure, path)


def bin_edges(values: npt.NDArray[Any], bins: int) -> list[float]:
    """Returns the edges of a histogram's bins. The range is widened if values differ by rounding only, as numpy would refuse them."""
    low, high = float(values.min()), float(values.max())
    room = max(1e-9 * max(abs(low), abs(high)), 1e-300)
    if 0 < high - low < room:
        low, high = low - room, high + room
    edges: list[float] = np.histogram_bin_edges(values, bins, (low, high)).tolist()
    return edges


class SceneRow(NamedTuple):
    """An image with its ground truth, prediction and scores.

    Attributes:
        name: name for people.
        image: uint8 ``(H, W, 3)``.
        truth: ``(H, W)`` true classes; None if the image is unlabeled.
        prediction: ``(H, W)`` predicted classes.
        scores: ``(H, W)`` scores of the pixels; None if the strategy gives pixels no scores.
    """

    name: str
    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[Any] | None
    prediction: npt.NDArray[Any]
    scores: npt.NDArray[Any] | None


def draw_scenes(rows: Sequence[SceneRow], names: Sequence[str], palette: npt.NDArray[np.uint8], title: str, path: Path) -> Path:
    """Draws a row for each image: image, ground truth, prediction and scores. The scores of all rows share one scale.

    Args:
        rows: the images.
        names: names of the C classes.
        palette: uint8 ``(C, 3)`` colours of the classes; ignored pixels are black.
        title: title of the figure.
        path: where the PNG is written.

    Returns:
        The path.
    """
    height, width = rows[0].image.shape[:2]
    figure, axes = plt.subplots(len(rows), 4, figsize=(14, 1.2 + len(rows) * 3.3 * height / width), squeeze=False, layout="constrained")
    scored = [row.scores for row in rows if row.scores is not None]
    low, high = (min(map(np.min, scored)), max(map(np.max, scored))) if scored else (0, 1)
    present: set[int] = set()
    drawn = None
    for line, row in zip(axes, rows, strict=True):
        every = max(1, -(-max(row.image.shape[:2]) // LARGEST))
        line[0].imshow(row.image[::every, ::every])
        line[0].set_ylabel(row.name, fontsize="x-small")
        for axis, classes in ((line[1], row.truth), (line[2], row.prediction)):
            if classes is None:
                axis.text(0.5, 0.5, "not labeled", ha="center", va="center", transform=axis.transAxes)
            else:
                axis.imshow(colored(classes[::every, ::every], palette))
                present |= set(np.unique(classes).tolist()) - {IGNORED}
        if row.scores is None:
            line[3].text(0.5, 0.5, "no pixel scores", ha="center", va="center", transform=line[3].transAxes)
        else:
            drawn = line[3].imshow(row.scores[::every, ::every], vmin=low, vmax=high, cmap="inferno")
    for axis, column in zip(axes[0], ("image", "ground truth", "prediction", "score"), strict=True):
        axis.set_title(column, fontsize="small")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    if drawn is not None:
        figure.colorbar(drawn, ax=axes[:, 3].tolist(), shrink=0.9)
    patches = [Patch(color=palette[number] / 255, label=legend_name(names[number])) for number in sorted(present)]
    figure.legend(handles=patches, loc="outside lower center", ncols=10, fontsize="x-small")
    figure.suptitle(title, fontsize="small")
    return save(figure, path)


def colored(classes: npt.NDArray[Any], palette: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns classes ``(H, W)`` as an image ``(H, W, 3)`` in the colours of a palette ``(C, 3)``. Pixels without a colour are black."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    found: npt.NDArray[np.uint8] = colors[classes]
    return found


def save(figure: Any, path: Path) -> Path:
    """Writes a figure in the format that the suffix of the path names, closes it, and returns the path."""
    content = rendered(figure, path.suffix.removeprefix("."))
    plt.close(figure)
    write_atomically(path, content)
    return path
