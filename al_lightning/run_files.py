"""The names of a run's files; no other module knows them.

    config.yaml           the configuration, as resolved; of a run that a script has made what can be told of it
    learning_curve.csv    one row a finished cycle
    queries.csv           one row a labeled item
    crops.csv             the part of each image that is the item, where items are crops
    images.csv            the files that items are taken from, by which a resumed run knows its data again
    labels.csv            the labels that cycles have read, likewise; see sources.py for both
    cycles/NNN/last.ckpt  the Lightning checkpoint of cycle NNN
    cycles/NNN/training.ckpt how far the training of an unfinished cycle has come
    cycles/NNN/scores.csv one row a scored item, with every recorded score, where some were asked for
    evaluation.csv        the items that the run took out of its pool to evaluate on, one row each, where it did
    cycles/NNN/random.csv which items of the query were drawn at random, where some are, and the scores, which would tell it to a person
    cycles/NNN/evaluated.csv pixels of each evaluation image by class, hit, true and predicted, where a person watches
    cycles/NNN/errors.csv how wrong the network was on what it asked for, where some of that was drawn at random
    cycles/NNN/asked.csv  what a person was asked to label after cycle NNN, one row an item
    cycles/NNN/to_label/  these images, a README.txt that says where masks go, and a folder for each tool
    cycles/evaluation/, cycles/initial/ the same of what a person is asked before cycle 0: what to evaluate on, and the initial set
    cycles/NNN/queried.csv, *.png what the queried images hold, and pictures, of scenes
    **/metrics.csv        what Lightning's CSVLogger logged, where it was asked to log into the run
    maps/*.png            score maps of images, where somebody asked for them
    environment.json      versions, device, seed, command line, git commit, data
    .lock                 locked by the one process that writes here

:mod:`al_lightning.runs` says what they mean to each other.
"""

import os
from pathlib import Path

MADE_IN_PYTHON = "made_in_python"  # a key of the configuration of a run that a script has made: no command can build it again
INITIAL, EVALUATION_FIRST = -1, -2
"""In place of the cycle that asks, what is asked before cycle 0: the initial set, and before that the evaluation set."""
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
        """The table of what part of its image each item is."""
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
        """What the run ran on."""
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
        """The directory of a cycle, or of what is asked before the first one."""
        return self.path / "cycles" / _ASKED_BEFORE.get(cycle, f"{cycle:03d}")

    def checkpoint(self, cycle: int) -> Path:
        """The checkpoint of a cycle's last weights."""
        return self.cycle(cycle) / "last.ckpt"

    def training(self, cycle: int) -> Path:
        """The checkpoint within a cycle's training; there until the cycle is finished."""
        return self.cycle(cycle) / "training.ckpt"

    def scores(self, cycle: int) -> Path:
        """The table of all scored items of a cycle."""
        return self.cycle(cycle) / "scores.csv"

    def queried(self, cycle: int) -> Path:
        """The table of what a cycle's queried images hold."""
        return self.cycle(cycle) / "queried.csv"

    def random(self, cycle: int) -> Path:
        """The table of what a cycle's query has drawn at random."""
        return self.cycle(cycle) / "random.csv"

    def evaluated(self, cycle: int) -> Path:
        """The table of what each evaluation image counts for in a cycle's metrics."""
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
        """What the one process that writes here has locked."""
        return self.path / ".lock"
