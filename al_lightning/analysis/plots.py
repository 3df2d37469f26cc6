"""Pictures of runs."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from al_lightning.runs import RunDirectory, write_atomically


def draw_learning_curve(run: RunDirectory) -> Path:
    """Draws each metric against the number of labeled items.

    Returns:
        The PNG's path in the run directory.
    """
    import io

    cycles = run.read_cycles()
    metrics = [name for name in cycles[0] if name.startswith("val/") and name.count("/") == 1]
    figure, axes = plt.subplots(1, max(1, len(metrics)), figsize=(1 + 4.5 * max(1, len(metrics)), 3.6), squeeze=False, layout="constrained")
    labeled = [int(cycle["labeled"]) for cycle in cycles]
    for axis, metric in zip(axes[0], metrics, strict=False):
        axis.plot(labeled, [float(cycle[metric]) for cycle in cycles], marker=".")
        axis.set(xlabel="labeled items", ylabel=metric)
        axis.grid(alpha=0.3)
    figure.suptitle(run.path.name, fontsize="medium")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    plt.close(figure)
    write_atomically(run.picture, buffer.getvalue())
    return run.picture
