"""``python -m al_lightning sweep``: all runs that sweep files ask for."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from al_lightning import shipped
from al_lightning.commands.arguments import CommandParser, positive, setting
from al_lightning.errors import UserError
from al_lightning.files import write_atomically
from al_lightning.interpreter import importing
from al_lightning.refusals import WAITS_FOR_LABELS
from al_lightning.sweeps.plan import PlannedRun, Sweep, read_sweep


def main(arguments: Sequence[str]) -> None:
    """Runs the command.

    Args:
        arguments: the command's name first.

    Raises:
        UserError: a file is no sweep, or a run in its folder is another one.
        SystemExit: with status 1 if a run failed, with 75 if a run waits for labels.
    """
    options = _parser().parse_args(arguments[1:])
    sweeps = [read_sweep(shipped.located(path, "sweeps"), options.out, dict(map(setting, options.set))) for path in options.files]
    if options.wandb is not None:
        return _export(sweeps, options.wandb)
    chosen = [(sweep, _only(sweep, options.only)) for sweep in sweeps]
    if options.list:
        for _, runs in chosen:
            for run in runs:
                print(f"{run.state():<10} {run.directory}")
        return None
    with importing():  # torch, which the above does without
        from al_lightning.sweeps.conduct import carry_out

    failed = 0
    for sweep, runs in chosen:
        failed += len(carry_out(runs, sweep.out, options.jobs, options.submit, sweep.slurm))
        print(f"Compare the runs: python -m al_lightning report {sweep.out}")
    if failed:
        sys.exit(1)
    if any(run.state() == "waiting" for _, runs in chosen for run in runs):
        sys.exit(WAITS_FOR_LABELS)
    return None


def _only(sweep: Sweep, wanted: Sequence[str]) -> list[PlannedRun]:
    """The runs with these labels, and those whose cycle 0 they share."""
    runs = sweep.runs()
    for text in wanted:
        axis, _, label = text.partition("=")
        if label not in sweep.grid.get(axis, {}):
            known = [f"{axis}={label}" for axis, labels in sweep.grid.items() for label in labels]
            raise UserError(f"Expected --only AXIS=LABEL from {', '.join(known)}, got {text!r}.")
    pairs = [tuple(text.split("=", 1)) for text in wanted]
    axes = {axis for axis, _ in pairs}
    chosen = [run for run in runs if run.labels and all((axis, run.labels[axis]) in pairs for axis in axes)]
    shared = {run.initial.name for run in chosen if run.initial is not None}
    return [run for run in runs if run in chosen or run.name in shared]


def _export(sweeps: Sequence[Sweep], path: str) -> None:
    """Writes a W&B sweep whose agents run this command for one run at a time."""
    if len(sweeps) != 1:
        raise UserError(f"Expected one sweep file for --wandb, got {len(sweeps)}.")
    (sweep,) = sweeps
    logger = json.dumps({"class_path": "WandbLogger", "init_args": {"project": "al_lightning", "offline": False}})
    command = ["python", "-m", "al_lightning", "sweep", str(sweep.path), "--set", f"trainer.logger={logger}"]
    definition = {
        "name": sweep.path.stem,
        "method": "grid",
        "command": ["${env}", *command, "--only", "${args_no_hyphens}"],
        "parameters": {axis: {"values": list(labels)} for axis, labels in sweep.grid.items()},
    }
    write_atomically(Path(path), yaml.safe_dump(definition, sort_keys=False).encode())
    print(f"Wrote {path}. Make it known with `wandb sweep {path}`, then start as many `wandb agent` as you like.")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m al_lightning sweep",
        description="Runs all runs of sweep files: those that are finished are left alone, unfinished ones go on, failed ones are listed "
        "at the end. Ctrl-C stops it; the same command goes on.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="sweep files, or names of `configs list`, done one after the other")
    parser.add_argument("--jobs", type=positive, help="runs at a time; 1 by default, all of them with --submit")
    parser.add_argument("--out", help="folder of the runs, in place of the file's")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings for all runs, e.g. data.init_args.root=PATH")
    parser.add_argument("--only", nargs="+", default=[], metavar="AXIS=LABEL", help="only the runs with these values of the grid")
    parser.add_argument("--list", action="store_true", help="say which runs there are and how far they are, and start nothing")
    parser.add_argument("--submit", choices=["slurm", "local"], help="as jobs of a cluster, through submitit; local tries that here")
    parser.add_argument("--wandb", metavar="YAML", help="write the sweep as one of Weights & Biases, and start nothing")
    return parser
