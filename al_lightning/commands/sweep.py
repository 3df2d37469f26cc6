"""``python -m al_lightning sweep``: carries out all runs of sweep files."""

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
        UserError: a file is not a sweep, an option can't be used, or a folder of a run has a different run.
        SystemExit: with status 1 if a run failed, with 75 if a run waits for labels.
    """
    options = _parser().parse_args(arguments[1:])
    sweeps = [read_sweep(shipped.located(path, "sweeps"), options.out, dict(map(setting, options.set))) for path in options.files]
    if options.wandb is not None:
        return _export(sweeps, options)
    chosen = [(sweep, _only(sweep, options.only)) for sweep in sweeps]
    if options.list:
        for _, runs in chosen:
            for run in runs:
                print(f"{run.state():<10} {run.directory}")
        return None
    with importing():  # torch, which the above does without
        from al_lightning.sweeps.conduct import carry_out, refuse_mistakes

    if len(chosen) > 1:  # a mistake in the last file shows before the runs of the first one
        for sweep, runs in chosen:
            refuse_mistakes(runs, sweep.out)
    failed = 0
    for sweep, runs in chosen:
        of_these = len(carry_out(runs, sweep.out, options.jobs, options.submit, sweep.slurm))
        failed += of_these
        if of_these < len(runs):
            print(f"Compare the runs: python -m al_lightning report {sweep.out}")
    if failed:
        sys.exit(1)
    if any(run.state() == "waiting" for _, runs in chosen for run in runs):
        sys.exit(WAITS_FOR_LABELS)
    return None


def _only(sweep: Sweep, wanted: Sequence[str]) -> list[PlannedRun]:
    """Returns the runs with these labels of axes, and the runs whose cycle 0 they share.

    Raises:
        UserError: the grid has no such axis or label.
    """
    runs = sweep.runs()
    if not wanted:
        return runs
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


def _export(sweeps: Sequence[Sweep], options: argparse.Namespace) -> None:
    """Writes a W&B sweep. Its agents run this command, with the same settings and folder, for one run at a time.

    Raises:
        UserError: there are several sweep files, or an option that agents can't be given.
    """
    if len(sweeps) != 1:
        raise UserError(f"Expected one sweep file for --wandb, got {len(sweeps)}.")
    if unused := [f"--{name}" for name in ("jobs", "only", "list", "submit") if getattr(options, name)]:
        raise UserError(f"Expected --wandb without {', '.join(unused)}: agents take their runs from Weights & Biases. Leave it out.")
    (sweep,), path = sweeps, options.wandb
    logger = json.dumps({"class_path": "WandbLogger", "init_args": {"project": "al_lightning", "offline": False}})
    command = ["python", "-m", "al_lightning", "sweep", str(sweep.path), "--set", f"trainer.logger={logger}", *options.set]
    command += [] if options.out is None else ["--out", options.out]
    definition = {
        "name": sweep.path.stem,
        "method": "grid",
        "command": ["${env}", *command, "--only", "${args_no_hyphens}"],
        "parameters": {axis: {"values": list(labels)} for axis, labels in sweep.grid.items()},
    }
    content = yaml.safe_dump(definition, sort_keys=False).encode()
    if Path(path).exists() and Path(path).read_bytes() != content:
        raise UserError(f"Expected no other file at {path}, but there is one. It is not overwritten; name another one: --wandb YAML.")
    write_atomically(Path(path), content)
    print(f"Wrote {path}. Register it with `wandb sweep {path}`, then start as many `wandb agent` processes as you like.")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m al_lightning sweep",
        description="Carries out all runs of sweep files. Finished runs are skipped, unfinished runs are continued, and failed runs are "
        "listed at the end. Ctrl-C stops the sweep; the same command continues it.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="sweep files, or names from `configs list`, one after the other")
    parser.add_argument("--jobs", type=positive, help="runs at a time; 1 by default, all of them with --submit")
    parser.add_argument("--out", help="folder of the runs, instead of the one in the file")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings for all runs, e.g. data.init_args.root=PATH"
    )
    parser.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="AXIS=LABEL", help="only the runs with these values of the grid"
    )
    parser.add_argument("--list", action="store_true", help="list the runs and how far they are, and start nothing")
    parser.add_argument(
        "--submit", choices=["slurm", "local"], help="submit the runs to a cluster by submitit; local tries this on this machine"
    )
    parser.add_argument("--wandb", metavar="YAML", help="write a sweep of Weights & Biases into this file, and start nothing")
    return parser
