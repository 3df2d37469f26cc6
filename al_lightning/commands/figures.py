"""``figures``: draws uncertainty measures, or what happened within the cycles of one run."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from al_lightning.acquisition import functional
from al_lightning.analysis.drawings import draw_bounds, draw_saturation, draw_score_histograms, draw_simplex, draw_training_curves
from al_lightning.analysis.numbers import Values, random_distributions, simplex_grid
from al_lightning.commands.arguments import CommandParser
from al_lightning.errors import UserError
from al_lightning.runs import RunDirectory

_STEPS = 120  # a multiple of 3: the uniform distribution, where every measure is largest, is on the grid
_RANDOM = 100_000
_TEMPERATURES = (0.1, 10.0, 100.0, 1000.0)
_FORMATS = (".png", ".svg")


def main(arguments: Sequence[str]) -> None:
    """Runs the command.

    Args:
        arguments: the command's name, and its options.

    Raises:
        UserError: the options don't fit each other, or the run has nothing to draw.
    """
    given = _parser(arguments[0]).parse_args(arguments[1:])
    if given.run is None:
        paths = draw_measures(Path(given.out or "figures"), 19 if given.classes is None else given.classes)
    else:
        if given.out is not None or given.classes is not None:
            raise UserError("Expected --run alone: a run's figures are drawn into the run. Leave out --out and --classes.")
        paths = draw_run(RunDirectory(given.run))
    for path in paths:
        print(path)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=f"python -m al_lightning {command}",
        description="Draws entropy, 1 - max p and margin over the probability simplex, against each other for random distributions, and "
        "the bounds of 1 - max p against entropy; or, with --run, the training curves and score histograms of a run's cycles.",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the figures; figures by default")
    parser.add_argument("--classes", type=int, metavar="C", help="classes of the random distributions; 19 by default")
    parser.add_argument("--run", metavar="RUN", help="a run's directory; its figures are written into it")
    return parser


def draw_measures(folder: Path, classes: int) -> list[Path]:
    """Draws ``simplex``, ``saturation`` and ``bounds``, each as PNG and SVG.

    Args:
        folder: where the figures are written.
        classes: C of the random distributions.

    Returns:
        The paths of the figures.

    Raises:
        UserError: there are fewer than 2 classes.
    """
    if classes < 2:
        raise UserError(f"Expected --classes of at least 2, got {classes}.")
    grid, drawn = simplex_grid(_STEPS), random_distributions(_RANDOM, classes, seed=0)
    on_grid, scores = measured(grid), measured(drawn)
    entropies, least_confidences = scores["entropy"], scores["1 - max p"]
    title = f"{_RANDOM:,} random distributions over {classes} classes (softmax of s z, z normal, s = 10 u²)"
    return [
        *(draw_simplex(grid, on_grid, folder / f"simplex{suffix}") for suffix in _FORMATS),
        *(draw_saturation(entropies, scores | tempered(drawn), classes, folder / f"saturation{suffix}") for suffix in _FORMATS),
        *(draw_bounds(entropies, least_confidences, classes, title, folder / f"bounds{suffix}") for suffix in _FORMATS),
    ]


def measured(distributions: Values) -> dict[str, Values]:
    """Computes each uncertainty measure ``(N,)`` of distributions ``(N, C)``, in the same way as the strategies."""
    logits = torch.from_numpy(np.asarray(distributions, dtype=np.float64)).log()
    measures = {"entropy": functional.entropy, "1 - max p": functional.max_softmax, "margin: 1 - (p₁ - p₂)": functional.margin}
    return {name: measure(logits).numpy() for name, measure in measures.items()}


def tempered(distributions: Values) -> dict[str, Values]:
    """Computes ODIN's measure ``(N,)`` of distributions ``(N, C)`` at each temperature, without a perturbation of the input."""
    logits = torch.from_numpy(np.asarray(distributions, dtype=np.float64)).log()
    return {f"ODIN, T = {temperature:g}": functional.max_softmax(logits / temperature).numpy() for temperature in _TEMPERATURES}


def draw_run(run: RunDirectory) -> list[Path]:
    """Draws a run's training curves and score histograms, as far as they were recorded, into the run directory.

    Returns:
        The paths of the figures.

    Raises:
        UserError: the directory is not a run, a table is damaged, or neither was recorded.
    """
    run.read_curve()
    paths = [path for path in (draw_training_curves(run), draw_score_histograms(run)) if path is not None]
    if not paths:
        raise UserError(
            f"Expected training metrics or recorded scores in {run.path}, found neither. They are recorded during a run: metrics by "
            "--trainer.logger CSVLogger --trainer.logger.save_dir . and scores by active_learning.also_record."
        )
    return paths
