"""The names of a run's files; no other module knows them.

    config.yaml           the configuration, as resolved; for a run of a Python script, as much as is known of it
    learning_curve.csv    one row for each finished cycle
    queries.csv           one row for each labeled item
    crops.csv             the part of its image that each item is, if items are crops
    images.csv            the files that items are taken from, by which a resumed run recognises its data
    labels.csv            the labels that cycles have read, for the same; see sources.py for both
    cycles/NNN/last.ckpt  the Lightning checkpoint of cycle NNN
    cycles/NNN/training.ckpt how far the training of an unfinished cycle has come
    cycles/NNN/scores.csv one row for each scored item, with every recorded score, if scores are recorded
    evaluation.csv        one row for each item that the run took out of its pool to evaluate on, if it did
    cycles/NNN/random.csv what put each item into the query, if some were drawn at random, and the scores, which a person must not see first
    cycles/NNN/evaluated.csv pixels of each evaluation image by class, hit, true and predicted: of scenes, if a person is asked
    cycles/NNN/errors.csv how wrong the network was on the items that it asked for, if some of them were drawn at random
    cycles/NNN/asked.csv  what a person was asked to label after cycle NNN, one row for each item
    cycles/NNN/to_label/  these images, a README.txt that says where masks go, and a folder for each tool
    cycles/evaluation/, cycles/initial/ the same for what a person is asked before cycle 0: the evaluation set and the initial set
    cycles/NNN/queried.csv, *.png what the queried images hold, and pictures of them, for scenes
    **/metrics.csv        what Lightning's CSVLogger logged, if it logs into the run
    maps/*.png            score maps of images, if somebody asked for them
    environment.json      versions, device, seed, command line, git commit, data
    .lock                 locked by the one process that writes here

:mod:`al_lightning.runs` says what they mean to each other.
"""

import os
from pathlib import Path

MADE_IN_PYTHON = "made_in_python"  # a key in the configuration of a run of a Python script: no command can build its parts again
INITIAL, EVALUATION_FIRST = -1, -2
"""In place of the number of the cycle that asks: the initial set is asked for before cycle 0, the evaluation set before that."""
_ASKED_BEFORE = {INITIAL: "initial", EVALUATION_FIRST: "evaluation"}


class RunFiles:
    """Where a run's files lie.

    Args:
        path: the run directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.path / "config.yaml"

    @property
    def learning_curve(self) -> Path:
        """The table of finished cycles."""
        return self.path / "learning_curve.csv"

    @property
    def queries(self) -> Path:
        """The table of labeled items."""
        return self.path / "queries.csv"

    @property
    def crops(self) -> Path:
        """The table of the part of its image that each item is."""
        return self.path / "crops.csv"

    @property
    def images(self) -> Path:
        """The table of the files that items are taken from, see :mod:`al_lightning.sources`."""
        return self.path / "images.csv"

    @property
    def labels(self) -> Path:
        """The table of the labels that cycles have read, see :mod:`al_lightning.sources`."""
        return self.path / "labels.csv"

    @property
    def evaluation(self) -> Path:
        """The table of the items that the run took out of its pool to evaluate on."""
        return self.path / "evaluation.csv"

    @property
    def environment(self) -> Path:
        """The environment of the run, and its data."""
        return self.path / "environment.json"

    @property
    def picture(self) -> Path:
        """The learning curve, drawn."""
        return self.path / "learning_curve.png"

    @property
    def iou_picture(self) -> Path:
        """The IoU of each class, drawn."""
        return self.path / "iou_by_class.png"

    @property
    def training_picture(self) -> Path:
        """Loss and metrics of each cycle's training, drawn."""
        return self.path / "training_curves.png"

    @property
    def histograms_picture(self) -> Path:
        """Histograms of each cycle's recorded scores, drawn."""
        return self.path / "score_histograms.png"

    @property
    def maps(self) -> Path:
        """The directory of score maps."""
        return self.path / "maps"

    def cycle(self, cycle: int) -> Path:
        """The directory of a cycle; for :data:`INITIAL` and :data:`EVALUATION_FIRST`, of what is asked before cycle 0."""
        return self.path / "cycles" / _ASKED_BEFORE.get(cycle, f"{cycle:03d}")

    def checkpoint(self, cycle: int) -> Path:
        """The checkpoint of a cycle's last weights."""
        return self.cycle(cycle) / "last.ckpt"

    def training(self, cycle: int) -> Path:
        """The checkpoint within a cycle's training, which exists until the cycle is finished."""
        return self.cycle(cycle) / "training.ckpt"

    def scores(self, cycle: int) -> Path:
        """The table of all scored items of a cycle."""
        return self.cycle(cycle) / "scores.csv"

    def queried(self, cycle: int) -> Path:
        """The table of what a cycle's queried images hold."""
        return self.cycle(cycle) / "queried.csv"

    def random(self, cycle: int) -> Path:
        """The table of what put each item into a cycle's query: chance or the strategy."""
        return self.cycle(cycle) / "random.csv"

    def evaluated(self, cycle: int) -> Path:
        """The table of the pixels that each evaluation image adds to a cycle's metrics."""
        return self.cycle(cycle) / "evaluated.csv"

    def errors(self, cycle: int) -> Path:
        """The table of how wrong a cycle's network is on what it asked for."""
        return self.cycle(cycle) / "errors.csv"

    def asked(self, cycle: int) -> Path:
        """The table of what a person was asked to label after a cycle."""
        return self.cycle(cycle) / "asked.csv"

    def package(self, cycle: int) -> Path:
        """The directory of the images that a person was asked to label after a cycle."""
        return self.cycle(cycle) / "to_label"

    @property
    def lock(self) -> Path:
        """The file that the one process that writes here has locked."""
        return self.path / ".lock"
