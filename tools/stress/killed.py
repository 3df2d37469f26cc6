"""Kills runs at random instants and resumes them until they are finished, and starts several runs into one directory at once.

    python -m tools.stress.killed KILLS RACES SEED

A run that was killed must have the same queries, metrics and weights as one that was not. If several runs start in one new directory, one
must win, and the others must change nothing. Processes are forked from this one, which has loaded torch.
"""

import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from al_lightning.commands import main as al_lightning

_MOST_STARTS = 40  # starts of one run; after so many without an end it is taken for stuck
_LONGEST = 300  # time limit of one process in seconds
_STRATEGIES = ("Entropy", "Margin", "Random", "MaxSoftmax")

_MLP = {
    "seed_everything": 3,
    "model": {
        "class_path": "ClassificationTask",
        "init_args": {"network": {"class_path": "al_lightning.models.MLP", "init_args": {"width": 7, "dropout": 0.1}}},
    },
    "data": {"class_path": "FashionMNISTSampleDataModule", "init_args": {"initial_size": 70, "pool_size": 600, "eval_batch_size": 250}},
    "active_learning": {"strategy": "Entropy", "query_size": 50, "cycles": 4, "checkpoint_minutes": 0},
    "trainer": {"accelerator": "cpu", "max_epochs": 4, "logger": False, "enable_model_summary": False, "enable_progress_bar": False},
}
_BEST = {"class_path": "ModelCheckpoint", "init_args": {"monitor": "val/loss"}}
_PATIENT = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "patience": 2}}
_SCENES = {
    "seed_everything": 3,
    "model": {
        "class_path": "SegmentationTask",
        "init_args": {
            "network": {
                "class_path": "al_lightning.models.DeepLabV3Plus",
                "init_args": {"encoder": "tu-mobilenetv3_small_050", "encoder_weights": "none"},
            }
        },
    },
    "data": {
        "class_path": "SyntheticScenesDataModule",
        "init_args": {"initial_size": 3, "train_sequences": 3, "val_sequences": 1, "height": 32, "width": 48, "crop": 32, "num_workers": 0},
    },
    "active_learning": {"strategy": "Entropy", "query_size": 3, "cycles": 3, "checkpoint_minutes": 0},
    "trainer": {"accelerator": "cpu", "max_epochs": 3, "logger": False, "enable_model_summary": False, "enable_progress_bar": False},
}


def _with(base: dict[str, Any], **parts: dict[str, Any]) -> dict[str, Any]:
    return {**base, **{name: {**base[name], **part} for name, part in parts.items()}}


KINDS = {
    "ordinary": _MLP,
    "blocks": _with(_MLP, model={"init_args": {**_MLP["model"]["init_args"], "block": 8}}),
    "best weights": _with(_MLP, active_learning={"query_weights": "best"}, trainer={"callbacks": [_PATIENT, _BEST], "max_epochs": 6}),
    "dropout passes, warm": _with(
        _MLP, active_learning={"strategy": {"class_path": "BALD", "init_args": {"passes": 3}}, "retrain": "warm", "also_record": ["Margin"]}
    ),
    "scenes": _SCENES,
}


def start(arguments: list[str], log: Path, seconds: float = _LONGEST) -> int:
    """Runs a command in its own process, and kills it after ``seconds``; returns its exit code, negative for a signal."""
    process = _fork(arguments, log)
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return -signal.SIGKILL
        time.sleep(0.002)


def _fork(arguments: list[str], log: Path) -> int:
    process = os.fork()
    if process:
        return process
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = 70
    try:
        al_lightning(arguments)
        status = 0
    except SystemExit as ended:
        print(ended.code if isinstance(ended.code, str) else "", file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def kill_until_finished(folder: Path, kind: str, draw: random.Random) -> tuple[int, list[str]]:
    """Kills and resumes one run until it is finished, and compares it with a run that was not killed.

    Returns:
        How often it was killed, and a line for each fault.
    """
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(KINDS[kind]))
    log = folder / "log.txt"
    began = time.monotonic()
    if start(["fit", "--config", str(config), "--run_dir", str(folder / "whole")], log):
        return 0, [f"{kind}: the run that nobody killed failed: {_last_line(log)}"]
    whole = time.monotonic() - began
    command = ["fit", "--config", str(config), "--resume", "--run_dir", str(folder / "killed")]
    kills = 0
    for _ in range(_MOST_STARTS):
        # Half of the kills come early, where a run starts or resumes and writes files. The time grows, so that the run ends at last.
        status = start(command, log, draw.uniform(0.0, whole * (0.4 if draw.random() < 0.5 else 1.2)) + kills * whole / _MOST_STARTS)
        if status == 0:
            return kills, _differences(folder / "whole", folder / "killed", kind)
        if status != -signal.SIGKILL:
            return kills, [f"{kind}: status {status} after {kills} kills: {_last_line(log)}"]
        kills += 1
    return kills, [f"{kind}: not finished after {kills} kills"]


