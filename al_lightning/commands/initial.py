"""``python -m al_lightning initial``: a common cycle 0 for many runs, after Chen's thesis (Waterloo, 2020)."""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from al_lightning import shipped
from al_lightning.commands.arguments import CommandParser, positive, setting
from al_lightning.errors import UserError
from al_lightning.files import as_csv, write_atomically
from al_lightning.percent import told
from al_lightning.runs import RunDirectory
from al_lightning.sweeps.conduct import carry_out
from al_lightning.sweeps.plan import ONLY_CYCLE_0, SEED, PlannedRun
from al_lightning.text import encoded

_INITIAL_SEED = "data.init_args.initial_seed"


def main(arguments: Sequence[str]) -> None:
    """Runs the command: draws initial sets, trains on each several times, and takes one run by its metric.

    Args:
        arguments: the command's name first.

    Raises:
        UserError: the configuration or the metric is missing, or the metric is not finite.
        SystemExit: with status 1 if a run failed.
    """
    options = _parser().parse_args(shipped.located_in(arguments[1:]))
    if not Path(options.config).is_file():
        raise UserError(f"Expected the configuration {options.config}, but it is missing.")
    out, settings = Path(options.out), dict(map(setting, options.set))
    if own := [key for key in (SEED, _INITIAL_SEED, "run_dir", "resume", "config") if key in settings]:
        raise UserError(f"Expected no {own[0]} among the settings of --set: each training has its own, in a directory of its own in --out.")
    runs = planned(Path(options.config), out, options.sets, options.trainings, settings)
    if carry_out(runs, out, options.jobs):
        sys.exit(1)
    values = {run.name: metric_of(RunDirectory(run.directory), options.metric) for run in runs}
    taken = choose(values, options.take)
    mean = float(np.mean([*values.values()]))
    rows = [[name, f"{value:.9g}", f"{value - mean:.9g}", int(name == taken)] for name, value in values.items()]
    write_atomically(out / "initial.csv", encoded(as_csv([["run", options.metric, "minus_mean", "taken"], *rows])))
    link = out / "taken.tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(taken)
    os.replace(link, out / "taken")
    print(f"{told(options.metric, mean)} on average; {taken}, {told(options.metric, values[taken])}, is the {options.take} one.")
    print(f"Begin runs with it: --active_learning.initial_run {out / 'taken'}")


def planned(config: Path, out: Path, sets: int, trainings: int, settings: Mapping[str, Any]) -> list[PlannedRun]:
    """Returns a run of cycle 0 for each training on each initial set. Each run has another seed, and so other initial weights."""
    return [
        PlannedRun(
            name := f"set{one}-training{training}",
            config,
            {**settings, **ONLY_CYCLE_0, _INITIAL_SEED: one, SEED: one * trainings + training},
            out / name,
        )
        for one in range(sets)
        for training in range(trainings)
    ]


def choose(values: Mapping[str, float], take: str) -> str:
    """Returns the name whose value is ``nearest`` to the mean, ``lowest`` or ``highest``; the first one if several are equal.

    Example:
        >>> choose({"a": 0.1, "b": 0.5, "c": 0.9, "d": 0.6}, "nearest")
        'b'
    """
    mean = float(np.mean([*values.values()]))
    cost = {name: {"nearest": abs(value - mean), "lowest": value, "highest": -value}[take] for name, value in values.items()}
    return min(cost, key=lambda name: cost[name])


def metric_of(run: RunDirectory, metric: str) -> float:
    """Returns a metric of a run's cycle 0.

    Raises:
        UserError: cycle 0 is not finished, there is no such metric, or it is not finite.
    """
    if not (cycles := run.read_curve()):
        raise UserError(f"Expected cycle 0 in {run.learning_curve}, but no cycle is finished.")
    metrics = cycles[0].metrics
    if metric not in metrics:
        raise UserError(f"Expected --metric from the columns of {run.learning_curve}, {', '.join(metrics)}, got {metric}.")
    value = metrics[metric]
    if not math.isfinite(value):
        raise UserError(f"Expected {metric} of {run.path} to be a number to choose by, got {value}. Choose by another --metric.")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m al_lightning initial",
        description="Draws initial sets, trains on each several times, and takes one of these runs as the common cycle 0 of other runs "
        "(active_learning.initial_run): by default the run whose metric is nearest the mean.",
    )
    parser.add_argument("--config", required=True, help="the configuration of the runs that will begin with this cycle 0")
    parser.add_argument("--out", required=True, help="folder of the runs; OUT/taken is a link to the one that was taken")
    parser.add_argument("--sets", type=positive, default=5, help="initial sets; 5 by default")
    parser.add_argument("--trainings", type=positive, default=2, help="trainings on each set; 2 by default")
    parser.add_argument("--metric", default="val/accuracy", help="the metric to choose by; val/accuracy by default")
    parser.add_argument(
        "--take", choices=["nearest", "lowest", "highest"], default="nearest", help="which run to take; nearest the mean by default"
    )
    parser.add_argument("--jobs", type=positive, help="runs at a time; 1 by default")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings, e.g. data.init_args.root=PATH"
    )
    return parser
