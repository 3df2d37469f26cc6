"""Measures ``sweep`` and ``report`` on 1,200 finished runs: python -m benchmarks.many_runs [SEEDS].

Six runs are carried out: five strategies, and the cycle 0 that they share. The runs of other seeds are copies with changed metrics.
"""

import csv
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from al_lightning.runs import RunDirectory
from al_lightning.sweeps.checked import CheckedRuns
from al_lightning.sweeps.plan import read_sweep
from benchmarks.common import seconds

ROOT = Path(__file__).parents[1]
STRATEGIES = ("Random", "Entropy", "Margin", "MaxSoftmax", "Odin")


def make_runs(folder: Path, seeds: int) -> Path:
    """Fills a folder with finished runs, and returns the path of their sweep file."""
    sweep = folder / "many.yaml"
    few = {"active_learning.cycles": 3, "active_learning.query_size": 20, "trainer.max_epochs": 1, "trainer.logger": False}
    grid = {"active_learning.strategy": [*STRATEGIES], "seed_everything": [*range(seeds)]}
    content = {"base": str(ROOT / "configs" / "demo.yaml"), "out": str(folder / "runs"), "set": few, "grid": grid}
    sweep.write_text(yaml.safe_dump(content, sort_keys=False))
    command("sweep", str(sweep), "--only", "seed_everything=0")
    for made in sorted((folder / "runs").glob("*-seed0")):
        for seed in range(1, seeds):
            copy_run(RunDirectory(made), RunDirectory(made.with_name(made.name.replace("seed0", f"seed{seed}"))), seed)
    CheckedRuns(folder / "runs" / "logs" / "checked.json").add(read_sweep(sweep).runs())  # a sweep does this when a run ends
    return sweep


def copy_run(made: RunDirectory, copy: RunDirectory, seed: int) -> None:
    """Copies a run of seed 0 as a run of another seed, with another curve."""
    shutil.copytree(made.path, copy.path, ignore=shutil.ignore_patterns("cycles", ".lock", "*.png"))
    config = re.sub(r"(?m)^(\s*seed(?:_everything)?: )0$", rf"\g<1>{seed}", made.config.read_text())
    copy.config.write_text(config.replace("seed0", f"seed{seed}"))
    with made.learning_curve.open(newline="") as file:
        rows = list(csv.reader(file))
    chance, metric = random.Random(copy.path.name), rows[0].index("val/accuracy")
    for row in rows[1:]:
        row[metric] = f"{float(row[metric]) * chance.uniform(0.9, 1.1):.6f}"
    with copy.learning_curve.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def command(*arguments: str) -> None:
    """Runs a command of the program, or Python code after ``-c``."""
    program = arguments if arguments[0] == "-c" else ("-m", "al_lightning", *arguments)
    subprocess.run([sys.executable, *program], check=True, stdout=subprocess.DEVNULL)


def measured(*arguments: str) -> str:
    """Returns the wall-clock time and the processor time of a command, in words."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = seconds(lambda: command(*arguments))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{took:.1f} s ({spent:.1f} s of a processor)"


def main() -> None:
    """Measures, and prints the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep = make_runs(folder, seeds)
        runs = (len(STRATEGIES) + 1) * seeds
        print("| measured | value | wanted |\n|---|---|---|")
        print(f"| `import torch, lightning.pytorch` | {measured('-c', 'import torch, lightning.pytorch')} | |", flush=True)
        print(f"| `sweep` of {runs:,} runs that are finished, started again | {measured('sweep', str(sweep))} | 5 s |", flush=True)
        report = measured("report", str(folder / "runs"), "--out", str(folder / "report"))
        print(f"| `report` of them | {report} | 5 s |")


if __name__ == "__main__":
    main()
