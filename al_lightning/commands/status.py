"""``python -m al_lightning status RUNS...``: how far runs are, and what they wait for."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from al_lightning.commands.arguments import CommandParser
from al_lightning.errors import UserError
from al_lightning.interpreter import importing
from al_lightning.percent import told
from al_lightning.runs import RunDirectory, find_runs


def main(arguments: Sequence[str]) -> None:
    """Prints a line for each run.

    Args:
        arguments: the command's name first.

    Raises:
        UserError: a folder is missing, or has no run.
        SystemExit: with status 1 if a run can't be read.
    """
    options = _parser().parse_args(arguments[1:])
    unreadable = False
    for folder in options.runs:
        runs, bad = find_runs(folder)
        if not runs and not bad:
            raise UserError(f"Expected runs in {folder}, found none.")
        lines = {run.path: _line(run) for run in runs} | {path: f"can't be read: {why}" for path, why in bad.items()}
        for path, line in lines.items():
            print(f"{path}: {line}", flush=True)
            unreadable |= line.startswith("can't be read")
    if unreadable:
        sys.exit(1)


def _line(run: RunDirectory) -> str:
    try:
        return ", ".join([*_so_far(run), _state(run)])
    except UserError as error:
        return f"can't be read: {error}"


def _so_far(run: RunDirectory) -> list[str]:
    """Returns cycle, labels and metrics of the last finished cycle, in words."""
    if not run.finished():
        return ["no cycle is finished"]
    cycles, labeled = run.read_labeled()
    last = cycles[-1].cycle
    more = sum(row.cycle > last for row in labeled)
    labeled = [row for row in labeled if row.cycle <= last]
    spent = sum(row.cycle > 0 for row in labeled)
    metrics = [told(name, value) for name, value in cycles[-1].metrics.items() if name.count("/") < 2]  # as in a cycle's line
    held = run.read_validation_labels()
    labels = f"{len(labeled)} labeled ({spent} of them queried)" + (f" and {held} for validation" if held else "")
    evaluated = len(run.read_evaluation())
    labels += f" and {evaluated} for evaluation" if evaluated else ""
    with importing():  # scipy
        from al_lightning.analysis.numbers import stopping
    labels += f", {more} more for cycle {last + 1}" if more else ""
    return [f"cycle {last}", labels, *metrics, *stopping.in_words(run)]


def _state(run: RunDirectory) -> str:
    if run.is_held():
        return "under way"
    if run.is_finished():
        return "finished"
    if asked := run.awaited():
        return f"waits for labels: {_wanted(run, len(asked))}"
    return "unfinished: go on with the same command and --resume."


def _wanted(run: RunDirectory, asked: int) -> str:
    with importing():  # torch, which the rest does without
        from al_lightning.commands.stored_run import labels_wanted, load_data
    try:
        return labels_wanted(run, load_data(run)) or "none"
    except UserError as error:  # the rest of the line does not need the data, and is shown anyway
        return f"{asked}, but nobody can say how many are there: {error}"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m al_lightning status",
        description="Prints a line for each run: finished cycles, labels and metrics, and whether it is under way, finished, or waits for "
        "labels.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="run directories, or folders that hold some at any depth")
    return parser
