"""Draws mean learning curves of runs named GROUP-STRATEGY-sSEED: python tools/plot_comparison.py OUT.png TITLE RUN [RUN ...]."""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from al_lightning.runs import RunDirectory


def main(out: str, title: str, *folders: str) -> None:
    curves = defaultdict(list)
    for folder in sorted(folders):
        cycles = RunDirectory(folder).read_cycles()
        strategy = Path(folder).name.split("-")[1]
        metric = next(name for name in ("val/miou", "val/accuracy") if name in cycles[0])
        curves[strategy].append([(int(cycle["labeled"]), 100 * float(cycle[metric])) for cycle in cycles])
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for strategy, runs in curves.items():
        labeled, accuracy = np.array(runs).transpose(2, 0, 1)
        mean, error = accuracy.mean(0), accuracy.std(0, ddof=1) / len(runs) ** 0.5 if len(runs) > 1 else 0
        (line,) = axis.plot(labeled[0], mean, label=f"{strategy} ({len(runs)} seeds)", linewidth=1.6)
        axis.fill_between(labeled[0], mean - error, mean + error, color=line.get_color(), alpha=0.15)
        print(f"{strategy:12s}", *(f"{value:.2f}" for value in mean), f"| mean {mean.mean():.2f}")
    axis.set(xlabel="labeled images", ylabel=f"{metric.removeprefix('val/')} on the evaluation images (%)", title=title)
    axis.legend()
    axis.grid(alpha=0.3)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