def race(folder: Path, draw: random.Random) -> list[str]:
    """Starts several runs in one new directory at once; returns a line for each fault."""
    log, run = folder / "log.txt", folder / "run"
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(_with(_MLP, active_learning={"cycles": 2}, trainer={"max_epochs": 1})))
    given = draw.sample(_STRATEGIES, 3)
    racers = {}
    for strategy in given:
        time.sleep(draw.choice([0.0, 0.0, 0.01, 0.1]))
        racers[_fork(["fit", "--config", str(config), "--run_dir", str(run), "--active_learning.strategy", strategy], log)] = strategy
    statuses = {strategy: os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process, strategy in racers.items()}
    winners = [strategy for strategy, status in statuses.items() if status == 0]
    stored = yaml.safe_load((run / "config.yaml").read_text())["active_learning"]["strategy"]["class_path"].rsplit(".", 1)[-1]
    if len(winners) != 1 or set(statuses.values()) - {0, 1, 2}:
        return [f"race of {given}: {statuses}"]
    return [] if stored == winners[0] else [f"race of {given}: {winners[0]} won, but the stored configuration is {stored}'s"]


def _differences(whole: Path, killed: Path, kind: str) -> list[str]:
    """Returns a line for each difference between a killed run and one that was not killed."""
    wrong = []
    if (whole / "queries.csv").read_bytes() != (killed / "queries.csv").read_bytes():
        wrong.append(f"{kind}: other queries")
    if _curve(whole) != _curve(killed):
        wrong.append(f"{kind}: another learning curve")
    for path in sorted(whole.glob("cycles/*/last.ckpt")):
        theirs, ours = (torch.load(run / path.relative_to(whole), weights_only=True)["state_dict"] for run in (whole, killed))
        if theirs.keys() != ours.keys() or not all(torch.equal(theirs[name], ours[name]) for name in theirs):
            wrong.append(f"{kind}: other weights in {path.parent.name}")
    names = [sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file() and ".lock" not in p.name) for run in (whole, killed)]
    if names[0] != names[1]:
        wrong.append(f"{kind}: other files, {sorted(set(names[0]) ^ set(names[1]))}")
    return wrong


def _curve(run: Path) -> list[dict[str, str]]:
    with (run / "learning_curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if "seconds" not in name and name != "query_peak_bytes"} for row in rows]


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def kill_and_race(kills: int, races: int, seed: int, say: Callable[[str], None] = print) -> int:
    """Kills runs of all kinds until there were enough kills, then makes races; prints each fault and a summary.

    Args:
        kills: the least number of kills.
        races: the number of races.
        seed: seed of the random numbers.
        say: prints a line.

    Returns:
        The number of faults.
    """
    done, runs, wrong = 0, 0, 0
    began = time.monotonic()
    while done < kills:
        kind = list(KINDS)[runs % len(KINDS)]
        with tempfile.TemporaryDirectory() as folder:
            died, faults = kill_until_finished(Path(folder), kind, random.Random(f"{seed} kill {runs}"))
            for fault in faults:
                say(f"{fault} (seed {seed}, run {runs})")
            if faults and (kept := os.environ.get("KEEP")):
                shutil.copytree(folder, Path(kept) / f"run{runs}", dirs_exist_ok=True)
        done, runs, wrong = done + died, runs + 1, wrong + len(faults)
        say(f"{kind}: {died} kills, {'as it was' if not faults else 'WRONG'}; {done} kills after {time.monotonic() - began:.0f} s")
        if not died and faults:
            break
    for number in range(races):
        with tempfile.TemporaryDirectory() as folder:
            faults = race(Path(folder), random.Random(f"{seed} race {number}"))
            for fault in faults:
                say(f"{fault} (seed {seed}, race {number})")
        if number % 5 == 4:
            say(f"{number + 1} races after {time.monotonic() - began:.0f} s")
        wrong += len(faults)
    say(f"{done} kills of {runs} runs of {len(KINDS)} kinds, {races} races of 3 starts: {wrong} wrong; {time.monotonic() - began:.0f} s")
    return wrong


def main() -> None:
    """Runs the command line of the module."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    torch.set_num_threads(1)
    given = [int(text) for text in sys.argv[1:]]
    kills, races, seed = (*given, *(100, 20, 0)[len(given) :])
    sys.exit(1 if kill_and_race(kills, races, seed) else 0)


if __name__ == "__main__":
    main()
