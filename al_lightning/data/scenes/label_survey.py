"""Checks of whole label files, before anything is trained or evaluated with them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from al_lightning.data.scenes.decoding import SceneFiles
from al_lightning.data.scenes.scene import Scene
from al_lightning.errors import UserError
from al_lightning.labels import IGNORED, ClassMap

log = logging.getLogger(__name__)


class LabelSurvey:
    """Counts the label ids of items, and reads each label once.

    Args:
        files: reads the labels.
        classes: the meaning of the ids.
    """

    def __init__(self, files: SceneFiles, classes: ClassMap) -> None:
        self.files, self.classes = files, classes
        self._counted: dict[tuple[Any, ...], npt.NDArray[np.int64]] = {}
        self._ids: dict[Path, set[int]] = {}
        self._pixels: dict[str, npt.NDArray[np.int64]] = {}  # pixels of each class, and ignored ones at last, by ``whose``
        self._warned: dict[str, set[str]] = {}  # the missing classes of the last warning, likewise

    def require_classes(self, scenes: Sequence[Scene], whose: str) -> None:
        """Refuses labels with which nothing can be learned or measured.

        Args:
            scenes: the items.
            whose: what the message calls these items.

        Raises:
            UserError: an id is unknown, the files look like trainIds, or no pixel has a class.
        """
        counts = np.sum([self._count(scene) for scene in scenes], axis=0)
        ids = np.flatnonzero(counts).tolist()
        of = f"the label files of {whose} ({len(scenes)}, the first {scenes[0].label})"
        found = f"the ids {', '.join(map(str, ids))}"
        if self.classes.look_like_train_ids(whole := self._ids_in_files(scenes)):
            raise UserError(
                f"Expected label ids in {of}, but they look like trainIds: the ids {', '.join(map(str, whole))}, none above 18. "
                "Cityscapes' ids are in *_gtFine_labelIds.png, where road is 7 and not 0. If these are ids all the same, name their "
                "classes with a FolderSegmentationDataModule."
            )
        if not counts[self.classes.table.numpy() != IGNORED].any():
            raise UserError(f"Expected pixels of at least one class in {of}, but all are ignored: they hold {found} only.")

        table = self.classes.table.numpy()
        self._pixels[whose] = np.array([counts[table == number].sum() for number in (*range(len(self.classes.names)), IGNORED)])

    def warn_of_missing(self) -> None:
        """Logs which classes have no pixel in the labels that were checked last; once, until other classes are missing."""
        names = self.classes.names
        for whose, pixels in self._pixels.items():
            missing = {name for name, count in zip(names, pixels[:-1], strict=True) if count == 0}
            if missing and missing != self._warned.get(whose):
                counts = ", ".join(f"{name} {count:,}" for name, count in zip(names, pixels[:-1], strict=True))
                counts += f"; ignored {pixels[-1]:,}" if pixels[-1] else ""
                log.warning("WARNING: no pixel of %s in %s. Pixels by class: %s", ", ".join(sorted(missing)), whose, counts)
            self._warned[whose] = missing

    def _ids_in_files(self, scenes: Sequence[Scene]) -> list[int]:
        """The ids in whole label files, sorted: a crop may show few of them."""
        ids: set[int] = set()
        for scene in scenes:
            if scene.label not in self._ids:
                counted = self._count(scene) if scene.box is None else self.files.label(scene._replace(box=None)).ravel()
                self._ids[scene.label] = {*(np.flatnonzero(counted) if scene.box is None else np.unique(counted)).tolist()}
            ids |= self._ids[scene.label]
        return sorted(ids)

    def _count(self, scene: Scene) -> npt.NDArray[np.int64]:
        """Pixels of each id in an item, ``(256,)``."""
        key = (scene.label, scene.box)
        if key not in self._counted:
            counts = np.bincount(self.files.label(scene).ravel(), minlength=256)
            self.classes.refuse_unknown(np.flatnonzero(counts), scene.label)
            self._counted[key] = counts
        return self._counted[key]
