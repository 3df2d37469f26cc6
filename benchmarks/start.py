"""Compares the time of short commands with that of importing torch and Lightning: python -m benchmarks.start [ROUNDS].

Processor time counts. The processes run alternately.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import alternating, ratio

_DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
_IMPORT = ["-c", "import torch, lightning.pytorch"]


def spent(*arguments: str) -> float:
    """Returns the processor time, in seconds, of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def demo(*arguments: str) -> float:
    """Returns the processor time of the demo's first two cycles."""
    with tempfile.TemporaryDirectory() as folder:
        fit = ["-m", "al_lightning", "fit", "--config", str(_DEMO), "--run_dir", f"{folder}/run", "--active_learning.cycles", "2"]
        return spent(*fit, *arguments)


def main() -> None:
    """Measures, and prints the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    works: dict[str, Callable[[], float]] = {
        "`fit` of the demo, 2 cycles, which log to W&B's files": demo,
        "`fit` of the demo, 2 cycles, `--trainer.logger false`": lambda: demo("--trainer.logger", "false"),
        "`fit --help`": lambda: spent("-m", "al_lightning", "fit", "--help"),
    }
    *results, base = alternating(rounds, *works.values(), lambda: spent(*_IMPORT))
    print(
        f"`import torch, lightning.pytorch`: {statistics.median(base):.1f} s of a processor\n\n| measured | value | wanted |\n|---|---|---|"
    )
    for what, result in zip(works, results, strict=True):
        print(f"| {what} / the import of torch and Lightning | {ratio(result, base):.2f} | {'1.05' if 'demo' in what else ''} |")


if __name__ == "__main__":
    main()
