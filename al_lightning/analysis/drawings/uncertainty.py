"""Pictures of uncertainty measures: over the probability simplex, against each other, and over the pixels of an image.

After figures 1.4, 2.12, 2.13, 2.3, 2.4 and 3.16 of Chen's thesis (Waterloo, 2020).
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from al_lightning.analysis.drawings.plots import LARGEST, SceneRow, colored, save
from al_lightning.analysis.drawings.rendering import legend_name
from al_lightning.analysis.numbers.curves import Values
from al_lightning.analysis.numbers.simplex import barycentric, cumulative_average, largest_entropy, smallest_entropy
from al_lightning.labels import IGNORED


def draw_simplex(distributions: Values, scores: Mapping[str, Values], path: Path) -> Path:
    """Draws each uncertainty measure, divided by its maximum, over the probability simplex of 3 classes.

    Args:
        distributions: ``(N, 3)``, including the edges and corners of the simplex.
        scores: by the name of the measure, its values ``(N,)``.
        path: where the picture is written; ends in .png or .svg.

    Returns:
        The path.
    """
    places = barycentric(distributions)
    figure, axes = plt.subplots(1, len(scores), figsize=(4.2 * len(scores), 4.1), squeeze=False, layout="constrained")
    for axis, (name, values) in zip(axes[0], scores.items(), strict=True):
        drawn = axis.tricontourf(places[:, 0], places[:, 1], values / values.max(), levels=np.linspace(0, 1, 21), cmap="viridis")
        axis.plot(*barycentric([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]).T, color="0.2", linewidth=0.8)
        for place, label, side in zip(barycentric(np.eye(3)), ("p = (1, 0, 0)", "(0, 1, 0)", "(0, 0, 1)"), "ttb", strict=True):
            away = {"t": ("top", -0.03), "b": ("bottom", 0.03)}[side]
            axis.text(place[0], place[1] + away[1], label, ha="center", va=away[0], fontsize="small")
        axis.set(title=name, aspect="equal", xlim=(-0.15, 1.15), ylim=(-0.13, 1.0))
        axis.axis("off")
        figure.colorbar(drawn, ax=axis, ticks=[0, 0.25, 0.5, 0.75, 1], shrink=0.85, orientation="horizontal")
    figure.suptitle("Uncertainty of a prediction for 3 classes, each measure divided by its maximum")
    return save(figure, path)


def draw_saturation(entropies: Values, scores: Mapping[str, Values], classes: int, path: Path) -> Path:
    """Draws the normalised cumulative average of each measure against entropy, and how many distributions have which entropy.

    See :func:`~al_lightning.analysis.numbers.simplex.cumulative_average` for the average. The caption describes the distributions of
    :func:`~al_lightning.analysis.numbers.simplex.random_distributions`. A measure with a concave curve rises early: it separates the most
    uncertain predictions less than a measure with a convex curve does.

    Args:
        entropies: ``(N,)`` entropies of the distributions, in nats.
        scores: by the name of the measure, its values ``(N,)`` for the same distributions.
        classes: C.
        path: where the picture is written; ends in .png or .svg.

    Returns:
        The path.
    """
    figure, (axis, below) = plt.subplots(2, 1, figsize=(8.4, 5.8), sharex=True, height_ratios=[4, 1], layout="constrained")
    ordered = np.sort(entropies)
    shown = np.unique(np.linspace(0, len(ordered) - 1, 2000).astype(int))
    for (name, values), style in zip(scores.items(), cycle(("--", "-", "-.", ":")), strict=False):
        axis.plot(ordered[shown], cumulative_average(values, entropies)[shown], style, label=name)
    below.hist(entropies, bins=80, range=(0, np.log(classes)), color="0.7")
    axis.set(ylabel="cumulative average, between its ends", ylim=(-0.03, 1.03), xlim=(0, np.log(classes)))
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    below.set(xlabel="entropy (nats)", ylabel="distributions")
    axis.set_title(f"Uncertainty measures of {len(ordered):,} random distributions over {classes} classes", fontsize="medium")
    caption = (
        "Softmax of s z: z standard normal logits, s = 10 u², u uniform in [0, 1].\n"
        "Sorted by entropy; at each, the mean measure of all distributions up to it, from 0 at the first to 1 at the last."
    )
    figure.supxlabel(caption, fontsize="x-small")
    return save(figure, path)


def draw_bounds(entropies: Values, least_confidences: Values, classes: int, title: str, path: Path) -> Path:
    """Draws how many distributions have which entropy and which 1 - max p, and the bounds of entropy for each 1 - max p.

    Args:
        entropies: ``(N,)`` entropies of the distributions, in nats.
        least_confidences: ``(N,)``, 1 - max p of the same distributions.
        classes: C.
        title: title of the figure.
        path: where the picture is written; ends in .png or .svg.

    Returns:
        The path.
    """
    figure, axis = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    extent = (0.0, float(np.log(classes)), 0.0, 1 - 1 / classes)
    drawn = axis.hexbin(
        entropies,
        least_confidences,
        gridsize=(70, 40),
        extent=extent,
        bins="log",
        mincnt=1,
        cmap="viridis",
        linewidths=0.1,
        rasterized=True,
    )
    max_p = np.linspace(1 / classes, 1, 2000)
    axis.plot(smallest_entropy(max_p), 1 - max_p, color="C3", linewidth=1.2, label="least entropy: as many classes at max p as fit")
    axis.plot(largest_entropy(max_p, classes), 1 - max_p, "--", color="C3", linewidth=1.2, label="most entropy: the rest shared evenly")
    axis.set(xlabel="entropy (nats)", ylabel="1 - max p", xlim=(0, None), ylim=(0, None))
    axis.margins(x=0.02)
    axis.set_title(title, fontsize="small")
    axis.legend(loc="upper left", fontsize="small")
    figure.colorbar(drawn, label="number, in a hexagon", format="%g")
    return save(figure, path)


def draw_score_maps(
    row: SceneRow, maps: Mapping[str, Values], names: Sequence[str], palette: npt.NDArray[np.uint8], title: str, path: Path
) -> Path:
    """Draws an image, its ground truth, its prediction, and the score map of each method. Each map has its own scale.

    Args:
        row: the image; its scores are not drawn.
        maps: by the name of the method, the pixel scores ``(H, W)``.
        names: names of the C classes.
        palette: uint8 ``(C, 3)`` colours of the classes; ignored pixels are black.
        title: title of the figure.
        path: where the PNG is written.

    Returns:
        The path.
    """
    height, width = row.image.shape[:2]
    every = max(1, -(-max(height, width) // LARGEST))
    lines = 1 + -(-len(maps) // 4)
    figure, axes = plt.subplots(lines, 4, figsize=(17, 0.5 + lines * (0.35 + 3.7 * height / width)), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    (picture, truth, prediction, legend), present = axes[0], set[int]()
    picture.imshow(row.image[::every, ::every])
    for axis, classes in ((truth, row.truth), (prediction, row.prediction)):
        if classes is None:
            axis.text(0.5, 0.5, "not labeled", ha="center", va="center", transform=axis.transAxes)
        else:
            axis.imshow(colored(classes[::every, ::every], palette))
            present |= set(np.unique(classes).tolist()) - {IGNORED}
    for axis, heading in zip(axes[0], ("image", "ground truth", "prediction"), strict=False):
        axis.set_title(heading, fontsize="medium")
    patches = [Patch(color=palette[number] / 255, label=legend_name(names[number])) for number in sorted(present)]
    legend.legend(handles=patches, loc="center left", ncols=2, fontsize="small", frameon=False)
    for axis, (name, scores) in zip(axes[1:].flat, maps.items(), strict=False):
        drawn = axis.imshow(scores[::every, ::every], cmap="inferno")
        axis.set_title(f"{name}: mean {scores.mean():.4g}", fontsize="medium")
        _add_scale(figure, axis, drawn, scores)
    figure.suptitle(title, fontsize="medium")
    return save(figure, path)


def _add_scale(figure: Any, axis: Any, drawn: Any, scores: Values) -> None:
    """Adds a colour bar as high as the map. Its numbers have enough digits to tell its ends apart."""
    ticks = np.linspace(scores.min(), scores.max(), 3)
    digits = 3 if ticks[-1] - ticks[0] > 0.01 * abs(ticks[-1]) else 6
    bar = figure.colorbar(drawn, cax=axis.inset_axes((1.02, 0, 0.04, 1)), ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.{digits}g}" for tick in ticks], fontsize="small")
