"""Draws docs/queried.jpg: some images that a segmentation run queried, the prediction of its network, and where it was uncertain.

    python tools/draw_queried.py runs/nuclei/deciding/Entropy-seed0 --cycle 3 --ranks 1 15 19

The font is large, so that the picture can be read in a window of 400 pixels, too.
"""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from PIL import Image

from al_lightning import seeds
from al_lightning.acquisition import Entropy
from al_lightning.analysis.drawings.plots import colored
from al_lightning.callbacks.scoring import pixel_scores
from al_lightning.commands.stored_run import StoredCycle, load_cycle
from al_lightning.files import write_atomically
from al_lightning.runs import RunDirectory

PICTURE = Path(__file__).parents[1] / "docs" / "queried.jpg"
_SHAPE = (200, 250)  # height and width of the centre that is shown of each image
_COLUMNS = ("image", "prediction", "entropy")


def looked_at(stored: StoredCycle, indices: list[int]) -> list[tuple[Any, Any, Any]]:
    """Returns for each item its picture, and the predicted class and entropy of each pixel, by the weights that queried it."""
    rows = []
    for index in indices:
        example = stored.data.pool_example(index)
        seed = seeds.derive(stored.seed, "scoring", stored.cycle)
        logits, (scores,) = pixel_scores([Entropy()], stored.task.network, example.inputs.unsqueeze(0), torch.tensor([index]), seed)
        assert scores is not None
        rows.append((example.picture, logits[0].argmax(dim=0).numpy(), scores[0].numpy()))
    return rows


def middle(array: Any) -> Any:
    """Cuts out the centre of an image ``(H, W, *)``."""
    top, left = ((size - wanted) // 2 for size, wanted in zip(array.shape, _SHAPE, strict=False))
    return array[top : top + _SHAPE[0], left : left + _SHAPE[1]]


def drawn(stored: StoredCycle, rows: list[tuple[Any, Any, Any]]) -> bytes:
    """Draws the picture as a JPEG."""
    names, palette = stored.data.classes.names, stored.data.classes.palette.numpy()
    plt.rcParams["font.size"] = 17
    figure, axes = plt.subplots(len(rows), 3, figsize=(10, 1.0 + len(rows) * 10 / 3 * _SHAPE[0] / _SHAPE[1]), squeeze=False)
    figure.subplots_adjust(0.004, 0.085, 0.996, 0.945, 0.02, 0.02)
    highest = max(float(middle(scores).max()) for *_, scores in rows)
    for line, (image, classes, scores) in zip(axes, rows, strict=True):
        line[0].imshow(middle(image))
        line[1].imshow(middle(colored(classes, palette)))
        line[2].imshow(middle(scores), vmin=0, vmax=highest, cmap="inferno")
    for axis, column in zip(axes[0], _COLUMNS, strict=True):
        axis.set_title(column, fontsize=19, pad=8)
    for axis in axes.flat:
        axis.axis("off")
    patches = [Patch(color=color / 255, label=name) for name, color in zip(names, palette, strict=True)]
    figure.legend(handles=patches, loc="lower center", ncols=len(names), frameon=False, borderaxespad=0.2)
    png, jpeg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    Image.open(png).convert("RGB").save(jpeg, "JPEG", quality=86, subsampling=0, optimize=True)
    return jpeg.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cycle", type=int, required=True)
    parser.add_argument("--ranks", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    run = RunDirectory(given.run)
    asked = {row.rank: row.index for row in run.read_queries() if row.cycle == given.cycle + 1}
    cycle = load_cycle(run, given.cycle)
    write_atomically(PICTURE, drawn(cycle, looked_at(cycle, [asked[rank] for rank in given.ranks])))
    print(f"{PICTURE}: {', '.join(cycle.data.item(asked[rank]) for rank in given.ranks)}; entropy up to {np.log(3):.2f} nats")
