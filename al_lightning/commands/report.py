"""``python -m al_lightning report RUNS...``: compares runs in figures, tables and one page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from al_lightning.analysis.drawings import FORMATS, SCREEN, Paper, refuse_unknown_font
from al_lightning.analysis.numbers import choose_metric, compare, read_runs, without_metric
from al_lightning.analysis.pages import Gallery, Report
from al_lightning.commands.arguments import CommandParser
from al_lightning.errors import UserError

_NARROWEST, _WIDEST = 2.0, 20.0  # inches
_BASELINE = "Random"
_EXAMPLE = "example: python -m al_lightning report runs --out report --level 0.8 0.85"


def main(arguments: Sequence[str]) -> None:
    """Reads run directories, writes the report, and prints where its page is.

    Args:
        arguments: the command's name, then its options.

    Raises:
        UserError: there is no run to read, most runs lack the metric, or an option has a wrong value.
    """
    options = _parser().parse_args(arguments[1:])
    for name, values in {"--full": [options.full] if options.full is not None else [], "--level": options.level}.items():
        if wrong := [value for value in values if not 0 <= value <= 1]:
            raise UserError(f"Expected {name} between 0 and 1, as metrics are in learning_curve.csv, got {wrong[0]:g}.")
    if not _NARROWEST <= options.width <= _WIDEST:
        raise UserError(f"Expected --width in inches, from {_NARROWEST:g} to {_WIDEST:g}, got {options.width:g}.")
    if options.font is not None:
        refuse_unknown_font(options.font)
    runs, skipped = read_runs(options.runs)
    metric = choose_metric(runs, options.metric)
    skipped |= without_metric(runs, metric)
    runs = [run for run in runs if run.path not in skipped]
    comparison = compare(runs, skipped, metric, options.baseline, options.full)
    if options.baseline != _BASELINE and not any(panel.baseline for panel in comparison.panels):
        labels = sorted({series.label for panel in comparison.panels for series in panel.series})
        raise UserError(f"Expected --baseline to be one of {', '.join(labels)}, or the beginning of one, got {options.baseline}.")
    gallery = Gallery(options.out / "figures", options.format or ["png", "svg"], Paper(options.width, options.font))
    path = Report(comparison, options.out, options.level, options.export, gallery).write()
    left_out = f", {len(skipped)} left out" if skipped else ""
    print(f"Report of {len(runs)} runs{left_out}: {path}")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("python -m al_lightning report", description="Compares runs, finished or not.", epilog=_EXAMPLE)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="run directories, or folders that hold some at any depth")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write into (default: report)")
    parser.add_argument(
        "--metric", help="column of learning_curve.csv, higher is better (default: mean IoU, else accuracy, of the evaluation set)"
    )
    parser.add_argument("--baseline", default=_BASELINE, help="strategy that others are compared with, by class or label (default: Random)")
    parser.add_argument(
        "--full",
        type=float,
        help="metric of a model trained on the whole pool, for normalised curves (default: that of runs with initial_size=all)",
    )
    parser.add_argument(
        "--level",
        type=float,
        nargs="+",
        action="extend",
        default=[],
        help="count the labels needed to reach these levels of the metric (default: three levels of the baseline's curve)",
    )
    parser.add_argument("--export", action="store_true", help="write the queries of all runs, too: tables/queried_by_seed.csv")
    parser.add_argument(
        "--format", nargs="+", action="extend", choices=FORMATS, help="formats of the files in the folder figures (default: png svg)"
    )
    parser.add_argument(
        "--width",
        type=float,
        default=SCREEN.width,
        help="width of these figures in inches; 3.3 is a column of a paper (default: 9)",
    )
    parser.add_argument("--font", metavar="NAME", help="font of all figures, by its name in matplotlib (default: DejaVu Sans)")
    return parser
